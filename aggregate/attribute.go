package aggregate

import "apportion/schemas"

// By is how an event came to its subscription.
type By string

// The ways of R10, in their order; Connect goes to the primary alone (R11).
const (
	Own     By = "own"     // the event names the subscription
	Mapped  By = "mapped"  // its agent or entry point is mapped to it
	Primary By = "primary" // without either
)

// Attribution is where an event's usage goes.
type Attribution struct {
	Meter string
	// Subscription is empty where the event is unallocated (R10, R11), and so is By.
	Subscription string
	By           By
	// UnknownTenant: the registry does not know the tenant, so nothing else is said of the event.
	UnknownTenant bool
	// Unmapped: an agent session that went to the primary without a mapping.
	Unmapped bool
	// UnknownSubscription: the event names a subscription that its tenant lacks.
	UnknownSubscription bool
}

// Attribute gives an event its meter (R9) and its subscription (R10, R11), decided at its start.
func (t Timelines) Attribute(e *schemas.Event) Attribution {
	registry, known := t[e.Tenant]
	if !known {
		return Attribution{UnknownTenant: true}
	}
	tenant := registry.Lines()
	ms := e.OccurredMS()
	primary := tenant.Primary.At(ms)
	active, has := tenant.Active[e.Subscription]
	a := Attribution{UnknownSubscription: e.Subscription != "" && !has}
	switch e.Type {
	case schemas.ConnectUsage:
		a.Meter = schemas.ConnectPrefix + e.Channel
		a.Subscription, a.By = allocate("", false, "", primary)
	case schemas.IVRSession:
		a.Meter = schemas.IVRPort
		a.Subscription, a.By = allocate(e.Subscription, active.At(ms), tenant.EntryPoints[e.EntryPoint].At(ms), primary)
	case schemas.AgentSession:
		agent := tenant.Agents[e.Agent].At(ms)
		a.Meter = schemas.AgentStandard
		if e.Class == "premium" || e.Class == "" && agent.Premium {
			a.Meter = schemas.AgentPremium
		}
		a.Subscription, a.By = allocate(e.Subscription, active.At(ms), agent.Subscription, primary)
		a.Unmapped = a.By == Primary
	}
	return a
}

// allocate is the order of R10: the event's own subscription, the one mapped, the primary, none.
func allocate(own string, ownActive bool, mapped, primary string) (subscription string, by By) {
	switch {
	case ownActive:
		return own, Own
	case mapped != "":
		return mapped, Mapped
	case primary != "":
		return primary, Primary
	default:
		return "", ""
	}
}

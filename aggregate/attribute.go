package aggregate

import (
	"sort"

	"apportion/schemas"
)

// By is how an event came to its subscription.
type By string

// The ways of R10, in their order; Connect goes to the primary alone (R11).
const (
	Own     By = "own"     // the event names the subscription
	Mapped  By = "mapped"  // its agent or entry point is mapped to it
	Primary By = "primary" // for want of both
)

// Attribution is where an event's usage goes.
type Attribution struct {
	Meter string
	// Subscription is empty where the event is unallocated (R10, R11), and so is By.
	Subscription string
	By           By
	// UnknownTenant: the registry does not know the tenant, so nothing else is said of the event.
	UnknownTenant bool
	// Unmapped: an agent session that went to the primary for want of a mapping.
	Unmapped bool
	// UnknownSubscription: the event names a subscription that its tenant lacks.
	UnknownSubscription bool
}

// Lookup answers for single instants what [Timelines] say.
type Lookup struct {
	primary     map[string][]PrimaryStep
	active      map[[2]string][]ActiveStep
	agents      map[[2]string][]AgentStep
	entryPoints map[[2]string][]EntryPointStep
}

// NewLookup indexes timelines whose steps stand in the order of time.
func NewLookup(t Timelines) *Lookup {
	l := &Lookup{map[string][]PrimaryStep{}, map[[2]string][]ActiveStep{}, map[[2]string][]AgentStep{}, map[[2]string][]EntryPointStep{}}
	for _, s := range t.Primary {
		l.primary[s.Tenant] = append(l.primary[s.Tenant], s)
	}
	for _, s := range t.Active {
		key := [2]string{s.Tenant, s.Subscription}
		l.active[key] = append(l.active[key], s)
	}
	for _, s := range t.Agents {
		key := [2]string{s.Tenant, s.Agent}
		l.agents[key] = append(l.agents[key], s)
	}
	for _, s := range t.EntryPoints {
		key := [2]string{s.Tenant, s.EntryPoint}
		l.entryPoints[key] = append(l.entryPoints[key], s)
	}
	return l
}

// at returns the step in force at an instant, and the zero step where the key has none.
func at[S any](steps []S, from func(S) int64, ms int64) (step S, known bool) {
	after := sort.Search(len(steps), func(i int) bool { return from(steps[i]) > ms })
	if after == 0 {
		return step, false
	}
	return steps[after-1], true
}

// Attribute gives an event its meter (R9) and its subscription (R10, R11), decided at its start.
func (l *Lookup) Attribute(e *schemas.Event) Attribution {
	ms := e.OccurredMS()
	primary, known := at(l.primary[e.Tenant], func(s PrimaryStep) int64 { return s.FromMS }, ms)
	if !known {
		return Attribution{UnknownTenant: true}
	}
	own, has := at(l.active[[2]string{e.Tenant, e.Subscription}], func(s ActiveStep) int64 { return s.FromMS }, ms)
	a := Attribution{UnknownSubscription: e.Subscription != "" && !has}
	switch e.Type {
	case schemas.ConnectUsage:
		a.Meter = ConnectPrefix + e.Channel
		a.Subscription, a.By = allocate("", false, "", primary.Subscription)
	case schemas.IVRSession:
		a.Meter = IVRPort
		entryPoint, _ := at(l.entryPoints[[2]string{e.Tenant, e.EntryPoint}], func(s EntryPointStep) int64 { return s.FromMS }, ms)
		a.Subscription, a.By = allocate(e.Subscription, own.Active, entryPoint.Subscription, primary.Subscription)
	case schemas.AgentSession:
		agent, _ := at(l.agents[[2]string{e.Tenant, e.Agent}], func(s AgentStep) int64 { return s.FromMS }, ms)
		a.Meter = AgentStandard
		if e.Class == "premium" || e.Class == "" && agent.Premium {
			a.Meter = AgentPremium
		}
		a.Subscription, a.By = allocate(e.Subscription, own.Active, agent.Subscription, primary.Subscription)
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

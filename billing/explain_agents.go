package billing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// DistinctAgents are those of a tenant, or of a subscription, that is billed by them and not by a peak (R15).
type DistinctAgents struct {
	Agents int `json:"agents"`
	// Entitled is the greatest of the period, and EntitledOn the first date that has it.
	Entitled   int64      `json:"entitled"`
	EntitledOn civil.Date `json:"entitledOn"`
	// Closing is the last date with a primary, whose primary pays (R16).
	Closing civil.Date `json:"closing"`
	Members []Member   `json:"subscriptions"`
	// Sessions are one of each agent, the earliest found, in the byte order of agents.
	Sessions Evidence `json:"sessions"`
}

func (x *Explainer) distinctAgents(
	ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription,
) error {
	l := e.Line
	own := ""
	if l.Kind == UsageKind {
		own = s.ID
	}
	h, err := x.agents(ctx, b, zone, l.Meter, own)
	if err != nil {
		return err
	}
	h.Members, _ = x.members(h.EntitledOn, l.Meter, nil)
	e.DistinctAgents = h
	n := int64(h.Agents)
	if l.Kind == UsageKind {
		e.check("distinct agents", decimal.NewFromInt(n))
		return nil
	}
	x.price(e, b, s, s.VersionOn(b.closed), string(Overage), l.Meter)
	e.Payer = x.primary(b.closed, s, fmt.Sprintf("the closing primary, on %s (R16)", b.closed))
	e.check("distinct agents beyond the greatest entitlement", decimal.NewFromInt(n-h.Entitled))
	return nil
}

// agents finds the distinct agents of a period: of a subscription, or of all where it is empty.
func (x *Explainer) agents(ctx context.Context, b *bill, zone *civil.Zone, meter, own string) (*DistinctAgents, error) {
	from, to := zone.Start(b.period.First()), zone.Start(b.period.Next().First())
	h := &DistinctAgents{EntitledOn: civil.NoDate, Closing: b.closed}
	for _, date := range b.dates {
		entitled := x.Tenant.Entitlement(date, meter, x.Rules.IVRPortFactor)
		if h.EntitledOn == civil.NoDate || entitled > h.Entitled {
			h.Entitled, h.EntitledOn = entitled, date
		}
	}
	class, _ := strings.CutPrefix(meter, "agent_")
	wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(meter), FromMS: from, ToMS: to, Class: class}
	sessions, err := x.sessionOfEach(ctx, zone, wanted, func(v *aggregate.Evidence) bool {
		at := v.Winner.OccurredMS()
		return v.To.Meter == meter && from <= at && at < to && (own == "" || v.To.Subscription == own)
	})
	h.Sessions, h.Agents = sessions, len(sessions)
	return h, err
}

// sessionOfEach returns one session of each agent that has one which counts and is kept, the earliest found, in the
// byte order of agents. For most agents their earliest session does; of the others all are read.
func (x *Explainer) sessionOfEach(
	ctx context.Context, zone *civil.Zone, wanted aggregate.EventFilter, keep func(*aggregate.Evidence) bool,
) (Evidence, error) {
	timelines := x.timelines(zone)
	asked, found := map[string]bool{}, map[string]aggregate.Evidence{}
	take := func(event []aggregate.Delivery) error {
		for _, d := range event {
			if d.Type == schemas.AgentSession {
				asked[d.Agent] = true
			}
		}
		v := timelines.ResolveEvent(event, x.Rules.Rules, x.NowMS)
		if !v.Counts() || !keep(&v) {
			return nil
		}
		if other, ok := found[v.Winner.Agent]; !ok || earlier(&v, &other) {
			found[v.Winner.Agent] = v
		}
		return nil
	}
	wanted.OneEach = true
	err := x.Deliveries.Events(ctx, x.Bound, wanted, take)
	wanted.OneEach = false
	for agent := range asked {
		if _, ok := found[agent]; !ok {
			wanted.Agents = append(wanted.Agents, agent)
		}
	}
	if err == nil && len(wanted.Agents) > 0 {
		slices.Sort(wanted.Agents)
		err = x.Deliveries.Events(ctx, x.Bound, wanted, take)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
	}
	var sessions Evidence
	for _, agent := range slices.Sorted(maps.Keys(found)) {
		sessions = append(sessions, found[agent])
	}
	return sessions, nil
}

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

func (x *Explainer) distinctAgents(ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription) error {
	l := e.Line
	from, to := zone.Start(b.period.First()), zone.Start(b.period.Next().First())
	h := &DistinctAgents{EntitledOn: civil.NoDate, Closing: b.closed}
	for _, date := range b.dates {
		if entitled := x.Tenant.Entitlement(date, l.Meter, x.Rules.IVRPortFactor); h.EntitledOn == civil.NoDate || entitled > h.Entitled {
			h.Entitled, h.EntitledOn = entitled, date
		}
	}
	// For most agents their earliest session does. Where it does not count, or goes elsewhere, all are looked at.
	asked, met := map[string]bool{}, map[string]bool{}
	class, _ := strings.CutPrefix(l.Meter, "agent_")
	wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(l.Meter), FromMS: from, ToMS: to, Class: class, OneEach: true}
	found := map[string]aggregate.Evidence{}
	timelines := x.timelines(zone)
	take := func(event []aggregate.Delivery) error {
		for _, d := range event {
			if d.Type == schemas.AgentSession {
				asked[d.Agent] = true
			}
		}
		v := timelines.ResolveEvent(event, x.Rules.Rules, x.Now)
		if at := v.Winner.OccurredMS(); !v.Counts() || v.To.Meter != l.Meter || at < from || at >= to || l.Kind == UsageKind && v.To.Subscription != s.ID {
			return nil
		}
		met[v.Winner.Agent] = true
		if other, ok := found[v.Winner.Agent]; !ok || earlier(&v, &other) {
			found[v.Winner.Agent] = v
		}
		return nil
	}
	if err := x.Deliveries.Events(ctx, x.Bound, wanted, take); err != nil {
		return fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
	}
	wanted.OneEach = false
	for agent := range asked {
		if !met[agent] {
			wanted.Agents = append(wanted.Agents, agent)
		}
	}
	if len(wanted.Agents) > 0 {
		slices.Sort(wanted.Agents)
		if err := x.Deliveries.Events(ctx, x.Bound, wanted, take); err != nil {
			return fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
		}
	}
	for _, agent := range slices.Sorted(maps.Keys(found)) {
		h.Sessions = append(h.Sessions, found[agent])
	}
	h.Members, _ = x.members(h.EntitledOn, l.Meter, nil)
	h.Agents = len(h.Sessions)
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

package billing

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Instant is the peak instant of an overage or usage line.
type Instant struct {
	AtMS civil.Millis `json:"at"`
	Date civil.Date   `json:"date"`
	// Live is the concurrency (R13): of the tenant, or for a usage line of its subscription.
	Live int64 `json:"live"`
	// Entitled is the sum of what the active subscriptions are entitled to (R14). They are in Members, oldest first. Of
	// a usage line there is but its own.
	Entitled int64    `json:"entitled"`
	Members  []Member `json:"subscriptions"`
	// Sessions are all that were live then, in the order of who, source and id.
	Sessions Evidence `json:"sessions"`
}

// Member is a subscription's part in the pool on a date (R14), and what of the usage at an instant is its own.
type Member struct {
	Subscription string `json:"subscriptionId"`
	// Active: it is one of those that the pool is the sum of. FirstStart decides who is the oldest (R4).
	Active     bool       `json:"active"`
	FirstStart civil.Date `json:"firstStart"`
	// Version is the one effective on the date, NoDate before the first.
	Version civil.Date `json:"version,omitzero"`
	// Seats and Ports are what an IVR entitlement consists of: PortsPerSeat × Seats + Ports.
	Seats        int64 `json:"seats,omitempty"`
	PortsPerSeat int64 `json:"portsPerSeat,omitempty"`
	Ports        int64 `json:"ports,omitempty"`
	Entitled     int64 `json:"entitled"`
	// Used is the subscription's own concurrency at the instant (R13), or its distinct agents; Over is how much more
	// that is than it brings to the pool, less where negative.
	Used int64 `json:"used"`
	Over int64 `json:"over"`
}

func (x *Explainer) instant(
	ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription,
) error {
	l := e.Line
	own := ""
	if l.Kind == UsageKind {
		own = s.ID
	}
	i, err := x.instantAt(ctx, zone, l.Meter, l.PeakMS, own)
	if err != nil {
		return err
	}
	e.Instant = i
	if l.Kind == UsageKind {
		i.Members = slices.DeleteFunc(i.Members, func(m Member) bool { return m.Subscription != s.ID })
		i.Entitled = 0
		for _, m := range i.Members {
			i.Entitled += m.Entitled
		}
		e.check("live at that instant", decimal.NewFromInt(i.Live))
		return nil
	}
	x.price(e, b, s, s.VersionOn(i.Date), string(Overage), l.Meter)
	e.Payer = x.primary(i.Date, s, fmt.Sprintf("the primary at the peak instant, on %s (R16)", i.Date))
	e.check("live beyond the pool at that instant", decimal.NewFromInt(i.Live-i.Entitled))
	return nil
}

// peakAt is what a tenant's pool was like at an instant.
func (x *Explainer) peakAt(ctx context.Context, meter string, atMS int64) (*Instant, error) {
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return nil, err
	}
	return x.instantAt(ctx, zone, meter, atMS, "")
}

// instantAt finds the sessions that were live at an instant: of a subscription, or of all where it is empty.
func (x *Explainer) instantAt(
	ctx context.Context, zone *civil.Zone, meter string, at int64, own string,
) (*Instant, error) {
	sessions, err := x.gather(ctx, zone, meter,
		aggregate.EventFilter{
			Tenant: x.Tenant.ID, Types: typesOf(meter), FromMS: at - x.reach(), ToMS: at + 1, LiveAt: &at,
		},
		func(v *aggregate.Evidence) bool {
			return v.FromMS <= at && at < v.ToMS && (own == "" || v.To.Subscription == own)
		})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sessions, func(a, b aggregate.Evidence) int {
		return cmp.Or(cmp.Compare(who(&a), who(&b)), cmp.Compare(a.Winner.Source, b.Winner.Source),
			cmp.Compare(a.Winner.ID, b.Winner.ID))
	})
	i := &Instant{AtMS: civil.Millis(at), Date: zone.DateOf(at), Sessions: sessions, Live: distinct(sessions, "")}
	i.Members, i.Entitled = x.members(i.Date, meter, sessions)
	return i, nil
}

// who is what concurrency counts (R13): an agent, or each IVR session by itself.
func who(e *aggregate.Evidence) string {
	if e.Winner.Type == schemas.AgentSession {
		return e.Winner.Agent
	}
	return e.Winner.Source + "\x00" + e.Winner.ID
}

// distinct counts who is among the sessions: of a subscription, or of all where it is empty.
func distinct(sessions []aggregate.Evidence, subscription string) int64 {
	seen := map[string]bool{}
	for i := range sessions {
		if subscription == "" || sessions[i].To.Subscription == subscription {
			seen[who(&sessions[i])] = true
		}
	}
	return int64(len(seen))
}

// members are the subscriptions that are active on a date, or that used something, and what the active ones are
// entitled to together (R14).
func (x *Explainer) members(
	date civil.Date, meter string, sessions []aggregate.Evidence,
) (members []Member, entitled int64) {
	members = []Member{}
	for i := range x.Tenant.Subscriptions {
		s := &x.Tenant.Subscriptions[i]
		m := Member{Subscription: s.ID, Active: s.ActiveOn(date), FirstStart: s.FirstStart(), Version: civil.NoDate,
			Used: distinct(sessions, s.ID)}
		if v := s.VersionOn(date); v != nil {
			m.Version = v.From
		}
		parts := s.EntitlementParts(date, meter, x.Rules.IVRPortFactor)
		m.Entitled = parts.Total()
		if meter == schemas.IVRPort {
			m.Seats, m.PortsPerSeat, m.Ports = parts.Seats, parts.PortsPerSeat, parts.Committed
		}
		m.Over = m.Used - m.Entitled
		if m.Active || m.Used > 0 {
			members = append(members, m)
			entitled += m.Entitled
		}
	}
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.FirstStart, b.FirstStart), cmp.Compare(a.Subscription, b.Subscription))
	})
	return members, entitled
}

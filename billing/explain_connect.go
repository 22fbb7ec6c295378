package billing

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// ConnectUnits are the events behind a Connect line.
type ConnectUnits struct {
	Days []ConnectDay `json:"days"`
	// Events are all of them, in the order of time, source and id.
	Events Evidence `json:"events"`
}

// ConnectDay is one date of Connect usage.
type ConnectDay struct {
	Date   civil.Date      `json:"date"`
	Events int64           `json:"events"`
	Units  decimal.Decimal `json:"units"`
}

func (x *Explainer) connect(
	ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription,
) error {
	l := e.Line
	channel, _ := strings.CutPrefix(l.Meter, schemas.ConnectPrefix)
	from, to := zone.Start(l.From), zone.Start(l.To)
	events, err := x.gather(ctx, zone, l.Meter,
		aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(l.Meter), FromMS: from, ToMS: to, Channel: channel},
		func(v *aggregate.Evidence) bool {
			at := v.Winner.OccurredMS()
			return from <= at && at < to && v.To.Subscription == s.ID
		})
	if err != nil {
		return err
	}
	slices.SortFunc(events, func(a, b aggregate.Evidence) int {
		if earlier(&a, &b) {
			return -1
		}
		return 1
	})
	c := &ConnectUnits{Days: []ConnectDay{}, Events: events}
	var units decimal.Decimal
	for i := range events {
		date := zone.DateOf(events[i].Winner.OccurredMS())
		if n := len(c.Days); n == 0 || c.Days[n-1].Date != date {
			c.Days = append(c.Days, ConnectDay{Date: date})
		}
		day := &c.Days[len(c.Days)-1]
		day.Events++
		day.Units = day.Units.Add(decimal.New(events[i].Winner.Quantity, -6))
		units = units.Add(decimal.New(events[i].Winner.Quantity, -6))
	}
	e.Connect = c
	x.price(e, b, s, s.VersionOn(l.From), string(Connect), channel)
	e.Payer = fmt.Sprintf("%s was the primary at the time of every one of these events (R4, R11)", s.ID)
	e.check("units of the events", units)
	return nil
}

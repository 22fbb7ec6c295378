package billing_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

func TestR25_AGraceIsOverBySoManyMonths(t *testing.T) {
	s := newStory()
	if refusals := s.put(t, `tenants:
- {id: acme, timeZone: Europe/Stockholm, subscriptions: [{id: Sub1}]}
- {id: beta, timeZone: America/New_York, subscriptions: [{id: Sub2}]}`); len(refusals) > 0 {
		t.Fatal(refusals)
	}
	march := civil.NewMonth(2026, 3)
	for _, c := range []struct {
		after int
		now   string
		early bool
	}{
		{0, "2099-01-01T00:00:00Z", true}, // never, where nothing is configured
		// Of April the grace of 3 days ends at 00:00 of May 4th, which in New York is four hours later than in UTC.
		{1, "2026-05-04T03:59:59.999Z", true}, {1, "2026-05-04T04:00:00Z", false},
		{12, "2027-04-04T03:59:59.999Z", true}, {12, "2027-04-04T04:00:00Z", false},
	} {
		now, err := civil.ParseInstant(c.now)
		if err != nil {
			t.Fatal(err)
		}
		why, err := billing.TooEarlyToSeal(s.ledger.state, march, c.after, now, billing.DefaultRules())
		if err != nil || (why != nil) != c.early || why != nil && why.Code != schemas.SealTooEarly {
			t.Errorf("after %d months at %s: %v, %v; too early should be %t", c.after, c.now, why, err, c.early)
		}
	}
}

// TestR25_SealingChangesNoOtherBill tells a random story twice, once with the first period sealed before more arrives:
// the invoices of the second differ by what adjusts the first, and by nothing else.
func TestR25_SealingChangesNoOtherBill(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		late := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) schemas.Event { return drawDelivery(r, w.period) }), 0, 20).
			Draw(r, "late deliveries")
		tell := func(sealed bool) *billing.Run {
			s := newStory()
			if refusals := s.apply(t, registry.Plan(registry.State{}, w.document, 0)...); len(refusals) > 0 {
				r.Fatal(refusals)
			}
			s.usage.deliveries = slices.Clone(w.deliveries)
			issue := func(period civil.Month) *billing.Run {
				run, err := s.biller(billing.DefaultRules()).Issue(t.Context(), period, nil, 4102444800_000)
				if err != nil || len(run.Stopped) > 0 {
					r.Fatal(err, run.Stopped)
				}
				return run
			}
			issue(w.period)
			if sealed {
				c := registry.Command{ID: "seal", Source: "test", Command: registry.SealPeriods, From: w.period, Period: w.period, Reason: "audited"}
				if verdict := s.ledger.give(c); !verdict.Accepted {
					r.Fatal(verdict.Refusals)
				}
			}
			s.usage.deliveries = append(s.usage.deliveries, late...)
			return issue(w.period + 1)
		}
		with, without := tell(true), tell(false)
		var expected, got []string
		for _, of := range []struct {
			run   *billing.Run
			lines *[]string
		}{{without, &expected}, {with, &got}} {
			for _, i := range of.run.Invoices {
				for _, l := range i.Lines {
					if l.Kind != billing.Adjustment {
						*of.lines = append(*of.lines, fmt.Sprint(i.Subscription, " ", l.Kind, l.Meter, l.Quantity, l.Price(), l.Amount, l.From, l.To, l.PeakMS, l.Note))
					} else if of.run == with {
						r.Fatalf("%s is adjusted: %s", l.Corrects, l.Note)
					}
				}
			}
		}
		if !slices.Equal(got, expected) {
			r.Fatalf("with the period before sealed\n%q\nwithout\n%q", got, expected)
		}
	})
}

package billing_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// forecastAt estimates the world's month at an instant, beside its draft.
func (w world) forecastAt(t *testing.T, r *rapid.T, deliveries []schemas.Event, now int64) (*billing.Run,
	[]billing.Forecast) {
	t.Helper()
	s := newStory()
	s.apply(t, registry.Plan(s.ledger.state, w.document, 0)...)
	s.usage.deliveries = deliveries
	biller := s.biller(billing.DefaultRules())
	run, err := biller.Preview(t.Context(), w.period, nil, now)
	if err != nil {
		r.Fatal(err)
	}
	forecasts, err := biller.Forecast(t.Context(), run, now)
	if err != nil {
		r.Fatal(err)
	}
	if len(run.Stopped) > 0 {
		r.Fatal(run.Stopped)
	}
	return run, forecasts
}

// TestForecastProperties: what is used later than today is not known; nothing is estimated to be less than it is; and
// of a month that is over the estimate is the draft.
func TestForecastProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		now := civil.UTC.Start(w.period.First().Add(rapid.IntRange(-2, 31).Draw(r, "day"))) +
			rapid.Int64Range(0, 86_399_999).Draw(r, "time")
		_, forecasts := w.forecastAt(t, r, w.deliveries, now)
		for _, f := range forecasts {
			for _, l := range f.Lines {
				if l.Quantity.Estimate.LessThan(l.Quantity.SoFar) || l.Amount.Estimate.LessThan(l.Amount.SoFar.Decimal) &&
					l.Kind != billing.Overage { // which another version may price
					r.Fatalf("%s: %s of %s is estimated to be less than it is: %+v", f.Tenant, l.Kind, l.Meter, l)
				}
			}
		}
		known := slices.DeleteFunc(slices.Clone(w.deliveries), func(e schemas.Event) bool {
			return e.OccurredMS() > now+48*3600_000 && !moved(w.deliveries, e)
		})
		if _, without := w.forecastAt(t, r, known, now); !reflect.DeepEqual(forecasts, without) {
			r.Fatalf("what is used after %d changes\n%+v\nto\n%+v", now, without, forecasts)
		}
		run, over := w.forecastAt(t, r, w.deliveries, civil.UTC.Start(w.period.Next().First().Add(2)))
		for _, f := range over {
			totals := map[string]decimal.Decimal{}
			for _, i := range run.Invoices {
				if i.Tenant == f.Tenant {
					totals[i.Currency] = totals[i.Currency].Add(i.Total)
				}
			}
			for _, total := range f.Totals {
				if sum := totals[total.Currency]; !sum.Equal(total.Net.Estimate.Decimal) || !sum.Equal(total.Net.SoFar.Decimal) {
					r.Fatalf("%s is over at %s and estimated at %s", f.Tenant, sum, total.Net.Estimate)
				}
			}
		}
	})
}

// TestForecastIsOnTheLedgerOfItsDraft, whatever is taken in meanwhile: also where it computes days again, or days
// before the month.
func TestForecastIsOnTheLedgerOfItsDraft(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 20 at 2026-09-30T08:00Z\nconnect sms 2 at 2026-10-03T08:00Z\n"+
		"connect sms 4 at 2026-10-20T08:00Z")
	b, now := s.biller(billing.DefaultRules()), at(t, "2026-10-04T12:00:00Z")
	run, err := b.Preview(t.Context(), october, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	forecast := func() string {
		t.Helper()
		forecasts, err := b.Forecast(t.Context(), run, now)
		if err != nil || len(forecasts) != 1 || len(forecasts[0].Totals) != 1 {
			t.Fatal(forecasts, err)
		}
		total := forecasts[0].Totals[0].Net
		return total.SoFar.String() + " and " + total.Estimate.String()
	}
	before := forecast()
	s.arrives(t, "connect sms 1000 at 2026-09-30T09:00Z\nconnect sms 1000 at 2026-10-03T09:00Z")
	if after := forecast(); after != before {
		t.Errorf("with deliveries that the draft does not know %s; without %s", after, before)
	}
}

// moved reports whether other deliveries of an event are of another time, so that it decides where the event is.
func moved(all []schemas.Event, e schemas.Event) bool {
	return slices.ContainsFunc(all, func(o schemas.Event) bool {
		return o.Tenant == e.Tenant && o.Source == e.Source && o.ID == e.ID && o.OccurredMS() != e.OccurredMS()
	})
}

package billing_test

import (
	"context"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"apportion/billing"
	"apportion/schemas/civil"
)

// TestOverageIsThatOfTheDeliveries: by what is stored, in which open sessions last as long as they may, it is what the
// deliveries give as of now (R12, R15).
func TestOverageIsThatOfTheDeliveries(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		rules := billing.DefaultRules()
		half := rapid.Int64Range(0, 33*48).Draw(r, "half hours of the period until now")
		now := civil.UTC.Start(w.period.First()) + half*30*60_000
		snapshot, err := billing.Snapshot(w.state, rules)
		if err != nil {
			r.Fatal(err)
		}
		for _, tenant := range w.state.Tenants() {
			overages := func(stored bool) string {
				usage := newFakeUsage(w.deliveries)
				usage.snapshot, usage.rules = snapshot, rules.Rules
				x := explainer(r, w.state, tenant.ID, w.period, w.deliveries, rules, now)
				if stored {
					x.Stored = func(context.Context) (bool, error) { return true, nil }
				}
				all, err := x.Overages(context.Background(), usage, w.period)
				if err != nil {
					r.Fatal(err)
				}
				text, err := json.Marshal(all)
				if err != nil {
					r.Fatal(err)
				}
				return string(text)
			}
			computed := overages(false)
			if stored := overages(true); stored != computed {
				r.Fatalf("%s by what is stored:\n%s\nand by the deliveries:\n%s", tenant.ID, stored, computed)
			}
		}
	})
}

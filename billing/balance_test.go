package billing_test

import (
	"slices"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/schemas/civil"
)

// TestDifferencesAreNamedByDay, also those that cancel out over the period (R22).
func TestDifferencesAreNamedByDay(t *testing.T) {
	first, second := civil.NewDate(2026, 10, 14), civil.NewDate(2026, 10, 15)
	figures := &aggregate.Figures{
		Usage: []aggregate.Usage{
			{Tenant: "acme", Date: first, Meter: "ivr_port", Events: 2},
			{Tenant: "acme", Date: first, Meter: "ivr_port", Subscription: "Sub1", Events: 1},
			{Tenant: "acme", Date: second, Meter: "ivr_port", Events: 1},
			{Tenant: "acme", Date: second, Meter: "ivr_port", Subscription: "Sub1", Events: 2},
			{Tenant: "beta", Date: first, Meter: "ivr_port", Events: 1},
			{Tenant: "beta", Date: first, Meter: "ivr_port", Subscription: "Beta1", Events: 1},
		},
		Balances: []aggregate.DayBalance{
			{Tenant: "acme", Date: first, Balance: aggregate.Balance{Accepted: 1, Counted: 1}},
			{Tenant: "acme", Date: second, Balance: aggregate.Balance{Accepted: 2, Counted: 2}},
			{Tenant: "beta", Date: first, Balance: aggregate.Balance{Accepted: 1, Counted: 1}},
		},
	}
	found := billing.DifferencesByDay(figures)
	want := []string{"2026-10-14: events of the tenant and of its subscriptions differ: 2 and 1",
		"2026-10-15: events of the tenant and of its subscriptions differ: 1 and 2"}
	if len(found) != 1 || !slices.Equal(found["acme"], want) {
		t.Errorf("%q, want of acme %q", found, want)
	}
}

// TestInvoicedUnits: the Connect lines of the period, and the adjustments of it since; no others.
func TestInvoicedUnits(t *testing.T) {
	line := func(kind billing.Kind, meter string, quantity int64, from civil.Month) billing.Line {
		return billing.Line{Kind: kind, Meter: meter, Quantity: decimal.NewFromInt(quantity), From: from.First()}
	}
	issue := func(period civil.Month, lines ...billing.Line) billing.Issue {
		return billing.Issue{Period: period, Invoices: []billing.Invoice{{Lines: lines}}}
	}
	units := billing.InvoicedUnits(october, []billing.Issue{
		issue(october, line(billing.Connect, "connect.sms", 4, october), line(billing.Connect, "connect.sms", 2, october),
			line(billing.Adjustment, "connect.sms", 100, october-1), line(billing.Overage, "ivr_port", 9, october)),
		issue(october+1, line(billing.Connect, "connect.sms", 50, october+1),
			line(billing.Adjustment, "connect.sms", -1, october),
			line(billing.Adjustment, "connect.email", 3, october), line(billing.Adjustment, "ivr_port", 3, october)),
	})
	if len(units) != 2 || units["connect.sms"].String() != "5" || units["connect.email"].String() != "3" {
		t.Errorf("%v, want 5 of sms and 3 of email", units)
	}
}

package billing_test

import (
	"slices"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

var d = decimal.RequireFromString

// TestR26_TaxIsRoundedOnceForACategoryAndRate holds the figures of one invoice to what is computed by hand.
func TestR26_TaxIsRoundedOnceForACategoryAndRate(t *testing.T) {
	for _, c := range []struct {
		amounts    []string
		rate       string
		minorUnits int32
		tax, gross string
	}{
		{[]string{"22319.74"}, "25", 2, "5579.94", "27899.68"},
		{[]string{"0.50"}, "25", 2, "0.13", "0.63"}, // 0.125: away from zero
		{[]string{"-0.50"}, "25", 2, "-0.13", "-0.63"},
		{[]string{"0.02", "0.02", "0.02"}, "25", 2, "0.02", "0.08"}, // 0.015 on the sum, where each by itself were 0.01
		{[]string{"155"}, "10", 0, "16", "171"},
		{[]string{"145"}, "10", 0, "15", "160"},
		{[]string{"0.123"}, "8.875", 3, "0.011", "0.134"},
	} {
		invoice := billing.Invoice{Period: civil.NewMonth(2026, 10), MinorUnits: c.minorUnits}
		for _, a := range c.amounts {
			invoice.Lines = append(invoice.Lines, billing.Line{Kind: billing.Commitment, Amount: d(a)})
			invoice.Total = invoice.Total.Add(d(a))
		}
		account := billing.Account{Tenant: &registry.Tenant{BillTo: &registry.BillTo{Tax: registry.Taxes{{From: civil.NoDate,
			Category: "S", Rate: d(c.rate)}}}}}
		subtotals, tax, gross := account.Taxes(invoice)
		if len(subtotals) != 1 || !subtotals[0].Net.Equal(invoice.Total) || !tax.Equal(d(c.tax)) || !gross.Equal(d(c.gross)) {
			t.Errorf("%v at %s: %v, %s, %s; want %s, %s", c.amounts, c.rate, subtotals, tax, gross, c.tax, c.gross)
		}
	}
	untaxed := billing.Account{Tenant: &registry.Tenant{BillTo: &registry.BillTo{}}}
	if subtotals, tax, gross := untaxed.Taxes(billing.Invoice{Total: d("10"),
		Lines: make([]billing.Line, 1)}); len(subtotals) > 0 || !tax.IsZero() || !gross.Equal(d("10")) {
		t.Errorf("without a statement: %v, %s, %s", subtotals, tax, gross)
	}
}

// TestR26_ALineIsTaxedByTheLastDateOfItsPeriod walks a history over the months around its dates.
func TestR26_ALineIsTaxedByTheLastDateOfItsPeriod(t *testing.T) {
	date := civil.NewDate
	history := registry.Taxes{{From: civil.NoDate, Category: "S", Rate: d("22")},
		{From: date(1969, 12, 31), Category: "S", Rate: d("24")},
		{From: date(2024, 8, 31), Category: "S", Rate: d("25.5")}, {From: date(2024, 10, 2), Category: "AE", Reason: "moved"}}
	account := billing.Account{Tenant: &registry.Tenant{BillTo: &registry.BillTo{Tax: history}}}
	for _, c := range []struct {
		period civil.Month
		kind   billing.Kind
		of     civil.Month
		want   string
	}{
		{civil.NewMonth(1969, 11), billing.UsageKind, 0, "22"},
		{civil.NewMonth(1969, 12), billing.UsageKind, 0, "24"},
		{civil.NewMonth(2024, 7), billing.Connect, 0, "24"},
		{civil.NewMonth(2024, 8), billing.Connect, 0, "25.5"}, // from its last date on
		{civil.NewMonth(2024, 9), billing.Overage, 0, "25.5"}, // the next is one day late
		{civil.NewMonth(2024, 10), billing.Overage, 0, "0"},
		{civil.NewMonth(2024, 10), billing.Adjustment, civil.NewMonth(2024, 7), "24"},
		{civil.NewMonth(2024, 10), billing.Adjustment, civil.NewMonth(2024, 9), "25.5"},
	} {
		invoice, line := billing.Invoice{Period: c.period}, billing.Line{Kind: c.kind, From: c.of.First()}
		if got := account.TaxOf(invoice, line); !got.Rate.Equal(d(c.want)) {
			t.Errorf("%s of %s, %s: %v, want %s", c.kind, c.period, c.of, got, c.want)
		}
	}
}

// taxedTenant has messages at 0.5 each, and a buyer of whose tax the document says what is given.
func taxedTenant(tax string) string {
	return "tenants: [{id: acme, subscriptions: [{id: Sub1}], billTo: {address: {country: FI}, tax: " + tax + "}}]"
}

// wantTaxes compares the subtotals of a run's one invoice, each as its rate, net and tax, and what is to be paid.
func wantTaxes(t *testing.T, run *billing.Run, gross string, want ...string) {
	t.Helper()
	if len(run.Invoices) != 1 {
		t.Fatalf("%d invoices, want 1", len(run.Invoices))
	}
	i := run.Invoices[0]
	subtotals, _, paid := run.Accounts[i.Tenant].Taxes(i)
	var got []string
	for _, s := range subtotals {
		got = append(got, s.Tax.Rate.String()+"% on "+i.Money(s.Net)+": "+i.Money(s.Amount))
	}
	if !slices.Equal(got, want) || i.Money(paid) != gross {
		t.Errorf("%q and %s to pay, want %q and %s", got, i.Money(paid), want, gross)
	}
}

// TestR26_WhatCorrectsAPeriodIsTaxedAsThePeriodWas: a document with one tax does not say since when; what was issued
// before it does. Files that are written again say the same, whatever the document says by then (R20).
func TestR26_WhatCorrectsAPeriodIsTaxedAsThePeriodWas(t *testing.T) {
	s := newStoryOf(t, taxedTenant(`{category: S, rate: "24"}`),
		"connect sms 400 at 2026-09-14T08:00Z\nconnect sms 400 at 2026-10-14T08:00Z")
	wantTaxes(t, s.issue(t, september), "248.00", "24% on 200.00: 48.00")
	s.put(t, taxedTenant(`{category: S, rate: "25.5"}`))
	s.arrives(t, "connect sms 100 at 2026-09-15T08:00Z")
	preview, err := s.biller(billing.DefaultRules()).Preview(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantTaxes(t, preview, "313.00", "25.5% on 200.00: 51.00", "24% on 50.00: 12.00")
	wantTaxes(t, s.issue(t, october), "313.00", "25.5% on 200.00: 51.00", "24% on 50.00: 12.00")
	s.put(t, taxedTenant(`{category: Z}`))
	for period, want := range map[civil.Month][]string{september: {"248.00", "24% on 200.00: 48.00"},
		october: {"313.00", "25.5% on 200.00: 51.00", "24% on 50.00: 12.00"}} {
		run, err := s.biller(billing.DefaultRules()).Issued(t.Context(), period)
		if err != nil {
			t.Fatal(err)
		}
		wantTaxes(t, run, want[0], want[1:]...)
	}
}

// TestR26_AHistoryIsTakenByItsDates, whenever it was applied: what it says of an issued period is current for what
// corrects that.
func TestR26_AHistoryIsTakenByItsDates(t *testing.T) {
	const history = `[{category: S, rate: "24"}, {from: 2026-10-01, category: S, rate: "25.5"}]`
	for name, first := range map[string]string{"before": history, "since": `{category: S, rate: "24"}`,
		"unlike what was issued": `{category: Z}`} {
		t.Run(name, func(t *testing.T) {
			s := newStoryOf(t, taxedTenant(first), "connect sms 400 at 2026-09-14T08:00Z\nconnect sms 400 at 2026-10-14T08:00Z")
			issued := s.issue(t, september)
			if name != "unlike what was issued" {
				wantTaxes(t, issued, "248.00", "24% on 200.00: 48.00")
			}
			s.put(t, taxedTenant(history))
			s.arrives(t, "connect sms 100 at 2026-09-15T08:00Z")
			wantTaxes(t, s.issue(t, october), "313.00", "25.5% on 200.00: 51.00", "24% on 50.00: 12.00")
		})
	}
}

package billing_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
)

// TestDifferenceIsSplit into what late usage makes of what was issued, then corrections, then the registry; and it says
// what later invoices have adjusted of it.
func TestDifferenceIsSplit(t *testing.T) {
	document := func(committed, price int) string {
		return fmt.Sprintf("tenants: [{id: acme, subscriptions: [{id: Sub1, versions: [{commitments: {agent_standard: %d}, "+
			"prices: {commitment: {agent_standard: \"10\"}, overage: {agent_standard: \"%d\"}, connect: {sms: \"0.5\"}}}]}]}]",
			committed, price)
	}
	s := newStoryOf(t, document(1, 100), `on 2026-09-14
agent a1..a3 08:00 09:00
agent a4 10:00 11:00 id=moves
connect sms 2 at 08:00 id=m`)
	s.issue(t, september)
	known, registry := s.usage.deliveries, s.ledger.state
	s.arrives(t, `on 2026-09-14
agent a5 08:00 09:00
agent a4 08:00 09:00 id=moves rev=1
agent a6 12:00 13:00
connect sms 8 at 09:00`)
	s.issue(t, october)
	s.arrives(t, "connect sms 3 at 2026-09-14T08:00Z id=m rev=1")
	s.put(t, document(2, 200))

	b := s.biller(billing.DefaultRules())
	c, _, open, err := b.CompareIssued(t.Context(), september, nil, billing.View{State: s.ledger.state,
		NowMS: aggregate.EndOfTime})
	if err != nil || len(open) > 0 {
		t.Fatal(open, err)
	}
	then := explainer(t, registry, "acme", september, known, billing.DefaultRules(), issue)
	now := explainer(t, s.ledger.state, "acme", september, s.usage.deliveries, billing.DefaultRules(), issue)
	then.NowMS, now.NowMS = aggregate.EndOfTime, aggregate.EndOfTime
	if err := c.Explain(t.Context(), then, now, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, change := range c.Changes {
		k := change.Causes
		line := fmt.Sprint(change.Kind, " ", change.Amount.Before, "→", change.Amount.After, ": ", k.Late.Amount, " ",
			k.Corrections.Amount, " ", k.Registry.Amount, ", ", k.Adjusted.Amount, " adjusted by")
		sum := k.Late.Amount.Add(k.Corrections.Amount).Add(k.Registry.Amount)
		if !sum.Equal(change.Amount.Difference()) {
			t.Errorf("%s: the parts add up to %s", line, sum)
		}
		for i := range k.Events {
			line += " " + k.Events[i].Cause()
		}
		got = append(got, line)
	}
	want := []string{
		"usage 0→0: 0 0 0, 0 adjusted by late correction",
		"connect 1→5.5: 4 0.5 0, 4 adjusted by late correction",
		"overage 200→600: 100 100 200, 200 adjusted by late correction",
	}
	for n := range got {
		words := strings.Split(got[n], "adjusted by")
		got[n] = words[0] + "adjusted by" + strings.ReplaceAll(words[1], " correction late", " late correction")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(c.Totals) != 1 || c.Totals[0].Amount.Difference().String() != "404.5" {
		t.Errorf("%+v", c.Totals)
	}
}

// TestDifferenceOfWhoCannotBeExplained: a tenant whose later invoices have changed, or whose issue this program does
// not know, is left out of everything, and the others stay.
func TestDifferenceOfWhoCannotBeExplained(t *testing.T) {
	document := "tenants: ["
	deliveries := ""
	for _, tenant := range []string{"acme", "beta", "caro"} {
		document += fmt.Sprintf("{id: %s, subscriptions: [{id: %s1}]}, ", tenant, tenant)
		deliveries += fmt.Sprintf("tenant %s\n"+
			"connect sms 2 at 2026-09-14T08:00Z\nconnect sms 4 at 2026-10-14T08:00Z\n", tenant)
	}
	s := newStoryOf(t, document+"]", deliveries)
	s.issue(t, september)
	s.arrives(t, deliveries)
	s.issue(t, october)
	s.ledger.lines[s.ledger.chain("beta")[1].ID] = nil
	s.ledger.read = 0
	b := s.biller(billing.DefaultRules())
	c, _, _, err := b.CompareIssued(t.Context(), september, nil, billing.View{State: s.ledger.state,
		NowMS: aggregate.EndOfTime})
	if err != nil {
		t.Fatal(err)
	}
	want := func(tenants, stops, total string) {
		t.Helper()
		var of, changed, stopped []string
		for _, total := range c.Tenants {
			of = append(of, total.Tenant)
		}
		for _, change := range c.Changes {
			changed = append(changed, change.Tenant)
		}
		for _, stop := range c.Before {
			stopped = append(stopped, fmt.Sprint(stop.Tenant, " ", stop.Period, " ", stop.Code))
		}
		if fmt.Sprint(of) != tenants || fmt.Sprint(changed) != tenants || fmt.Sprint(stopped) != stops {
			t.Errorf("of %s differ %s, stopped %s; want %s and %s", of, changed, stopped, tenants, stops)
		}
		if sum := c.Totals[0].Amount.Difference(); len(c.Totals) != 1 || sum.String() != total {
			t.Errorf("in total %v; want %s", c.Totals, total)
		}
	}
	want("[acme caro]", "[beta 2026-10 unbalanced]", "2")
	if s.ledger.read != 2 { // of September, and of what came later
		t.Errorf("lines were read %d times", s.ledger.read)
	}
	c.LeaveOut("acme", errors.New("issued by other rules"))
	want("[caro]", "[acme 2026-09 unbalanced beta 2026-10 unbalanced]", "1")
}

// TestCompareIssuedSaysToWhom: a stopped tenant's period is issued all the same.
func TestCompareIssuedSaysToWhom(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, messages)
	issueAt(t, b, graceEndsInTokyo, "acme", "beta")
	ledger.lines[ledger.chain("acme")[0].ID] = nil
	c, compared, open, err := b.CompareIssued(t.Context(), october, []string{"acme", "beta", "nobody"},
		billing.View{State: b.State, NowMS: aggregate.EndOfTime})
	if err != nil || fmt.Sprint(compared, open) != "[acme] [beta]" {
		t.Errorf("%v and %v, %v; want acme and beta", compared, open, err)
	}
	if len(c.Totals) != 0 || len(c.Before) != 2 || c.Before[0].Tenant != "acme" || c.Before[1].Tenant != "nobody" {
		t.Errorf("%+v", c)
	}
}

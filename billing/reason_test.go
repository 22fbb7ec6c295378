package billing_test

import (
	"fmt"
	"testing"

	"apportion/billing"
	"apportion/schemas/civil"
)

// TestR21_ReasonsOfAdjustments: an issue records what stood before and what stands now, with its peaks and pools, and how
// many events made the difference: those at a peak alone, and each of them once however often it came.
func TestR21_ReasonsOfAdjustments(t *testing.T) {
	const document = "tenants: [{id: acme, subscriptions: [{id: Sub1, versions: [{commitments: {agent_standard: 1}}]}]}]"
	s := newStoryOf(t, document, `on 2026-09-14
agent a1..a2 08:00 09:00
agent a3 10:00 11:00 id=moves
connect sms 2 at 08:00 id=m`)
	s.issue(t, september)

	s.arrives(t, `on 2026-09-14
agent a4 08:30 09:30
agent a5..a6 08:30 09:30 x2
agent a7 12:00 13:00
agent a3 08:30 09:30 id=moves rev=1
agent a3 08:30 09:30 id=moves rev=1
connect sms 5 at 08:00 id=m rev=1
connect sms 1 at 08:00`)
	october := s.issue(t, october)
	wantReasons(t, s, october, "1 late 5 corrected 1 registry false, then 1 100 at 2026-09-14T08:00:00.000Z of 1, "+
		"now 5 500 at 2026-09-14T08:30:00.000Z of 1", "2 late 1 corrected 1 registry false, then 2 1, now 6 3")
	for n, l := range october.Invoices[0].Lines {
		if pictured := l.Meter == "agent_standard"; pictured != (len(l.Pool) > 0) {
			t.Errorf("line %d, %s, has a picture of %d", n+1, l.Meter, len(l.Pool))
		}
	}

	// What is corrected again is compared with what was adjusted; the pool is another now, and the events are the same.
	s.put(t, "tenants: [{id: acme, subscriptions: [{id: Sub1, versions: [{commitments: {agent_standard: 3}}]}]}]")
	november := s.issue(t, october.Period+1)
	wantReasons(t, s, november, "1 late 0 corrected 0 registry true, then 5 500 at 2026-09-14T08:30:00.000Z of 1, "+
		"now 3 300 at 2026-09-14T08:30:00.000Z of 3")
}

// TestReasonsAreOfTheMonthAndSubscription: of what has no peak, the events of another month or subscription make no
// difference. Those of the last hour of September in Stockholm are its own, too.
func TestReasonsAreOfTheMonthAndSubscription(t *testing.T) {
	s := newStoryOf(t, `tenants: [{id: acme, timeZone: Europe/Stockholm, subscriptions: [
		{id: Sub1, terms: [{from: 2024-01-01, to: 2026-10-15}]}, {id: Sub2, terms: [{from: 2024-02-01, to: 2034-01-01}]}]}]`,
		"connect sms 2 at 2026-09-14T08:00Z id=moves\nconnect sms 4 at 2026-09-14T08:00Z")
	s.issue(t, september)
	s.issue(t, september.Next())
	s.arrives(t, `connect sms 2 at 2026-09-10T08:00Z x2
connect sms 2 at 2026-09-30T21:30Z
connect sms 2 at 2026-09-30T22:00Z
connect sms 2 at 2026-10-10T08:00Z x2
connect sms 2 at 2026-10-10T08:00Z id=moves rev=1
connect sms 2 at 2026-10-20T08:00Z x5
connect sms 2 at 2026-11-02T08:00Z x7`)
	wantReasons(t, s, s.issue(t, september.Next().Next()),
		"1 late 3 corrected 1 registry false, then 6 3, now 10 5",
		"2 late 3 corrected 1 registry false, then 0 0, now 8 4",
		"2 late 5 corrected 0 registry false, then 0 0, now 10 5")
}

// TestReasonsOfNamedAgents: what is counted by agents and not at a peak is of the month in which sessions start.
func TestReasonsOfNamedAgents(t *testing.T) {
	s := newStoryOf(t, `tenants: [{id: acme, subscriptions: [{id: Sub1, licenceModel: named,
		versions: [{commitments: {agent_standard: 1}}]}]}]`, "agent a1 2026-09-14T08:00Z 2026-09-14T09:00Z")
	s.issue(t, september)
	s.issue(t, september.Next())
	s.arrives(t, "agent a2..a4 2026-09-30T23:00Z 2026-10-01T02:00Z\nagent a5..a7 2026-10-02T08:00Z 2026-10-02T09:00Z")
	wantReasons(t, s, s.issue(t, september.Next().Next()),
		"1 late 3 corrected 0 registry false, then 0 0, now 3 300",
		"2 late 3 corrected 0 registry false, then 0 0, now 2 200")
}

// TestReasonsNameTheRegistry beside events where what was agreed for the month is another, and not for what begins later
// or who is mapped; where no event makes the difference for whatever has changed.
func TestReasonsNameTheRegistry(t *testing.T) {
	document := func(price, later, licences string) string {
		return fmt.Sprintf(`tenants: [{id: acme, subscriptions: [{id: Sub1, versions: [{from: 2024-01-01,
			commitments: {agent_standard: 1}, prices: {overage: {agent_standard: %q, agent_premium: "500"}}}%s]}], licences: [%s]}]`,
			price, later, licences)
	}
	const (
		late = "agent a3 08:00 09:00"
		peak = " at 2026-09-14T08:00:00.000Z of "
	)
	for _, c := range []struct {
		name, document, late string
		want                 []string
	}{
		{"nothing", document("100", "", ""), late,
			[]string{"1 late 1 corrected 0 registry false, then 1 100" + peak + "1, now 2 200" + peak + "1"}},
		{"a price", document("200", "", ""), late,
			[]string{"1 late 1 corrected 0 registry true, then 1 100" + peak + "1, now 2 400" + peak + "1"}},
		{"a later price", document("100", `, {from: 2026-10-01, prices: {overage: {agent_standard: "300"}}}`, ""), late,
			[]string{"1 late 1 corrected 0 registry false, then 1 100" + peak + "1, now 2 200" + peak + "1"}},
		{"a mapping", document("100", "", "{user: a1, subscription: Sub1, class: standard}"), late,
			[]string{"1 late 1 corrected 0 registry false, then 1 100" + peak + "1, now 2 200" + peak + "1"}},
		{"a mapping alone", document("100", "", "{user: a1, subscription: Sub1, class: premium}"), "", []string{
			"1 late 0 corrected 0 registry true, then 0 0, now 1 500" + peak + "0",
			"2 late 0 corrected 0 registry true, then 1 100" + peak + "1, now 0 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStoryOf(t, document("100", "", ""), "on 2026-09-14\nagent a1..a2 08:00 09:00")
			s.issue(t, september)
			if refusals := s.put(t, c.document); len(refusals) > 0 {
				t.Fatal(refusals)
			}
			s.arrives(t, "on 2026-09-14\n"+c.late)
			wantReasons(t, s, s.issue(t, october), c.want...)
		})
	}
}

// TestReasonsAreSoughtWhereSomethingCame: of the periods that are corrected those are read that new deliveries reach, or
// what these have moved; sessions of the month before can be live in a period.
func TestReasonsAreSoughtWhereSomethingCame(t *testing.T) {
	for late, want := range map[string]string{
		"":                                   "0 of 3 read",
		"connect sms 1 at 2026-10-20T08:00Z": "2 of 3 read",
		"connect sms 1 at 2026-10-20T08:00Z id=moves rev=1": "3 of 3 read",
		"connect sms 1 at 2026-12-20T08:00Z":                "0 of 3 read",
	} {
		const prices = "tenants: [{id: acme, subscriptions: [{id: Sub1, versions: [{prices: {connect: {sms: %q}}}]}]}]"
		s := newStoryOf(t, fmt.Sprintf(prices, "1"), `connect sms 8 at 2026-09-10T08:00Z id=moves
connect sms 8 at 2026-09-10T08:00Z
connect sms 8 at 2026-10-10T08:00Z
connect sms 8 at 2026-11-10T08:00Z`)
		for n := range 3 {
			s.issue(t, september+civil.Month(n))
		}
		if refusals := s.put(t, fmt.Sprintf(prices, "3")); len(refusals) > 0 {
			t.Fatal(refusals)
		}
		s.arrives(t, late)
		b := s.biller(billing.DefaultRules())
		var read int
		b.Deliveries = counting{memory(s.usage.deliveries), &read}
		run, err := b.Issue(t.Context(), september+3, nil, at(t, yearAfter))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d of %d read", read, len(run.Accounts["acme"].Reasons)); got != want {
			t.Errorf("%q: %s, want %s", late, got, want)
		}
	}
}

// wantReasons compares why the adjustments of a run are there, as it says and as its issue has recorded.
func wantReasons(t *testing.T, s *story, run *billing.Run, want ...string) {
	t.Helper()
	charged := func(c billing.Charged) string {
		text := fmt.Sprint(" ", c.Quantity, " ", c.Amount)
		if c.PeakMS != billing.NoInstant {
			text += fmt.Sprint(" at ", billing.Line{PeakMS: c.PeakMS}.PeakAt(), " of ", c.Entitled)
		}
		return text
	}
	var got []string
	for _, i := range run.Invoices {
		for _, l := range i.Lines {
			if r := run.Accounts[i.Tenant].ReasonFor(i, l); r != nil {
				got = append(got, fmt.Sprint(r.Line, " late ", r.Late, " corrected ", r.Corrected, " registry ", r.Registry,
					", then", charged(r.Then), ", now", charged(r.Now)))
			}
		}
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("the reasons are\n%q\nwant\n%q", got, want)
	}
	chain := s.ledger.chain("acme")
	if recorded := chain[len(chain)-1].Reasons; len(recorded) != len(want) {
		t.Errorf("%d are recorded", len(recorded))
	}
}

// TestExplainCorrection names the events that make the difference and no others, as they were and as they are, and the
// peaks with the pool then and now.
func TestExplainCorrection(t *testing.T) {
	const document = "tenants: [{id: acme, subscriptions: [{id: Sub1, versions: [{commitments: {agent_standard: 1}}]}]}]"
	s := newStoryOf(t, document, `on 2026-09-14
agent a1..a2 08:00 09:00
agent a3 10:00 11:00 id=moves`)
	s.issue(t, september)
	known := s.usage.deliveries
	s.arrives(t, `on 2026-09-14
agent a4 08:30 09:30 id=late
agent a5 12:00 13:00
agent a3 08:30 09:30 id=moves rev=1`)
	i := s.issue(t, october).Invoices[0]
	x := explainer(t, s.ledger.state, "acme", october, s.usage.deliveries, billing.DefaultRules(), issue)
	x.Lines, x.Chain = s.ledger, s.ledger.chain("acme")
	x.Then = explainer(t, s.ledger.state, "acme", september, known, billing.DefaultRules(), issue)
	e, err := x.Explain(t.Context(), i, i.Lines[0])
	if err != nil || len(e.Differences) > 0 {
		t.Fatal(err, e.Differences)
	}
	c := e.Adjustment
	if c.PeakThen.Live != 2 || c.PeakThen.AtMS.String() != "2026-09-14T08:00:00.000Z" || c.PeakThen.Entitled != 1 ||
		c.PeakNow.Live != 4 || c.PeakNow.AtMS.String() != "2026-09-14T08:30:00.000Z" || len(c.PeakNow.Sessions) != 4 {
		t.Errorf("then %+v, now %+v", c.PeakThen, c.PeakNow)
	}
	if len(c.Events) != 2 || !c.Events[0].Late && !c.Events[1].Late {
		t.Fatalf("%+v", c.Events)
	}
	for _, e := range c.Events {
		if id := e.Now.Winner.ID; e.Late != (id == "late/a4/0" || id == "late") || !e.Late && e.Then.FromMS == e.Now.FromMS {
			t.Errorf("%s: late %v, from %d, now %d", id, e.Late, e.Then.FromMS, e.Now.FromMS)
		}
	}
	if c.Reason.Late != 1 || c.Reason.Corrected != 1 {
		t.Errorf("%+v", c.Reason)
	}
}

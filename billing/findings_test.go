package billing_test

import (
	"fmt"
	"strings"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
)

// wantFindings compares findings by tenant, code, count and names, and looks that each says a rule and what to do.
func wantFindings(t *testing.T, findings []billing.Finding, want ...string) {
	t.Helper()
	var got []string
	for _, f := range findings {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %d %s", f.Tenant, f.Code, f.Count,
			strings.Join(f.Names, ","))))
		if !strings.HasPrefix(f.Rule, "R") || f.Advice == "" || !strings.Contains(f.String(), string(f.Code)) {
			t.Errorf("%+v says too little", f)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// oneSeat commits to one seat, and is active in October 2026 alone.
const oneSeat = `tenants:
- id: acme
  subscriptions: [{id: Sub1, terms: [{from: 2026-10-01, to: 2026-11-01}], versions: [{from: 2026-10-01, commitments: {agent_standard: 1}}]}]
  licences: [{user: jan, role: agent, class: standard, subscription: Sub1, from: 2026-10-01}, {user: Jan, role: agent, class: standard, subscription: Sub1, from: 2026-10-01}]
`

// TestR24_Findings: what is found of an issue stands in its account as it was then, whatever is found later.
func TestR24_Findings(t *testing.T) {
	s := newStoryOf(t, oneSeat, `on 2026-10-14
agent jan 08:00 09:00
agent Jan 08:00 09:00
agent eva 10:00 11:00 for none
on 2026-09-30
connect sms 2 at 08:00 id=early
`)
	s.usage.held = []string{"globex", "acme"}
	s.usage.others = []aggregate.Noted{{Tenant: "acme", Count: 12, Events: []aggregate.EventName{{Source: "/t", ID: "x"}}}}
	refused := func(id, value string) aggregate.Refused {
		return aggregate.Refused{Tenant: "acme", EventName: aggregate.EventName{Source: "/t", ID: id}, Revision: 3,
			TimeMS: 1_791_993_600_000, TimeRevision: 3, Value: []byte(value)}
	}
	event := `{"specversion":"1.0","id":"x","source":"/t","type":"connect.usage","time":"%s","tenantid":"acme","data":{"channel":"sms","quantity":-1,"revision":%s}}`
	original := refused("itself", fmt.Sprintf(event, "2026-10-14T16:00:00Z", `1.0`))
	original.Revision, original.TimeRevision = 0, 0
	s.usage.corrections = []aggregate.Refused{
		refused("answered", fmt.Sprintf(event, "2026-10-14T17:00:00Z", "3")),
		refused("higher", fmt.Sprintf(event, "2026-10-14T15:00:00Z", "4")),
		refused("higher", fmt.Sprintf(event, "2026-10-14T15:00:00Z", "5")),
		refused("earlier", fmt.Sprintf(event, "2026-10-14T16:00:00Z", `"1"`)),
		original,
		refused("later", fmt.Sprintf(event, "2026-10-14T16:00:00.001Z", `1.0`)),
	}
	want := []string{
		"unknown_tenant 1 globex",
		"acme refused_correction 3 /t higher,/t itself,/t later",
		"acme refused 12 /t x",
		"acme never_billed 1 script early",
		"acme unmapped 1 script line-a-4/eva/0",
		"acme unknown_subscription 1 script line-a-4/eva/0",
		"acme same_person 2 Jan,jan",
	}
	draft, err := s.biller(billing.DefaultRules()).Preview(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantFindings(t, draft.Findings, want...)
	run := s.issue(t, october)
	wantFindings(t, run.Findings, want...)
	s.usage.corrections, s.usage.others, s.usage.held = nil, nil, nil
	s.arrives(t, "on 2026-10-15\nagent ole 08:00 open")
	again, err := s.biller(billing.DefaultRules()).Issued(t.Context(), october)
	if err != nil {
		t.Fatal(err)
	}
	wantFindings(t, again.Findings, want[1:]...)
	lacking := 0
	for _, f := range again.Findings {
		if f.Lacking() {
			lacking++
		}
	}
	if lacking != 2 {
		t.Errorf("%d findings say that the bill lacks something, want refused_correction and never_billed", lacking)
	}
	if got := draft.Accounts["acme"].Findings[0].Records; len(got) != 4 {
		t.Errorf("%d places of refused corrections, want 3", len(got))
	}
}

// TestR24_OpenPeak: a peak that is attained without the open sessions too is none that stands on them.
func TestR24_OpenPeak(t *testing.T) {
	both := "agent jan 2026-10-14T08:00Z 2026-10-14T09:00Z\nagent Eva 2026-10-14T08:30Z open id=o1\n"
	for name, c := range map[string]struct {
		deliveries string
		want       []string
	}{
		"alone": {both, []string{"acme open_session 1 script o1", "acme unmapped 1 script o1",
			"acme open_peak 1 script o1"}},
		"later":   {both + "agent x 2026-10-20T08:00Z 2026-10-20T09:00Z for Sub1\nagent y 2026-10-20T08:00Z 2026-10-20T09:00Z for Sub1\n", []string{"acme open_session 1 script o1", "acme unmapped 1 script o1"}},
		"smaller": {"agent jan 2026-10-14T08:00Z open id=o2 for Sub1\n", []string{"acme open_session 1 script o2"}},
	} {
		s := newStoryOf(t, oneSeat, c.deliveries)
		t.Run(name, func(t *testing.T) { wantFindings(t, s.issue(t, october).Findings, c.want...) })
	}
}

// TestR24_Ahead: usage that starts after the clock, in whatever month.
func TestR24_Ahead(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-10-14T08:00Z\nconnect sms 2 at 2026-11-20T08:00Z id=ahead")
	run, err := s.biller(billing.DefaultRules()).Issue(t.Context(), october, nil, at(t, graceEndsInNewYork))
	if err != nil {
		t.Fatal(err)
	}
	wantFindings(t, run.Findings, "acme ahead 1 script ahead")
	if later := s.issue(t, october+1); len(later.Findings) != 0 {
		t.Errorf("a year after: %v", later.Findings)
	}
}

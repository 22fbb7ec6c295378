package billing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

const (
	october = civil.Month((2026-1970)*12 + 9)

	// Three tenants: the grace of October ends first in Tokyo and last in New York; poor has no price for anything.
	threeTenants = `tenants:
- id: acme
  timeZone: Asia/Tokyo
  subscriptions: [{id: Sub1}]
- id: beta
  timeZone: America/New_York
  subscriptions: [{id: Beta1}]
- id: poor
  subscriptions: [{id: Poor1, versions: [{prices: {}}]}]
`
	graceEndsInTokyo   = "2026-11-03T15:00:00.000Z"
	graceEndsInNewYork = "2026-11-04T05:00:00.000Z"
	yearAfter          = "2027-11-01T00:00:00.000Z"
	messages           = `on 2026-10-14
connect sms 2 at 08:00
tenant beta
connect sms 4 at 08:00
`
	poorMessage = `tenant poor
connect sms 8 at 2026-10-14T08:00Z
`
	linesOfAcme = "Sub1 connect connect.sms 2 0.5 1.00 SEK 2026-10-01 2026-11-01 -"
	linesOfBeta = "Beta1 connect connect.sms 4 0.5 2.00 SEK 2026-10-01 2026-11-01 -"
)

func newBiller(t *testing.T, document, deliveries string) (*billing.Biller, *fakeUsage, *fakeLedger) {
	t.Helper()
	doc, problems := registry.Parse("registry.yaml", withDefaults(t, document))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s := newStory()
	if refusals := s.apply(t, registry.Plan(s.ledger.state, doc, 0)...); len(refusals) > 0 {
		t.Fatal(refusals)
	}
	s.usage.deliveries = parsed(t, deliveries, "line")
	return s.biller(billing.DefaultRules()), s.usage, s.ledger
}

func parsed(t *testing.T, deliveries, unnamed string) []schemas.Event {
	t.Helper()
	events, err := parseDeliveries(deliveries, unnamed)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func at(t *testing.T, instant string) int64 {
	t.Helper()
	ms, err := civil.ParseInstant(instant)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

func issueAt(t *testing.T, b *billing.Biller, instant string, tenants ...string) *billing.Run {
	t.Helper()
	run, err := b.Issue(t.Context(), october, tenants, at(t, instant))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// wantRun compares the lines and the stops of a run; a stop is its tenant, code and rule.
func wantRun(t *testing.T, run *billing.Run, lines, stops []string) {
	t.Helper()
	got := strings.Split(squeezed(table(run.Invoices)), "\n")[1:]
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
	var stopped []string
	for _, s := range run.Stopped {
		stopped = append(stopped, fmt.Sprintf("%s %s %s", s.Tenant, s.Code, s.Rule))
	}
	if strings.Join(stopped, "\n") != strings.Join(stops, "\n") {
		t.Errorf("stopped %q, want %q", stopped, stops)
	}
}

// TestAStoppedTenantStopsAlone: a missing price stops the tenant's period, and that tenant's only (R19).
func TestAStoppedTenantStopsAlone(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, messages+poorMessage)
	run := issueAt(t, b, yearAfter)
	wantRun(t, run, []string{linesOfAcme, linesOfBeta}, []string{"poor missing_price R19"})
	if run.Issued != 2 || len(ledger.lines) != 2 {
		t.Errorf("issued %d tenants, recorded %d; want 2", run.Issued, len(ledger.lines))
	}
	preview, err := b.Preview(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, preview, []string{linesOfAcme, linesOfBeta}, []string{"poor missing_price R19"})
}

// TestIssueOnceTheGraceIsOver: each tenant's, by its own zone (R20).
func TestIssueOnceTheGraceIsOver(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, messages)
	early := issueAt(t, b, "2026-11-03T14:59:59.999Z", "acme", "beta")
	wantRun(t, early, nil, []string{"acme not_due R20", "beta not_due R20"})
	if !strings.Contains(early.Stopped[0].Message, graceEndsInTokyo) ||
		!strings.Contains(early.Stopped[1].Message, graceEndsInNewYork) {
		t.Errorf("%s; %s; want when each grace ends", early.Stopped[0], early.Stopped[1])
	}
	first := issueAt(t, b, graceEndsInTokyo, "acme", "beta")
	wantRun(t, first, []string{linesOfAcme}, []string{"beta not_due R20"})
	second := issueAt(t, b, graceEndsInNewYork, "acme", "beta")
	wantRun(t, second, []string{linesOfAcme, linesOfBeta}, nil)
	if first.Issued != 1 || second.Issued != 1 || ledger.asked != 2 {
		t.Errorf("issued %d and %d tenants, the ledger asked %d times; want 1, 1 and 2", first.Issued, second.Issued,
			ledger.asked)
	}
	for instant, want := range map[string]bool{graceEndsInTokyo: false, graceEndsInNewYork: true} {
		if due, err := b.Due(october, at(t, instant)); err != nil || due != want {
			t.Errorf("due at %s: %t, %v; want %t", instant, due, err, want)
		}
	}
}

// TestIssueIsOnce: running it again issues nothing and gives the same, whatever came in meanwhile (R20).
func TestIssueIsOnce(t *testing.T) {
	b, usage, ledger := newBiller(t, threeTenants, messages)
	first := issueAt(t, b, yearAfter, "acme")
	usage.deliveries = append(usage.deliveries, parsed(t, "connect sms 1000 at 2026-10-14T08:00Z", "late")...)
	second := issueAt(t, b, yearAfter, "acme")
	wantRun(t, first, []string{linesOfAcme}, nil)
	wantRun(t, second, []string{linesOfAcme}, nil)
	if first.Issued != 1 || second.Issued != 0 || ledger.asked != 1 {
		t.Errorf("issued %d, then %d tenants, the ledger asked %d times; want 1, 0 and 1", first.Issued, second.Issued,
			ledger.asked)
	}
	issued, err := b.Issued(t.Context(), october)
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, issued, []string{linesOfAcme}, nil)
	preview, err := b.Preview(t.Context(), october, []string{"acme"}, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, preview, []string{"Sub1 connect connect.sms 1002 0.5 501.00 SEK 2026-10-01 2026-11-01 -"}, nil)
}

// TestIssueRecordsWhatItRestsOn: the registry, the pass of aggregation and the time zone data (R23).
func TestIssueRecordsWhatItRestsOn(t *testing.T) {
	b, usage, ledger := newBiller(t, threeTenants, messages)
	issueAt(t, b, yearAfter, "acme")
	got := ledger.chain("acme")[0]
	if got.RegistryOffset != b.State.Version() || got.RegistryOffset != 3 || got.Pass != usage.last.Pass ||
		got.Pass != 3<<38+2 || got.TZVersion != civil.Edition() {
		t.Errorf("registry %d, pass %d, time zones %q; want 3, 3<<38+2, %q", got.RegistryOffset, got.Pass, got.TZVersion,
			civil.Edition())
	}
}

func TestPreviewIssuesNothing(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, "agent a1 2026-10-14T08:00Z open for Sub1\nagent a2 2026-10-14T20:00Z open for Sub1")
	for instant, want := range map[string]string{"2026-10-14T20:00:00Z": "1", "2026-10-14T20:00:00.001Z": "2"} {
		run, err := b.Preview(t.Context(), october, []string{"acme"}, at(t, instant))
		if err != nil {
			t.Fatal(err)
		}
		if usage := run.Invoices[0].Lines[0]; !run.Draft || usage.Kind != billing.UsageKind ||
			usage.Quantity.String() != want {
			t.Errorf("at %s, draft %t: %s %s; want a draft with a usage of %s (R12)", instant, run.Draft, usage.Kind,
				usage.Quantity, want)
		}
	}
	if ledger.asked != 0 {
		t.Error("a preview issued")
	}
}

// TestPreviewIsOfOnePass: lines are based on the deliveries that the pass behind adjustments had, whatever is taken in
// meanwhile, and the accounts say so: what explains the preview reads as far.
func TestPreviewIsOfOnePass(t *testing.T) {
	b, usage, _ := newBiller(t, threeTenants, messages)
	refresh := b.Refresh
	b.Refresh = func(ctx context.Context, snapshot aggregate.Snapshot) (aggregate.Pass, error) {
		pass, err := refresh(ctx, snapshot)
		usage.deliveries = append(usage.deliveries, parsed(t, "connect sms 1000 at 2026-10-14T08:00Z", "late")...)
		return pass, err
	}
	run, err := b.Preview(t.Context(), october, []string{"acme"}, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	now, err := usage.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, want := run.Accounts["acme"].Positions, usage.last.Positions
	if !slices.Equal(got, want) || slices.Equal(want, now) {
		t.Errorf("it is based on %v; the pass had %v, and the ledger has %v", got, want, now)
	}
}

func TestUnknownTenantIsAStop(t *testing.T) {
	b, _, _ := newBiller(t, threeTenants, messages+poorMessage)
	stops := []string{"nobody unknown_tenant R1", "poor missing_price R19", "you unknown_tenant R1"}
	names := []string{"you", "nobody", "poor", "acme"}
	preview, err := b.Preview(t.Context(), october, names, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, preview, []string{linesOfAcme}, stops)
	wantRun(t, issueAt(t, b, yearAfter, names...), []string{linesOfAcme}, stops)
}

// TestUnbalancedPartitionsStopEverything: what ingest lost could be anybody's (R22). What is issued shows all the same.
func TestUnbalancedPartitionsStopEverything(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, messages)
	issueAt(t, b, yearAfter, "beta")
	b.Differences = []string{"usage.agent.v1 partition 3: offsets 7 to 9 are missing"}
	run := issueAt(t, b, yearAfter)
	wantRun(t, run, []string{linesOfBeta}, []string{"acme unbalanced R22", "poor unbalanced R22"})
	if !strings.Contains(run.Stopped[0].Message, "offsets 7 to 9") || ledger.asked != 1 {
		t.Errorf("%v, the ledger asked %d times", run.Stopped[0], ledger.asked)
	}
}

// TestAHeldPeriodIsNotIssued: the tenant's period alone, once it would be due, until it is released; a draft is as
// usual, and what was issued before stays so (R20).
func TestAHeldPeriodIsNotIssued(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, messages)
	command := func(kind string, period civil.Month, reason string) registry.Verdict {
		verdict := ledger.give(registry.Command{ID: fmt.Sprint(kind, period, reason), Source: "test", TenantID: "acme",
			Command: kind, Period: period, Reason: reason})
		b.State = ledger.state
		return verdict
	}
	command(registry.HoldPeriod, october, "disputed by the customer")
	command(registry.HoldPeriod, october+1, "another period")
	wantRun(t, issueAt(t, b, "2026-11-01T00:00:00Z", "acme"), nil, []string{"acme not_due R20"})
	run := issueAt(t, b, yearAfter, "acme", "beta")
	wantRun(t, run, []string{linesOfBeta}, []string{"acme held R20"})
	if s := run.Stopped[0]; s.Message != "disputed by the customer" || s.Advice != "release it and issue it then" {
		t.Error(s)
	}
	preview, err := b.Preview(t.Context(), october, []string{"acme"}, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, preview, []string{linesOfAcme}, nil)
	command(registry.ReleasePeriod, october, "settled")
	released := issueAt(t, b, yearAfter, "acme", "beta")
	wantRun(t, released, []string{linesOfAcme, linesOfBeta}, nil)
	if run.Issued != 1 || released.Issued != 1 || ledger.asked != 2 {
		t.Errorf("issued %d and %d tenants, the ledger asked %d times; want 1, 1 and 2", run.Issued, released.Issued,
			ledger.asked)
	}
	if verdict := command(registry.HoldPeriod, october, "too late"); verdict.Accepted ||
		verdict.Refusals[0].Code != "already_issued" {
		t.Errorf("what is issued is held: %v", verdict)
	}
	wantRun(t, issueAt(t, b, yearAfter, "acme"), []string{linesOfAcme}, nil)
}

func TestRegistryThatChangesMeanwhile(t *testing.T) {
	b, usage, ledger := newBiller(t, threeTenants, messages)
	usage.finished = func(pass *aggregate.Pass) { pass.RegistryOffset++ } // another replica's pass, by a later registry
	if run, err := b.Issue(t.Context(), october, nil, at(t, yearAfter)); err == nil || run != nil || ledger.asked != 0 {
		t.Errorf("%v, %v, the ledger asked %d times; want it refused", run, err, ledger.asked)
	}
}

// TestIssueGoesOnByALaterRegistry: another process's pass by a later registry will do for whom that one has not
// changed; the others are billed again by what has become of them, and of their holds, since.
func TestIssueGoesOnByALaterRegistry(t *testing.T) {
	b, usage, ledger := newBiller(t, threeTenants, messages)
	passes := 0
	start := b.State
	usage.finished = func(pass *aggregate.Pass) {
		if passes++; passes == 1 {
			for _, c := range []registry.Command{{Command: registry.ChangeTelephony, Telephony: "vpop"},
				{Command: registry.HoldPeriod, Period: october, Reason: "disputed"}} {
				c.ID, c.Source, c.TenantID = c.Command, "test", "acme"
				if verdict := ledger.give(c); !verdict.Accepted {
					t.Fatal(verdict.Refusals)
				}
			}
			pass.RegistryOffset = ledger.state.Version()
		}
	}
	run, err := b.Issue(t.Context(), october, []string{"acme", "beta"}, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, run, []string{linesOfBeta}, []string{"acme held R20"})
	if got := ledger.chain("beta")[0].RegistryOffset; got != start.Version() || run.Issued != 1 || ledger.asked != 1 ||
		passes != 1 {
		t.Errorf("issued %d, by the registry at %d, %d claims, %d passes; want 1 by %d at once", run.Issued, got,
			ledger.asked, passes, start.Version())
	}
}

// TestIssueAfterARefusedCommand: a command that changed nothing does not hold up the invoices.
func TestIssueAfterARefusedCommand(t *testing.T) {
	b, usage, ledger := newBiller(t, threeTenants, messages)
	if _, err := aggregate.Refresh(t.Context(), usage, usage.snapshot, b.Rules.Rules, func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	if verdict := ledger.give(registry.Command{}); verdict.Accepted {
		t.Fatal("the command is accepted")
	}
	b.State = ledger.state
	wantRun(t, issueAt(t, b, yearAfter, "acme"), []string{linesOfAcme}, nil)
}

func TestIssueThatFails(t *testing.T) {
	b, _, ledger := newBiller(t, threeTenants, messages)
	ledger.failing = errors.New("no connection")
	if _, err := b.Issue(t.Context(), october, nil, at(t, yearAfter)); !errors.Is(err, ledger.failing) {
		t.Errorf("%v, want the failure of the ledger", err)
	}
}

// TestBillOfWhatDoesNotBalance: usage that is lost between the tenant and its subscriptions is not invoiced (R22).
func TestBillOfWhatDoesNotBalance(t *testing.T) {
	b, usage, _ := newBiller(t, threeTenants, messages+"tenant acme\nagent a1 2026-10-14T08:00Z 2026-10-14T09:00Z for Sub1")
	stored := func() billing.TenantUsage {
		f, err := usage.Load(t.Context(), []string{"acme"}, october.First(), october.Next().First())
		if err != nil {
			t.Fatal(err)
		}
		return billing.ByTenant(f)["acme"]
	}
	zone, err := civil.LoadZone("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	// Days has the agent of the tenant and of Sub1, then the messages of both.
	for _, c := range []struct {
		name string
		lose func(*billing.TenantUsage)
		want string
	}{
		{"nothing", func(*billing.TenantUsage) {}, ""},
		{"a delivery", func(u *billing.TenantUsage) { u.Balance.Accepted++ }, "of 3 accepted deliveries 1 are in no class"},
		{"an event of both", func(u *billing.TenantUsage) { u.Days[0].Events--; u.Days[1].Events-- },
			"deliveries counted and events of the subscriptions differ: 2 and 1"},
		{"an event of the tenant", func(u *billing.TenantUsage) { u.Days[0].Events-- },
			"events of the tenant and of its subscriptions differ: 1 and 2"},
		{"time", func(u *billing.TenantUsage) { u.Days[1].Milliseconds-- },
			"milliseconds of the tenant and of its subscriptions differ: 3600000 and 3599999"},
		{"units", func(u *billing.TenantUsage) { u.Days[3].Units = u.Days[3].Units.Shift(-1) },
			"units of the tenant and of its subscriptions differ: 2 and 0.2"},
	} {
		u := stored()
		c.lose(&u)
		invoices, err := billing.Bill(b.State.Tenant("acme"), zone, october, u, b.Rules)
		var stop *billing.Stop
		switch {
		case c.want == "":
			if err != nil || len(invoices) != 1 {
				t.Errorf("%s lost: %d invoices, %v", c.name, len(invoices), err)
			}
		case !errors.As(err, &stop) || stop.Code != "unbalanced" || stop.Rule != "R22" || stop.Message != c.want ||
			invoices != nil:
			t.Errorf("%s lost: %d invoices, %v; want it stopped, %q", c.name, len(invoices), err, c.want)
		}
	}
}

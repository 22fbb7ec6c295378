package billing_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

const september = october - 1

// oneTenant has messages alone.
const oneTenant = "tenants: [{id: acme, subscriptions: [{id: Sub1}]}]"

// newStoryOf is a story in which a document stands and deliveries have arrived.
func newStoryOf(t *testing.T, document, deliveries string) *story {
	t.Helper()
	s := newStory()
	if refusals := s.put(t, document); len(refusals) > 0 {
		t.Fatal(refusals)
	}
	s.arrives(t, deliveries)
	return s
}

func (s *story) arrives(t *testing.T, deliveries string) {
	t.Helper()
	s.usage.deliveries = append(s.usage.deliveries, parsed(t, deliveries,
		"line-"+string(rune('a'+len(s.usage.deliveries))))...)
}

func (s *story) issue(t *testing.T, period civil.Month) *billing.Run {
	t.Helper()
	s.usage.stored = nil
	run, err := s.biller(billing.DefaultRules()).Issue(t.Context(), period, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestAdjustmentSaysWhatItIs: the fields that the table of a script does not show (R21).
func TestAdjustmentSaysWhatItIs(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-09-14T08:00Z")
	s.issue(t, september)
	s.arrives(t, "connect sms 0.25 at 2026-09-14T08:00Z")
	l := s.issue(t, october).Invoices[0].Lines[0]
	if l.Kind != billing.Adjustment || l.UnitPrice.Valid || l.Unit != "unit" || l.CorrectsKind != billing.Connect ||
		l.PeakAt() != "" || l.Days != 0 || len(l.Pool) != 0 {
		t.Errorf("%+v", l)
	}
	if want := "R21: connect of 2026-09: 2 for 1.00 issued so far, 2.25 for 1.12 now"; l.Note != want { // 1.125, half to even
		t.Errorf("note %q, want %q", l.Note, want)
	}
}

// TestOnlyWhatCanHaveChangedIsBilledAgain: a month whose days are as they were is not even read.
func TestOnlyWhatCanHaveChangedIsBilledAgain(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-07-14T08:00Z\nconnect sms 2 at 2026-08-14T08:00Z\nconnect sms 2 at 2026-09-14T08:00Z")
	read := func(period civil.Month, want ...civil.Month) {
		t.Helper()
		s.issue(t, period)
		if len(s.usage.stored) != len(want) {
			t.Errorf("%s: the months read are %v, want %v", period, s.usage.stored, want)
			return
		}
		for i := range want {
			if s.usage.stored[i] != want[i] {
				t.Errorf("%s: the months read are %v, want %v", period, s.usage.stored, want)
			}
		}
	}
	july, august := september-2, september-1
	read(july, july)
	read(august, august)
	s.arrives(t, "connect sms 1 at 2026-07-15T08:00Z")
	read(september, september, july)
	read(october, october)
	s.put(t, "tenants: [{id: beta, subscriptions: [{id: Beta1}]}]") // nothing of acme's
	if _, err := s.biller(billing.DefaultRules()).Issue(t.Context(), october+1, []string{"acme"},
		at(t, yearAfter)); err != nil {
		t.Fatal(err)
	}
	if len(s.usage.stored) != 2 { // of October above, and this one
		t.Errorf("another tenant's command: the months read are %v", s.usage.stored)
	}
	s.put(t, strings.ReplaceAll(oneTenant, "{id: Sub1}", "{id: Sub1, name: other}"))
	s.usage.stored = nil
	if _, err := s.biller(billing.DefaultRules()).Issue(t.Context(), october+2, []string{"acme"},
		at(t, "2027-11-01T00:00:00Z")); err != nil {
		t.Fatal(err)
	}
	if len(s.usage.stored) != 6 { // December itself, and all that were issued
		t.Errorf("a command of its own: the months read are %v", s.usage.stored)
	}
}

// TestClaimThatIsLost: whoever was faster has issued the period; that is what is returned (R20).
func TestClaimThatIsLost(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-10-14T08:00Z")
	b := s.biller(billing.DefaultRules())
	s.ledger.before = func() {
		if faster := s.issue(t, october); faster.Issued != 1 {
			t.Errorf("the faster one issued %d", faster.Issued)
		}
		s.arrives(t, "connect sms 100 at 2026-10-14T08:00Z")
	}
	run, err := b.Issue(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	if run.Issued != 0 {
		t.Errorf("%d were issued, want none", run.Issued)
	}
	wantRun(t, run, []string{"Sub1 connect connect.sms 2 0.5 1.00 SEK 2026-10-01 2026-11-01 -"}, nil)
}

// TestClaimLostToAnotherPeriod: it is billed again, and what the other one has adjusted is not adjusted twice (R21).
func TestClaimLostToAnotherPeriod(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-08-14T08:00Z\nconnect sms 4 at 2026-10-14T08:00Z")
	s.issue(t, september-1)
	s.arrives(t, "connect sms 3 at 2026-08-14T08:00Z")
	const adjusted = "Sub1 adjustment connect.sms 3 - 1.50 SEK 2026-08-01 2026-09-01 - INV-Sub1-202608/1 connect"
	s.ledger.before = func() { wantRun(t, s.issue(t, september), []string{adjusted}, nil) }
	run := s.issue(t, october)
	wantRun(t, run, []string{"Sub1 connect connect.sms 4 0.5 2.00 SEK 2026-10-01 2026-11-01 -"}, nil)
	if run.Issued != 1 || len(s.ledger.chain("acme")) != 3 || len(s.ledger.lines) != 3 {
		t.Errorf("%d issued, a chain of %d, lines of %d; want 1, 3 and 3", run.Issued, len(s.ledger.chain("acme")),
			len(s.ledger.lines))
	}
}

// TestClaimThatIsAlwaysLost ends at last.
func TestClaimThatIsAlwaysLost(t *testing.T) {
	s := newStoryOf(t, oneTenant, "")
	period := october + 1
	s.ledger.before = func() {}
	var again func()
	again = func() {
		period++
		chain := s.ledger.chain("acme")
		other := registry.Command{ID: uuid.NewString(), Source: "test", TenantID: "acme", Command: registry.ClaimIssue,
			Period: period,
			Claim: registry.Claim{Seq: len(chain) + 1, Basis: fmt.Appendf(nil,
				`{"rules":%s,"tzVersion":%q,"registryOffset":1,"pass":"1","issueDate":"2026-10-04"}`, billing.DefaultRules().JSON(),
				civil.Edition())}}
		other.Claim.LinesHash, _ = billing.HashLines(nil)
		if len(chain) > 0 {
			other.Claim.Previous = chain[len(chain)-1].Hash
		}
		if verdict := s.ledger.give(other); !verdict.Accepted {
			t.Fatal(verdict.Refusals)
		}
		s.ledger.before = again
	}
	s.ledger.before = again
	run, err := s.biller(billing.DefaultRules()).Issue(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, run, nil, []string{"acme unbalanced R22"})
}

// TestUsageThatChangesWhileItIsRead is read again, since it may be by another registry than what bills it.
func TestUsageThatChangesWhileItIsRead(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-10-14T08:00Z")
	passes := 0
	s.usage.finished = func(pass *aggregate.Pass) {
		if passes++; passes == 1 {
			s.arrives(t, "connect sms 3 at 2026-10-14T08:00Z")
			s.usage.mark("acme", october, pass.Pass+1) // a day of a pass that is not finished
		}
	}
	run := s.issue(t, october)
	wantRun(t, run, []string{"Sub1 connect connect.sms 5 0.5 2.50 SEK 2026-10-01 2026-11-01 -"}, nil)
	if got := s.ledger.chain("acme"); len(got) != 1 || got[0].Pass != s.usage.last.Pass || passes != 2 {
		t.Errorf("%d passes, %d issues by pass %d; want one by the second, %d", passes, len(got), got[0].Pass,
			s.usage.last.Pass)
	}
}

// TestRegistryThatIsBehind: a run that knows less than an issue did does not correct it, but goes on by what stands.
func TestRegistryThatIsBehind(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-09-14T08:00Z")
	behind := s.biller(billing.DefaultRules())
	s.put(t, strings.ReplaceAll(oneTenant, "{id: Sub1}", "{id: Sub1, name: other}"))
	s.issue(t, september)
	s.usage.last = aggregate.Pass{} // even if aggregation did not notice
	run, err := behind.Issue(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	wantRun(t, run, nil, nil)
	if chain := s.ledger.chain("acme"); run.Issued != 1 || len(chain) != 2 || chain[1].Base != 1 ||
		chain[1].Previous != chain[0].Hash || s.ledger.asked != 3 {
		t.Errorf("%d issued, %+v, %d claims; want a second issue by the document at 1 after two claims", run.Issued, chain,
			s.ledger.asked)
	}
}

// TestRecreatedTables: passes that begin again say nothing of what has changed, so everything is billed again.
func TestRecreatedTables(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-09-14T08:00Z")
	s.usage.last.Pass = 1 << 48
	s.issue(t, september)
	s.usage.last = aggregate.Pass{}
	s.arrives(t, "connect sms 3 at 2026-09-14T08:00Z")
	wantRun(t, s.issue(t, october), []string{"Sub1 adjustment connect.sms 3 - 1.50 SEK 2026-09-01 2026-10-01 - INV-Sub1-202609/1 connect"}, nil)
}

// TestBilledWithoutABuyer: whoever had no billTo when it was billed has its files by the first that it is given, and
// keeps them.
func TestBilledWithoutABuyer(t *testing.T) {
	const nobody = "tenants: [{id: acme, timeZone: Asia/Tokyo, subscriptions: [{id: Sub1}]}]"
	in := func(city string) string {
		return "tenants: [{id: acme, timeZone: Asia/Tokyo, subscriptions: [{id: Sub1}], billTo: {address: {city: " + city +
			", country: JP}}}]"
	}
	s := newStoryOf(t, nobody, "connect sms 2 at 2026-10-14T08:00Z")
	if run := s.issue(t, october); run.Accounts["acme"].Tenant.BillTo != nil {
		t.Fatalf("%+v, want nobody", run.Accounts["acme"].Tenant.BillTo)
	}
	for _, document := range []string{in("Osaka"), in("Kobe"), nobody} {
		s.put(t, document)
		if billTo := s.issue(t, october).Accounts["acme"].Tenant.BillTo; billTo == nil || billTo.Address.City != "Osaka" {
			t.Errorf("%s: billed to %+v, want Osaka", document, billTo)
		}
	}
}

// TestAccounts: what the files of an issue say besides the invoices stays as it was, whatever becomes of the tenant.
func TestAccounts(t *testing.T) {
	billTo := func(city string) string {
		return "tenants: [{id: acme, timeZone: Asia/Tokyo, subscriptions: [{id: Sub1}], billTo: {address: {city: " + city +
			", country: JP}}}]"
	}
	s := newStoryOf(t, billTo("Osaka"), "connect sms 2 at 2026-10-14T08:00Z\nconnect sms 2 at 2026-10-15T08:00Z id=x\nconnect sms 2 at 2026-10-15T08:00Z id=x")
	first := s.issue(t, october).Accounts["acme"]
	if first.Tenant.BillTo.Address.City != "Osaka" || first.IssueDate != civil.NewDate(2026, 11, 4) ||
		first.Balance.Accepted != 3 || first.Balance.Duplicate != 1 ||
		first.RegistryOffset != 1 || len(first.Positions) != 1 || first.Positions[0].LastOffset != 2 ||
		first.TZVersion != civil.Edition() {
		t.Errorf("%+v", first)
	}
	s.put(t, billTo("Kobe"))
	s.arrives(t, "connect sms 2 at 2026-10-16T08:00Z")
	again, err := s.biller(billing.DefaultRules()).Issued(t.Context(), october)
	if err != nil {
		t.Fatal(err)
	}
	for what, run := range map[string]*billing.Run{"issued": again, "issued again": s.issue(t, october)} {
		got := run.Accounts["acme"]
		if got.Tenant.BillTo.Address.City != "Osaka" || got.IssueDate != first.IssueDate || got.Balance != first.Balance ||
			got.RegistryOffset != 1 || got.Positions[0] != first.Positions[0] {
			t.Errorf("%s: %+v, want %+v", what, got, first)
		}
	}
	draft, err := s.biller(billing.DefaultRules()).Preview(t.Context(), october+1, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	if got := draft.Accounts["acme"]; got.Tenant.BillTo.Address.City != "Kobe" ||
		got.IssueDate != civil.NewDate(2026, 12, 4) || got.RegistryOffset != 3 || got.Positions[0].LastOffset != 3 {
		t.Errorf("draft: %+v", got)
	}
}

// TestPictureBehindAnOverage: the date of the peak, in the tenant's zone, with the peak in it and the date's pool.
func TestPictureBehindAnOverage(t *testing.T) {
	s := newStoryOf(t, `tenants:
- id: acme
  timeZone: Asia/Tokyo
  subscriptions:
  - {id: Sub1, versions: [{commitments: {agent_standard: 1, ivr_port: 0}}]}
`, "agent a1..a3 2026-10-13T15:05Z 2026-10-13T15:25Z\nagent a4 2026-10-13T15:12Z 2026-10-13T15:13Z\nivr ep 2026-10-20T08:00Z 2026-10-20T09:00Z x2")
	draft, err := s.biller(billing.DefaultRules()).Preview(t.Context(), october, nil, at(t, yearAfter))
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []*billing.Run{draft, s.issue(t, october), s.issue(t, october)} {
		for _, l := range run.Invoices[0].Lines {
			if l.Kind != billing.Overage {
				if len(l.Pool) > 0 {
					t.Errorf("a line of %s has a picture", l.Kind)
				}
				continue
			}
			if len(l.Pool) != 24*6 || l.Pool[0].AtMS.String() != "2026-10-13T15:00:00.000Z" {
				t.Fatalf("%d points from %s on", len(l.Pool), l.Pool[0].AtMS.String())
			}
			var live [4]int64
			for i := range live {
				live[i] = l.Pool[i].Live
			}
			if live != [4]int64{3, 4, 3, 0} || l.Pool[0].Entitled != 1 || l.Pool[143].Entitled != 1 || l.Entitled != 1 {
				t.Errorf("live %v, entitled %d", live, l.Pool[0].Entitled)
			}
		}
	}
}

// TestUnbalancedCorrection: an issued period that does not balance any more stops the new one, and says which (R22).
func TestUnbalancedCorrection(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-09-14T08:00Z")
	s.issue(t, september)
	s.arrives(t, "connect sms 2 at 2026-09-14T08:00Z")
	b := s.biller(billing.DefaultRules())
	b.Usage = losing{s.usage}
	run, err := b.Issue(t.Context(), october, nil, at(t, yearAfter))
	if err != nil || len(run.Stopped) != 1 {
		t.Fatalf("%+v, %v", run, err)
	}
	if got := run.Stopped[0].Error(); !strings.HasPrefix(got, "acme 2026-10: unbalanced (R22): billing 2026-09 again") ||
		run.Stopped[0].Rerated != september {
		t.Error(got)
	}
}

// losing loses a unit of every September.
type losing struct{ *fakeUsage }

func (l losing) Load(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error) {
	f, err := l.fakeUsage.Load(ctx, tenants, from, to)
	if from == september.First() {
		f.Usage[0].Units = f.Usage[0].Units.Shift(1)
	}
	return f, err
}

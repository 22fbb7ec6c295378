package registry

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// sealing is a command that seals all periods up to one, with an id of its own.
func sealing(from, through civil.Month) Command {
	return Command{ID: fmt.Sprintf("seal %d %d", from, through), Source: "ops", Command: SealPeriods, Period: through, From: from, Reason: "the year is audited"}
}

// issuing claims a period of a tenant, as it stands.
func issuing(t testing.TB, s State, tenant string, period civil.Month) Command {
	c := claiming(s, fmt.Sprint(tenant, " ", period), int(period-october))
	c.TenantID, c.Base = tenant, s.Base(tenant)
	c.Claim.Seq, c.Claim.Previous = len(s.Issues(tenant))+1, ""
	if issues := s.Issues(tenant); len(issues) > 0 {
		c.Claim.Previous = issues[len(issues)-1].Hash
	}
	return DecodeCommand(asJSON(t, c))
}

func TestR25_PeriodsAreSealedForAllOnceEveryTenantsIsIssued(t *testing.T) {
	const first = october - 1
	// acme's terms begin in September, beta's in October.
	s := standingState(t, acme+`
- id: beta
  name: Beta
  timeZone: UTC
  telephony: vpop
  subscriptions:
  - {id: B1, name: b, licenceModel: named, plan: flex, deployment: cloud, currency: SEK, billing: monthly, terms: [{from: 2026-10-01, to: 2027-10-01}], versions: [{from: 2026-10-01}]}`)
	begins := s.Tenant("acme").Subscriptions[0].Terms[0].From.Month()
	take := func(want string, commands ...Command) {
		t.Helper()
		for _, c := range commands {
			var verdict Verdict
			if s, verdict = s.Apply(s.Offset()+1, c); codes(verdict.Refusals) != want {
				t.Fatalf("%s %s: %v, want %q", c.Command, c.Period, verdict.Refusals, want)
			}
		}
	}
	take("not_issued data.through", sealing(0, first))
	take("", issuing(t, s, "acme", first))
	if begins < first {
		take("not_issued data.through", sealing(begins, first)) // months before are acme's, too
	}
	// Nobody was to issue what is before September.
	take("", sealing(first, first))
	if s.SealedThrough() != first || !s.Sealed(first-5) || s.Sealed(october) || len(s.Seals()) != 1 {
		t.Fatalf("sealed through %s: %v", s.SealedThrough(), s.Seals())
	}
	take("already_sealed data.through", sealing(first, first-1))
	neither := sealing(0, october)
	neither.ID = "too early"
	take("not_issued data.through, not_issued data.through", neither) // neither acme's nor beta's
	take("sealed data.period", issuing(t, s, "beta", first), holding(HoldPeriod, first-1, "late"))
	take("", issuing(t, s, "beta", october))
	take("", issuing(t, s, "acme", october))
	take("", sealing(0, october))
	if got := fmt.Sprintf("%s: %s at %d", s.SealedThrough(), s.Seals()[1].Reason, s.Seals()[1].Offset-s.Offset()); got != "2026-10: the year is audited at 0" {
		t.Error(got)
	}
}

func TestASealIsReadAsItWasWritten(t *testing.T) {
	good := string(asJSON(t, sealing(october-9, october)))
	if strings.Contains(good, "tenantid") || !strings.Contains(good, `"through":"2026-10","from":"2026-01"`) {
		t.Errorf("written: %s", good)
	}
	if c := DecodeCommand([]byte(good)); len(c.Unreadable) > 0 || !c.Same(sealing(october-9, october)) || c.From != october-9 {
		t.Errorf("read: %+v", c)
	}
	for _, c := range [][3]string{
		{`"through":"2026-10",`, ``, "malformed_command data.through"}, {`"2026-10"`, `"october"`, "malformed_command data.through"},
		{`"type":`, `"tenantid":"acme","type":`, "malformed_command tenantid"}, {`"the year is audited"`, `" "`, "missing_field data.reason"},
	} {
		if _, verdict := (State{}).Apply(0, DecodeCommand([]byte(strings.Replace(good, c[0], c[1], 1)))); codes(verdict.Refusals) != c[2] {
			t.Errorf("%s: %v, want %s", c[1], verdict.Refusals, c[2])
		}
	}
}

// removing takes deliveries of some periods away.
func removing(through civil.Month, count int64) Command {
	return Command{ID: fmt.Sprint("remove ", through, count), Source: "ops", Command: RemoveDeliveries, Removal: &Removal{
		Table: UsageEvents, Through: &through, Parts: []string{"202609"},
		Counts: []RemovedCount{{"usage.agent.v1", 0, 99, count}}, Evidence: &RemovedEvidence{"evidence", 2, strings.Repeat("0", 64)},
	}}
}

func TestR25_OnlySealedPeriodsLoseTheirDeliveries(t *testing.T) {
	s := standingState(t, acme)
	given := removing(october, 7)
	if _, verdict := s.Apply(s.Offset()+1, given); codes(verdict.Refusals) != "not_sealed data.removal.through" {
		t.Errorf("not sealed: %v", verdict.Refusals)
	}
	s.seals = []Seal{{Through: october}}
	s, verdict := s.Apply(s.Offset()+1, given)
	by := s.RemovedOf(october)
	if !verdict.Accepted || s.RemovedThrough() != october || s.RemovedOf(october+1) != nil || by.Deliveries() != 7 || by.Evidence.Invoices != 2 {
		t.Errorf("removed through %s by %+v; %v", s.RemovedThrough(), by, verdict.Refusals)
	}
	read := DecodeCommand(asJSON(t, given))
	if len(read.Unreadable) > 0 || fmt.Sprint(*read.Removal.Through, read.Removal.Counts, *read.Removal.Evidence) !=
		fmt.Sprint(october, given.Removal.Counts, *given.Removal.Evidence) {
		t.Errorf("read: %+v, %v", read.Removal, read.Unreadable)
	}
	for _, c := range [][3]string{
		{`"evidence":`, `"other":`, "missing_field data.removal.evidence"}, {`"table":"usage_events"`, `"table":"x"`, "invalid_field data.removal.table"},
		{`"removal":{`, `"removal":5,"x":{`, "malformed_command data.removal, malformed_command data.x"}, {`"count":7`, `"count":"7"`, "malformed_command data.removal"},
	} {
		record := strings.Replace(string(asJSON(t, given)), c[0], c[1], 1)
		if _, verdict := s.Apply(99, DecodeCommand([]byte(strings.Replace(record, `"id":"`, `"id":"x`, 1)))); codes(verdict.Refusals) != c[2] {
			t.Errorf("%s: %v, want %s", c[1], verdict.Refusals, c[2])
		}
	}
	dead := removing(0, 3)
	dead.Removal = &Removal{Table: DeadLetters, BeforeMS: 1, Counts: given.Removal.Counts}
	if s, verdict = s.Apply(s.Offset()+1, dead); !verdict.Accepted || len(s.Removals()) != 2 {
		t.Errorf("dead letters: %v", verdict.Refusals)
	}
	if s.RemovedThrough() != october {
		t.Errorf("through %s", s.RemovedThrough())
	}
}

// Whatever is commanded: what is sealed was issued to everybody then, and stays as it was issued.
func TestR25_NothingIsIssuedInWhatIsSealed(t *testing.T) {
	test := t
	rapid.Check(t, func(t *rapid.T) {
		var s State
		for _, c := range Plan(s, &Document{Tenants: []Tenant{
			{ID: "a", Name: "a", TimeZone: "UTC", Telephony: "vpop", Subscriptions: []Subscription{sub("A", "2026-01-01/2027-01-01")}},
			{ID: "b", Name: "b", TimeZone: "UTC", Telephony: "vpop", Subscriptions: []Subscription{sub("B", "2026-03-01/2026-05-01")}},
		}}, 0) {
			var verdict Verdict
			if s, verdict = s.Apply(s.Offset()+1, c); !verdict.Accepted {
				t.Fatal(verdict.Refusals)
			}
		}
		january := civil.NewMonth(2026, 1)
		month := rapid.Map(rapid.IntRange(-1, 6), func(n int) civil.Month { return january + civil.Month(n) })
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			before := s
			c := sealing(0, month.Draw(t, "through"))
			if rapid.IntRange(0, 3).Draw(t, "kind") > 0 {
				c = issuing(test, s, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), month.Draw(t, "period"))
			}
			c.ID = fmt.Sprint(i)
			var verdict Verdict
			s, verdict = s.Apply(s.Offset()+1, c)
			switch sealed := s.SealedThrough(); {
			case sealed < before.SealedThrough():
				t.Fatalf("sealed through %s, after %s", sealed, before.SealedThrough())
			case verdict.Accepted && c.Command == ClaimIssue && before.Sealed(c.Period):
				t.Fatalf("%s is issued, and all up to %s are sealed", c.Period, before.SealedThrough())
			case verdict.Accepted && c.Command == SealPeriods:
				for of, first := range map[string]civil.Month{"a": january, "b": january + 2} {
					for period := first; period <= sealed; period++ {
						if s.issued(of, period) == nil {
							t.Fatalf("%s of %s is sealed and not issued: %v", period, of, schemas.NotIssued)
						}
					}
				}
			}
		}
	})
}

package registry

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"apportion/schemas/civil"
)

// fold applies commands, through their bytes, at offsets of their own.
func fold(t testing.TB, s State, commands ...Command) (State, []Verdict) {
	t.Helper()
	var verdicts []Verdict
	for _, c := range commands {
		var v Verdict
		s, v = s.Apply(s.Offset()+1, DecodeCommand(asJSON(t, c)))
		verdicts = append(verdicts, v)
	}
	return s, verdicts
}

// standing is a state with the document accepted.
func standingState(t testing.TB, text string) State {
	t.Helper()
	s, verdicts := fold(t, State{}, Plan(State{}, parse(t, text), 0)...)
	for _, v := range verdicts {
		if !v.Accepted {
			t.Fatal(v.Refusals)
		}
	}
	return s
}

func codes(refusals []Refusal) string {
	var all []string
	for _, r := range refusals {
		all = append(all, strings.TrimSpace(string(r.Code)+" "+r.Field))
	}
	return strings.Join(all, ", ")
}

func TestPlanGetsToTheDocumentAndThenHasNothingLeft(t *testing.T) {
	s := standingState(t, acme)
	if s.Offset() != 0 || s.Base("acme") != 0 || len(s.Tenants()) != 1 {
		t.Errorf("offset %d, base %d, %d tenants; want 0, 0 and 1", s.Offset(), s.Base("acme"), len(s.Tenants()))
	}
	if left := Plan(s, parse(t, acme), 0); len(left) > 0 {
		t.Errorf("left to do: %v", left)
	}
	same := strings.Replace(acme, `"900.00"`, "900", 1)
	same = strings.Replace(same, "    name: Sales\n", "    name: Sales\n    telephony: webex_calling\n", 1)
	if left := Plan(s, parse(t, same), 0); len(left) > 0 {
		t.Errorf("a document that means the same: %v", left)
	}
}

func TestCommandsAreDecided(t *testing.T) {
	const at = "tenants[acme]"
	for _, c := range []struct{ name, old, new, want string }{
		{"a new name", "name: Acme AB", "name: Acme Ltd", ""},
		{"R1 zone", "timeZone: Europe/Stockholm", "timeZone: Europe/Oslo", "immutable_field " + at + ".timeZone"},
		{"R1 currency", "currency: SEK", "currency: NOK", "immutable_field " + at + ".subscriptions[Sub1].currency"},
		{"R1 billing", "billing: prepaid", "billing: monthly", "immutable_field " + at + ".subscriptions[Sub2].billing"},
		{"R1 licence model", "concurrent", "named", "immutable_field " + at + ".subscriptions[Sub1].licenceModel, immutable_field " + at + ".subscriptions[Sub2].licenceModel"},
		{"R6", "telephony: webex_calling", "telephony: vpop", "telephony_mismatch " + at + ".telephony"},
		{"a subscription left out", "- id: Sub2", "- id: Sub3", "subscription_missing " + at + ".subscriptions[Sub2]"},
		{"a cancellation", "    name: Sales\n", "    name: Sales\n    cancelled: 2026-01-01\n", ""},
		{"a refusal of its own", "plan: flex3", "plan: flux", "invalid_field " + at + ".subscriptions[Sub1].plan"},
	} {
		s := standingState(t, acme)
		text := strings.ReplaceAll(acme, c.old, c.new)
		next, verdicts := fold(t, s, Plan(s, parse(t, text), 0)...)
		v := verdicts[0]
		if got := codes(v.Refusals); got != c.want || v.Accepted != (c.want == "") {
			t.Errorf("%s: %q, accepted %v; want %q", c.name, got, v.Accepted, c.want)
		}
		stood, stands := string(asJSON(t, s.Tenant("acme"))), string(asJSON(t, next.Tenant("acme")))
		if !v.Accepted && (stood != stands || next.Base("acme") != 0) {
			t.Errorf("%s: refused, and changed the tenant", c.name)
		}
		if v.Accepted && (stood == stands || next.Base("acme") != 1) {
			t.Errorf("%s: accepted, and left the tenant as it was", c.name)
		}
	}
}

func TestR1_ASubscriptionOfAnotherTenantIsRefused(t *testing.T) {
	s := standingState(t, acme)
	text := strings.Replace(acme, "id: acme", "id: beta", 1)
	s, verdicts := fold(t, s, Plan(s, parse(t, text), 0)...)
	const at = "duplicate_subscription tenants[beta].subscriptions[Sub"
	if got, want := codes(verdicts[0].Refusals), at+"1].id, "+at+"2].id"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s.Tenant("beta") != nil || len(s.Tenants()) != 1 {
		t.Error("the tenant stands all the same")
	}
}

func TestR6_TheTenantWideChangeMovesAllAtOnce(t *testing.T) {
	s := standingState(t, strings.Replace(acme, "    name: Sales\n", "    name: Sales\n    telephony: webex_calling\n", 1))
	change := Command{ID: "c1", Source: "support", TenantID: "acme", Command: ChangeTelephony, Telephony: "vpop", Reason: "case 7"}
	s, verdicts := fold(t, s, change)
	if !verdicts[0].Accepted || s.Tenant("acme").Telephony != "vpop" || s.Base("acme") != 1 {
		t.Fatalf("verdict %+v, telephony %s", verdicts[0], s.Tenant("acme").Telephony)
	}
	if left := Plan(s, parse(t, strings.Replace(acme, "webex_calling", "vpop", 1)), 0); len(left) > 0 {
		t.Errorf("left to do: %v", left)
	}
	change.ID, change.Telephony = "c2", "pigeon"
	unknown := Command{ID: "c3", Source: "support", TenantID: "beta", Command: ChangeTelephony, Telephony: "vpop"}
	_, verdicts = fold(t, s, change, unknown)
	if got := codes(verdicts[0].Refusals); got != "invalid_field data.telephony" {
		t.Errorf("an unknown option: %q", got)
	}
	if got := codes(verdicts[1].Refusals); got != "unknown_tenant tenantid" {
		t.Errorf("an unknown tenant: %q", got)
	}
}

func TestAStaleBaseIsRefused(t *testing.T) {
	s := standingState(t, acme)
	mine := Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Mine", 1)), 0)
	theirs := Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Theirs", 1)), 0)
	s, verdicts := fold(t, s, theirs[0], mine[0])
	if got := codes(verdicts[1].Refusals); got != "stale_base data.base" || s.Tenant("acme").Name != "Theirs" {
		t.Errorf("verdict %q, name %s", got, s.Tenant("acme").Name)
	}
	again := Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Mine", 1)), 0)
	if s, verdicts = fold(t, s, again[0]); !verdicts[0].Accepted || s.Tenant("acme").Name != "Mine" {
		t.Errorf("applied again: %+v", verdicts[0])
	}
}

func TestR23_RepeatsGetTheVerdictOfTheFirst(t *testing.T) {
	s := standingState(t, acme)
	rename := Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Renamed", 1)), 0)[0]
	back := Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Elsewhere", 1)), 0)[0] // on the same base: stale
	s, first := fold(t, s, rename, back)
	s, again := fold(t, s, rename, back, rename)
	for i, v := range again {
		if want := first[i%2]; string(asJSON(t, v)) != string(asJSON(t, want)) {
			t.Errorf("repeat %d: %+v, want %+v", i, v, want)
		}
	}
	if s.Tenant("acme").Name != "Renamed" || s.Base("acme") != 1 || s.Offset() != 5 {
		t.Errorf("name %s, base %d, offset %d; want Renamed, 1, 5", s.Tenant("acme").Name, s.Base("acme"), s.Offset())
	}
	if replanned := Plan(standingState(t, acme), parse(t, strings.Replace(acme, "Acme AB", "Renamed", 1)), 99)[0]; replanned.ID != rename.ID {
		t.Error("planned again at another time, the command has another id")
	}
}

// A command's id stands for what it said: said otherwise under the same id, it is refused, whatever became of the first.
func TestAnIDIsNotUsedAgainForSomethingElse(t *testing.T) {
	s := standingState(t, acme)
	hold := holding(HoldPeriod, october, "disputed")
	hold.ID = "h"
	s, _ = fold(t, s, hold) // at offset 1
	good := string(asJSON(t, hold))
	for _, c := range []struct {
		name, old, new string
		offset         int64 // of the verdict; at 2 it is one of its own
	}{
		{"the same", "", "", 1},
		{"given later", `"time":"1970`, `"time":"1971`, 1},
		{"by somebody else", `"type":`, `"authtype":"user","authid":"bob","type":`, 1},
		{"members in another order", `"command":"hold_period","period":"2026-10"`, `"period":"2026-10", "command":"hold_period"`, 1},
		{"a null, which counts as absent", `"command":`, `"telephony":null,"command":`, 1},
		{"another reason", "disputed", "disputed again", 2},
		{"another period", "2026-10", "2026-11", 2},
		{"another command", "hold_period", "release_period", 2},
		{"one that cannot be read", `"period":"2026-10"`, `"period":202610`, 2},
		{"nothing", `,"data":{`, `,"payload":{`, 2},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good && c.old != "" {
			t.Fatalf("%q is not in %s", c.old, good)
		}
		next, verdict := s.Apply(2, DecodeCommand([]byte(text)))
		want := ""
		if c.offset == 2 {
			want = "reused_id id"
		}
		if got := codes(verdict.Refusals); got != want || verdict.Accepted != (want == "") || verdict.Offset != c.offset {
			t.Errorf("%s: %+v, want %q at %d", c.name, verdict, want, c.offset)
		}
		if reason, held := next.Held("acme", october); !held || reason != "disputed" {
			t.Errorf("%s: held is %v, for %q", c.name, held, reason)
		}
	}

	// The first stays the one that counts, also where it was refused, and where neither came from a record.
	refused := hold
	refused.ID, refused.Reason = "r", ""
	s, first := s.Apply(2, refused)
	s, other := s.Apply(3, Command{ID: "r", Source: refused.Source, TenantID: "acme", Command: HoldPeriod, Period: october + 1, Reason: "why"})
	_, again := s.Apply(4, DecodeCommand(asJSON(t, refused)))
	if codes(first.Refusals) != "missing_field data.reason, already_held data.period" || codes(other.Refusals) != "reused_id id" ||
		fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("refused %+v, reused %+v, repeated %+v", first, other, again)
	}
	elsewhere := hold
	elsewhere.Source, elsewhere.Period = "other", october+2
	if _, verdict := s.Apply(5, elsewhere); !verdict.Accepted {
		t.Errorf("the id of another source: %v", verdict.Refusals)
	}
}

func TestAStateNeverChanges(t *testing.T) {
	s := standingState(t, acme)
	before := string(asJSON(t, s.Tenants()))
	if _, verdicts := fold(t, s, Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Other", 1)), 0)...); !verdicts[0].Accepted {
		t.Fatal(verdicts[0])
	}
	if after := string(asJSON(t, s.Tenants())); after != before || s.Offset() != 0 {
		t.Error("a later command changed an earlier state")
	}
}

func TestARecordThatIsNoCommandIsRefusedAndTheFoldGoesOn(t *testing.T) {
	good := string(asJSON(t, Plan(State{}, parse(t, acme), 0)[0]))
	for _, c := range []struct{ old, new, want string }{
		{good, "", "malformed_command"},
		{good, "[]", "malformed_command"},
		{good, `{"data": {"base": "x`, "malformed_command"},
		{`"specversion":"1.0"`, `"specversion":"0.3"`, "malformed_command specversion"},
		{`"specversion":"1.0"`, `"specversion":1.0`, "malformed_command specversion"},
		{`"type":"registry.command"`, `"type":"agent.session"`, "malformed_command type"},
		{`"source":"apportion/registry",`, ``, "malformed_command source"},
		{`"source":"apportion/registry"`, `"source":"a","source":"b"`, "malformed_command source"},
		{`"time":"1970-01-01T00:00:00.000Z"`, `"time":"yesterday"`, "malformed_command time"},
		{`"tenantid":"acme"`, `"tenantid":"beta"`, "malformed_command data.tenant.id"},
		{`"command":"put_tenant"`, `"command":"drop_tenant"`, "malformed_command data.command"},
		{`"base":-1`, `"base":-2`, "malformed_command data.base"},
		{`"base":-1`, `"base":"-1"`, "malformed_command data.base"},
		{`"base":-1`, `"bass":-1`, "malformed_command data.bass"},
		{`"tenant":{`, `"tenant":null,"reason":{`, "malformed_command data.reason"},
		{`"timeZone"`, `"timezone"`, "unknown_field tenants[acme].timezone"},
		{`"SEK"`, `7`, "invalid_field tenants[acme].subscriptions[Sub1].currency"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("%q is not in the command", c.old)
		}
		s, verdict := State{}.Apply(7, DecodeCommand([]byte(bad)))
		if got := codes(verdict.Refusals); got != c.want || verdict.Accepted || verdict.Offset != 7 {
			t.Errorf("%s: %q, want %q", c.new, got, c.want)
		}
		if s.Offset() != 7 || len(s.Tenants()) != 0 {
			t.Errorf("%s: offset %d, %d tenants", c.new, s.Offset(), len(s.Tenants()))
		}
	}
	extended := strings.Replace(good, `"data"`, `"traceparent":"00-1-2-3","subject":"x","data"`, 1)
	if _, verdict := (State{}).Apply(0, DecodeCommand([]byte(extended))); !verdict.Accepted {
		t.Errorf("with other attributes: %v", verdict.Refusals)
	}
}

func TestDescribe(t *testing.T) {
	old := &parse(t, acme).Tenants[0]
	if got := Describe(nil, old); !slices.Equal(got, []string{"+ tenant acme"}) {
		t.Errorf("a new tenant: %q", got)
	}
	if got := Describe(old, old); got != nil {
		t.Errorf("nothing changed: %q", got)
	}
	text := acme
	for _, change := range [][2]string{
		{"name: Acme AB", "name: Acme Ltd"},
		{"agent_standard: 10,", "agent_standard: 12,"},
		{`connect: {sms: "0.45"}`, `connect: {sms: "0.450", email: "0.02"}`},
		{"to: 2027-01-01}]", "to: 2028-01-01}]"},
		{"- id: Sub2", "- id: Sub3"},
		{"    name: Customer service", "    name: Customer service\n    cancelled: 2027-06-01"},
		{"user: agent-17, role: agent,", "user: agent-17, role: agent, class: premium,"},
		{`rate: "25"`, `rate: "25.5"`},
	} {
		text = strings.Replace(text, change[0], change[1], 1)
	}
	want := []string{
		"- subscription Sub2",
		"- licence agent-17 agent standard on Sub1 from 2024-01-01",
		"~ name Acme AB → Acme Ltd",
		"+ subscription Sub1 cancelled 2027-06-01",
		"~ subscription Sub1 term from 2024-01-01 to 2027-01-01 → 2028-01-01",
		"~ subscription Sub1 version 2024-01-01 commitment agent_standard 10 → 12",
		"+ subscription Sub1 version 2024-01-01 connect price email 0.02",
		"+ subscription Sub3",
		"~ billTo tax S 25 → S 25.5",
		"+ licence agent-17 agent premium on Sub1 from 2024-01-01",
	}
	if got := Describe(old, &parse(t, text).Tenants[0]); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func FuzzDecodeCommand(f *testing.F) {
	f.Add(asJSON(f, Plan(State{}, parse(f, acme), 0)[0]))
	f.Add(asJSON(f, Command{ID: "c1", Source: "support", TenantID: "acme", Command: ChangeTelephony, Telephony: "vpop"}))
	f.Add(asJSON(f, Command{ID: "c1", Source: "support", TenantID: "acme", Command: HoldPeriod, Period: october, Reason: "disputed"}))
	f.Add(asJSON(f, Command{ID: "c2", Source: "support", TenantID: "acme", Command: ReleasePeriod, Period: october, Reason: "settled"}))
	mapping := SetMappings{Names: []string{"agent-17"}, All: true, From: day("2026-11-01"), Role: "agent",
		Subscriptions: []Mapped{{"Sub1", Premium, civil.NoDate}, {"Sub2", "", day("2027-01-01")}}}
	many := SetMappings{Names: []string{"ep-1", "ep-2"}, From: day("2026-11-01"), Subscriptions: []Mapped{{"Sub1", "", civil.NoDate}}}
	f.Add(asJSON(f, Command{ID: "c3", Source: "support", TenantID: "acme", Command: SetLicences, Mappings: &mapping}))
	f.Add(asJSON(f, Command{ID: "c4", Source: "support", TenantID: "acme", Command: SetEntryPoints, Mappings: &many, Reason: "moved"}))
	f.Add([]byte(`{"tenantid": "a", "id": "1", "source": "s", "data": {"tenant": [[{}]]}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		c := DecodeCommand(value)
		s, first := State{}.Apply(3, c)
		if s.Offset() != 3 {
			t.Fatalf("offset %d", s.Offset())
		}
		if first.Accepted != (len(first.Refusals) == 0) {
			t.Fatalf("%+v", first)
		}
		s, again := s.Apply(4, c)
		if again.Accepted != first.Accepted || first.Accepted && s.Base(c.TenantID) != 3 {
			t.Fatalf("the repeat had an effect: %+v, then %+v", first, again)
		}
		if first.Accepted {
			written, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, verdict := (State{}).Apply(3, DecodeCommand(written)); fmt.Sprint(verdict) != fmt.Sprint(first) {
				t.Fatalf("written and read: %+v, not %+v", verdict, first)
			}
		}
		// What an empty log has no tenant for is read and written all the same.
		if len(c.Unreadable) == 0 && slices.Contains([]string{HoldPeriod, ReleasePeriod, SetLicences, SetEntryPoints}, c.Command) {
			written, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			again := DecodeCommand(written)
			if c.Mappings != nil && !reflect.DeepEqual(again.Mappings, c.Mappings) {
				t.Fatalf("written and read: %+v, not %+v", again.Mappings, c.Mappings)
			}
			again.Mappings, again.content = c.Mappings, c.content // a null that was there is gone
			if fmt.Sprint(again) != fmt.Sprint(c) {
				t.Fatalf("written and read: %+v, not %+v", again, c)
			}
		}
	})
}

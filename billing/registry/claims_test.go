package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas/civil"
)

// claiming is a claim for acme by the chain as it stands in a state.
func claiming(s State, id string, period int) Command {
	c := Command{ID: id, Source: "billing", TenantID: "acme", By: Actor{"user", "anna@host"}, Command: ClaimIssue, Base: s.Base("acme"), Period: october + civil.Month(period),
		Claim: Claim{Seq: len(s.Issues("acme")) + 1, Lines: 2, LinesHash: strings.Repeat("ab", 32), Basis: json.RawMessage(`{"pass":"7"}`)}}
	if issues := s.Issues("acme"); len(issues) > 0 {
		c.Claim.Previous = issues[len(issues)-1].Hash
	}
	return c
}

func TestR20_TheFirstClaimOfAPeriodIsInForce(t *testing.T) {
	s := standingState(t, acme)
	give := func(c Command) string {
		t.Helper()
		var verdict Verdict
		s, verdict = s.Apply(s.Offset()+1, DecodeCommand(asJSON(t, c)))
		return codes(verdict.Refusals)
	}
	first, same := claiming(s, "i1", 0), claiming(s, "i2", 0)
	version := s.Version()
	for _, step := range []struct {
		what string
		c    Command
		want string
	}{
		{"the first", first, ""},
		{"the same period at once", same, "already_issued data.period, stale_chain data.seq, stale_chain data.previous"},
		{"the first again", first, ""},
		{"by who has not known the first", claiming(standingState(t, acme), "i3", 1), "stale_chain data.seq, stale_chain data.previous"},
		{"a hold of what is issued", holding(HoldPeriod, october, "too late"), "already_issued data.period"},
		{"a hold of the next", holding(HoldPeriod, october+1, "disputed"), ""},
	} {
		if got := give(step.c); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	if got := give(claiming(s, "i4", 1)); got != "held data.period" {
		t.Errorf("a held period: %q", got)
	}
	if s.Version() != version {
		t.Errorf("the version went from %d to %d, and no tenant has changed", version, s.Version())
	}
	give(holding(ReleasePeriod, october+1, "settled"))
	before := claiming(s, "i5", 1)
	give(Command{ID: "t", Source: "ops", TenantID: "acme", Command: ChangeTelephony, Telephony: "vpop"})
	if got := give(before); got != "stale_base data.base" {
		t.Errorf("billed by a document that is no longer: %q", got)
	}
	nobody := claiming(s, "i6", 1)
	nobody.TenantID = "nobody"
	if got := give(nobody); got != "unknown_tenant tenantid" {
		t.Errorf("of nobody: %q", got)
	}
	if got := give(claiming(s, "i7", 1)); got != "" || s.Version() == version {
		t.Errorf("the second: %q, version %d", got, s.Version())
	}
	issues := s.Issues("acme")
	if len(issues) != 2 || issues[0].ID != "i1" || issues[1].ID != "i7" || issues[0].Offset != 1 || issues[1].Previous != issues[0].Hash ||
		issues[0].By.String() != "user anna@host" || string(issues[0].Basis) != `{"pass":"7"}` || issues[0].Lines != 2 || issues[0].LinesHash != strings.Repeat("ab", 32) {
		t.Errorf("issued: %+v", issues)
	}
	if issues[0].Hash != hashOf(asJSON(t, first)) {
		t.Errorf("the hash is %s, not that of the record", issues[0].Hash)
	}
}

func TestClaimsThatAreNone(t *testing.T) {
	s := standingState(t, acme)
	good := asJSON(t, claiming(s, "i1", 0))
	for _, c := range [][3]string{
		{`"seq":1`, `"seq":0`, "malformed_command data.seq"},
		{`"seq":1`, `"seq":"1"`, "malformed_command data.seq"},
		{`"abab`, `"ABab`, "malformed_command data.linesHash"},
		{`"lines":2`, `"lines":2,"previous":"x"`, "malformed_command data.previous"},
		{`"basis":{"pass":"7"}`, `"basis":7`, "malformed_command data.basis"},
		{`,"basis":{"pass":"7"}`, ``, "malformed_command data.basis"},
		{`"period":"2026-10",`, ``, "malformed_command data.period"},
		{`"lines":2`, `"lines":-1`, "malformed_command data.lines"},
		{`"lines":2`, `"lnes":2`, "malformed_command data.lnes"},
	} {
		text := strings.Replace(string(good), c[0], c[1], 1)
		if text == string(good) {
			t.Fatalf("%s is not in %s", c[0], good)
		}
		if _, verdict := s.Apply(9, DecodeCommand([]byte(text))); codes(verdict.Refusals) != c[2] {
			t.Errorf("%s: %v, want %s", c[1], verdict.Refusals, c[2])
		}
	}
	if _, verdict := s.Apply(9, DecodeCommand(good)); !verdict.Accepted {
		t.Errorf("%s: %v", good, verdict.Refusals)
	}
}

// TestChainsOfClaims: whatever is claimed, in whatever order and however often, each tenant's issues are a chain of
// different periods, each of which follows the one before by its hash.
func TestChainsOfClaims(t *testing.T) {
	start := standingState(t, acme)
	rapid.Check(t, func(r *rapid.T) {
		s := start
		seen := []State{s}
		var given []Command
		for n := range rapid.IntRange(0, 30).Draw(r, "commands") {
			// Everybody claims by some state that there has been, and some records come twice.
			c := claiming(rapid.SampledFrom(seen).Draw(r, "known"), fmt.Sprint(n), rapid.IntRange(0, 5).Draw(r, "period"))
			if len(given) > 0 && rapid.Bool().Draw(r, "again") {
				c = rapid.SampledFrom(given).Draw(r, "which")
			}
			given = append(given, c)
			s, _ = s.Apply(s.Offset()+1, DecodeCommand(asJSON(t, c)))
			seen = append(seen, s)
		}
		periods, previous := map[string]bool{}, ""
		for n, i := range s.Issues("acme") {
			if i.Seq != n+1 || i.Previous != previous || periods[i.Period.String()] {
				r.Fatalf("issue %d of %+v", n, s.Issues("acme"))
			}
			periods[i.Period.String()], previous = true, i.Hash
		}
		for n := 1; n < len(seen); n++ {
			before, after := seen[n-1].Issues("acme"), seen[n].Issues("acme")
			for k := range before {
				if before[k].ID != after[k].ID {
					r.Fatalf("issue %d was %s and became %s", k+1, before[k].ID, after[k].ID)
				}
			}
		}
	})
}

// BenchmarkClaims folds the issues of a tenant, with what they are based on as large as it gets: 36 partitions.
func BenchmarkClaims(b *testing.B) {
	s := standingState(b, acme)
	var positions []string
	for n := range 36 {
		positions = append(positions, fmt.Sprintf(`{"topic":"usage.connect.v1","partition":%d,"lastOffset":%d}`, n, 1_000_000_000+n))
	}
	c := claiming(s, "x", 0)
	c.Claim.Basis = json.RawMessage(`{"pass":"7","positions":[` + strings.Join(positions, ",") + `]}`)
	record := asJSON(b, c)
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		s.Apply(9, DecodeCommand(record))
	}
}

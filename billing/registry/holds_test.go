package registry

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas/civil"
)

const october = civil.Month((2026-1970)*12 + 9)

// holding is a command for acme, with an id of its own.
func holding(command string, period civil.Month, reason string) Command {
	return Command{ID: fmt.Sprintf("%s %s %s", command, period, reason), Source: "support", TenantID: "acme", Command: command, Period: period, Reason: reason}
}

func TestR20_APeriodIsHeldUntilItIsReleased(t *testing.T) {
	s := standingState(t, acme)
	s, verdicts := fold(t, s, holding(HoldPeriod, october, "disputed"))
	if reason, held := s.Held("acme", october); !held || reason != "disputed" || !verdicts[0].Accepted {
		t.Fatalf("held %t, %q; %v", held, reason, verdicts)
	}
	for _, other := range []struct {
		tenant string
		period civil.Month
	}{{"acme", october + 1}, {"acme", october - 1}, {"beta", october}} {
		if reason, held := s.Held(other.tenant, other.period); held || reason != "" {
			t.Errorf("%s %s is held too: %q", other.tenant, other.period, reason)
		}
	}
	if got := fmt.Sprint(s.Holds()); got != "[{acme 2026-10 disputed 1}]" {
		t.Errorf("holds: %s", got)
	}
	released, verdicts := fold(t, s, holding(ReleasePeriod, october, "settled"))
	if _, held := released.Held("acme", october); held || !verdicts[0].Accepted || len(released.Holds()) != 0 {
		t.Errorf("still held after %v", verdicts)
	}
	if _, held := s.Held("acme", october); !held {
		t.Error("the release changed the earlier state")
	}
	again, verdicts := fold(t, released, holding(HoldPeriod, october, "once more"))
	if reason, _ := again.Held("acme", october); reason != "once more" || !verdicts[0].Accepted {
		t.Errorf("held again for %q; %v", reason, verdicts)
	}
}

// A hold is no change of the document: what was planned before it is accepted after it, and no day is computed
// again for it.
func TestAHoldLeavesTheTenantsVersionAlone(t *testing.T) {
	s := standingState(t, acme)
	before := string(asJSON(t, s.Tenant("acme")))
	rename := Plan(s, parse(t, strings.Replace(acme, "Acme AB", "Renamed", 1)), 0)[0]
	s, _ = fold(t, s, holding(HoldPeriod, october, "disputed"))
	if s.Base("acme") != 0 || string(asJSON(t, s.Tenant("acme"))) != before || s.Offset() != 1 {
		t.Errorf("base %d, offset %d; want 0 and 1", s.Base("acme"), s.Offset())
	}
	s, verdicts := fold(t, s, rename, Command{ID: "c", Source: "support", TenantID: "acme", Command: ChangeTelephony, Telephony: "vpop", Reason: "case 7"})
	if !verdicts[0].Accepted || !verdicts[1].Accepted || s.Base("acme") != 3 {
		t.Errorf("base %d, verdicts %+v", s.Base("acme"), verdicts)
	}
	if reason, held := s.Held("acme", october); !held || reason != "disputed" {
		t.Error("a change of the document released the period")
	}
}

func TestHoldsAreDecided(t *testing.T) {
	s, _ := fold(t, standingState(t, acme), holding(HoldPeriod, october, "disputed"))
	good := string(asJSON(t, holding(HoldPeriod, october+1, "why")))
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{`"2026-11"`, `"2026-10"`, "already_held data.period"},
		{`hold_period","period`, `release_period","period`, "not_held data.period"},
		{`"tenantid":"acme"`, `"tenantid":"beta"`, "unknown_tenant tenantid"},
		{`"reason":"why"`, `"reason":" "`, "missing_field data.reason"},
		{`,"reason":"why"`, ``, "missing_field data.reason"},
		{`"reason":"why"`, `"reason":"a\u0007b"`, "invalid_field data.reason"},
		{`"reason":"why"`, `"reason":"` + strings.Repeat("x", 501) + `"`, "invalid_field data.reason"},
		{`"period":"2026-11",`, ``, "malformed_command data.period"},
		{`"2026-11"`, `null`, "malformed_command data.period"},
		{`"2026-11"`, `"2026-13"`, "malformed_command data.period"},
		{`"2026-11"`, `202611`, "malformed_command data.period"},
		{`"2026-11"`, `["2026-11"]`, "malformed_command data.period"},
		{`hold_period","period`, `hold_periods","period`, "malformed_command data.command"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if c.old != "" && text == good {
			t.Fatalf("%q is not in the command", c.old)
		}
		next, verdict := s.Apply(2, DecodeCommand([]byte(text)))
		if got := codes(verdict.Refusals); got != c.want || verdict.Accepted != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.new, got, c.want)
		}
		if c.want != "" && fmt.Sprint(next.Holds()) != fmt.Sprint(s.Holds()) {
			t.Errorf("%s: refused, and the holds are %v", c.new, next.Holds())
		}
	}
	// The one who is refused learns why it is held.
	_, verdict := s.Apply(2, holding(HoldPeriod, october, "mine"))
	if got := verdict.Refusals[0].Error(); !strings.Contains(got, "(disputed)") || !strings.Contains(got, "release it first") {
		t.Error(got)
	}
}

// TestHoldsAgreeWithASet folds random holds, releases, changes of the document and repeats of what was delivered
// before, and keeps the plain set beside it.
func TestHoldsAgreeWithASet(t *testing.T) {
	type key struct {
		tenant string
		period civil.Month
	}
	doc := strings.Replace(acme, "id: acme", "id: beta", 1)
	doc = strings.NewReplacer("Sub1", "Beta1", "Sub2", "Beta2").Replace(doc)
	start := standingState(t, acme)
	start, _ = fold(t, start, Plan(start, parse(t, doc), 0)...)
	rapid.Check(t, func(t *rapid.T) {
		s, set := start, map[key]string{}
		var delivered []Command
		for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
			if len(delivered) > 0 && rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
				s, _ = s.Apply(s.Offset()+1, rapid.SampledFrom(delivered).Draw(t, "again"))
			} else {
				c := Command{ID: fmt.Sprint(i), Source: "t", TenantID: rapid.SampledFrom([]string{"acme", "beta", "nobody"}).Draw(t, "tenant"),
					Command: rapid.SampledFrom([]string{HoldPeriod, ReleasePeriod, ChangeTelephony}).Draw(t, "command"),
					Period:  october + civil.Month(rapid.IntRange(0, 2).Draw(t, "period")), Reason: fmt.Sprint("r", i), Telephony: "vpop"}
				delivered = append(delivered, c)
				base := s.Base(c.TenantID)
				var verdict Verdict
				s, verdict = s.Apply(s.Offset()+1, DecodeCommand(must(c.MarshalJSON())))
				k := key{c.TenantID, c.Period}
				_, held := set[k]
				want := c.TenantID != "nobody"
				switch {
				case want && c.Command == HoldPeriod:
					if want = !held; want {
						set[k] = c.Reason
					}
				case want && c.Command == ReleasePeriod:
					want = held
					delete(set, k)
				}
				if verdict.Accepted != want {
					t.Fatalf("%+v: %+v, want accepted %t", c, verdict, want)
				}
				if c.Command != ChangeTelephony && s.Base(c.TenantID) != base {
					t.Fatalf("%+v moved the base from %d to %d", c, base, s.Base(c.TenantID))
				}
			}
			got := map[key]string{}
			for _, h := range s.Holds() {
				got[key{h.Tenant, h.Period}] = h.Reason
				if reason, held := s.Held(h.Tenant, h.Period); !held || reason != h.Reason {
					t.Fatalf("%+v, and held %t for %q", h, held, reason)
				}
			}
			if !maps.Equal(got, set) {
				t.Fatalf("held %v, want %v", got, set)
			}
		}
	})
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

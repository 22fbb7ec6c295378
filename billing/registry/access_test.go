package registry

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// The worked example of R7: Sub1 is assigned to Admin1 and Agent1, Sub2 is added and Sub1 expires.
func worked(licences ...Licence) *Tenant {
	return canonical(&Tenant{ID: "acme", Subscriptions: []Subscription{
		sub("Sub1", "2024-01-01/2027-01-01"), sub("Sub2", "2026-06-01/2029-01-01"),
	}, Licences: append([]Licence{
		{"Admin1", Admin, Standard, "Sub1", day("2024-01-01"), civil.NoDate},
		{"Agent1", Agent, Premium, "Sub1", day("2024-01-01"), civil.NoDate},
	}, licences...)})
}

func lossText(losses []DatedLoss) string {
	var b strings.Builder
	for _, l := range losses {
		fmt.Fprintln(&b, l.Date, l.Role, l.User, l.Subscriptions, l.Ended, l.WouldKeep)
	}
	return b.String()
}

// Whoever is mapped to the subscription that expires loses access with it, and keeps it by a mapping to the next.
func TestLosses(t *testing.T) {
	const end = "2027-01-01"
	t1 := worked()
	if got, want := lossText(t1.Losses(day("2026-12-01"), day("2027-12-01"))),
		"2027-01-01 admin Admin1 [Sub1] [the term of Sub1 ends] [Sub2]\n"+
			"2027-01-01 agent Agent1 [Sub1] [the term of Sub1 ends] [Sub2]\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := t1.Losses(day("2026-12-01"), day(end)); len(got) > 0 {
		t.Errorf("lost before %s: %v", end, got)
	}
	agent := t1.UserOn("Agent1", t1.MappingsOf("Agent1"), day("2026-12-31"))
	if a := agent.Access; !a.Now || a.Until != day(end) || agent.Role != Agent || agent.Class != Premium || a.Why !=
		"mapped to Sub1 until 2027-01-01, when the term of Sub1 ends; not mapped to Sub2, which is active then" {
		t.Errorf("%+v", agent)
	}
	if a := t1.UserOn("Agent1", t1.MappingsOf("Agent1"), day(end)).Access; a.Now || a.Since != day(end) || a.Why !=
		"mapped to no active subscription since 2027-01-01, when the term of Sub1 ends; not mapped to Sub2, which is active" {
		t.Errorf("%+v", a)
	}

	t2 := worked(Licence{"Agent1", Agent, Standard, "Sub2", day(end), day("2027-03-01")})
	if got, want := lossText(t2.Losses(day("2026-12-01"), day("2027-12-01"))),
		"2027-01-01 admin Admin1 [Sub1] [the term of Sub1 ends] [Sub2]\n"+
			"2027-03-01 agent Agent1 [Sub2] [the mapping to Sub2 ends] [Sub2]\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	gained, lost := AccessChanges(t1, t2, day("2026-12-01"))
	if len(lost) > 0 || !slices.Equal(gained, []AccessSpan{{"Agent1", Agent, day(end), day("2027-03-01")}}) {
		t.Errorf("gained %v, lost %v", gained, lost)
	}
	if gained, lost := AccessChanges(t2, t1, day("2027-02-01")); len(gained) > 0 ||
		!slices.Equal(lost, []AccessSpan{{"Agent1", Agent, day("2027-02-01"), day("2027-03-01")}}) {
		t.Errorf("gained %v, lost %v", gained, lost)
	}

	t3 := worked()
	t3.Subscriptions[0].Cancelled = day("2026-07-01")
	if got, want := lossText(t3.Losses(day("2026-01-01"), day("2027-12-01"))),
		"2026-07-01 admin Admin1 [Sub1] [Sub1 is cancelled] [Sub2]\n"+
			"2026-07-01 agent Agent1 [Sub1] [Sub1 is cancelled] [Sub2]\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What is said of access for a stretch of dates is what the rules say of each of them.
func TestAccessByDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom(oddities).Draw(t, "oddity")
		before, after := drawTenant(t, "a", o), drawTenant(t, "a", o)
		was, is := canonical(&before), canonical(&after)
		first, last := day(o.date).Add(-60), day(o.date).Add(60)
		gained, lost := AccessChanges(was, is, first)
		in := func(spans []AccessSpan, user string, d civil.Date) bool {
			return slices.ContainsFunc(spans, func(s AccessSpan) bool {
				return s.User == user && s.From <= d && (s.To == civil.NoDate || d < s.To)
			})
		}
		for d := first; d < last; d++ {
			var losses []string
			for _, l := range is.Losses(d, d+1) {
				if l.Date != d || len(l.Ended) == 0 {
					t.Fatalf("%s: %+v", d, l)
				}
				losses = append(losses, fmt.Sprint(l.User, l.Subscriptions))
			}
			slices.Sort(losses)
			var want []string
			for _, l := range is.LosingAccess(d) {
				want = append(want, fmt.Sprint(l.User, l.Subscriptions))
			}
			if !slices.Equal(losses, want) {
				t.Fatalf("%s: %v lose access, want %v", d, losses, want)
			}
			is.Users(func(user string, mappings []Licence) bool {
				u := is.UserOn(user, mappings, d)
				has, had := is.HasAccess(user, d), was.HasAccess(user, d)
				if u.Access.Now != has || (u.Class == Premium) != is.PremiumOn(user, d) && has {
					t.Fatalf("%s: %+v", d, u)
				}
				if until := u.Access.Until; has && until < last && (is.HasAccess(user, until) || !is.HasAccess(user, until-1)) {
					t.Fatalf("%s: access until %s", d, until)
				}
				if in(gained, user, d) != (has && !had) || in(lost, user, d) != (had && !has) {
					t.Fatalf("%s: %s has access %t, had it %t, gained %v, lost %v", d, user, has, had, gained, lost)
				}
				return true
			})
		}
	})
}

// Steps say of each date what the rules do.
func TestSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom(oddities).Draw(t, "oddity")
		tenant := drawTenant(t, "a", o)
		if rapid.Bool().Draw(t, "named") {
			for i := range tenant.Subscriptions {
				tenant.Subscriptions[i].LicenceModel = Named
			}
		}
		z, err := civil.LoadZone(o.zone)
		if err != nil {
			t.Fatal(err)
		}
		first, last := day(o.date).Add(-60), day(o.date).Add(60)
		steps := tenant.Steps(first, last, z, 2)
		if steps[0].From != first || steps[len(steps)-1].To != last {
			t.Fatalf("%v", steps)
		}
		i := 0
		for d := first; d < last; d++ {
			if d == steps[i].To {
				if i++; steps[i].From != d || steps[i].same(steps[i-1]) {
					t.Fatalf("%v", steps)
				}
			}
			step := steps[i]
			primary := idOf(tenant.PrimaryOn(d))
			if step.Primary != primary {
				t.Fatalf("%s: primary %q, want %q", d, step.Primary, primary)
			}
			for _, meter := range schemas.PooledMeters {
				if got, want := step.Pool[meter], tenant.Entitlement(d, meter, 2); got != want {
					t.Fatalf("%s: pool of %s %d, want %d", d, meter, got, want)
				}
				payer := primary
				if p, ok := step.Payers[meter]; ok {
					payer = p
				}
				if primary != "" && payer != tenant.Payers(d, z)[meter] {
					t.Fatalf("%s: %s pays for %s, want %v", d, payer, meter, tenant.Payers(d, z))
				}
			}
		}
	})
	named := canonical(&Tenant{Subscriptions: []Subscription{sub("N1", "2026-01-01/2026-10-11"), sub("N2", "2026-10-05/2027-01-01")}})
	for i := range named.Subscriptions {
		named.Subscriptions[i].LicenceModel = Named
	}
	z, _ := civil.LoadZone("Europe/Stockholm")
	var got []string
	for _, s := range named.Steps(civil.NoDate, civil.NoDate, z, 2) {
		got = append(got, fmt.Sprint(s.From, " ", s.To, " ", s.Primary, " ", s.Active, " ", s.Payers))
	}
	want := []string{
		"2026-01-01 2026-10-01 N1 [N1] map[]",
		"2026-10-01 2026-10-05 N1 [N1] map[agent_premium:N2 agent_standard:N2]",
		"2026-10-05 2026-10-11 N1 [N1 N2] map[agent_premium:N2 agent_standard:N2]",
		"2026-10-11 2027-01-01 N2 [N2] map[]",
		"2027-01-01   [] map[]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

package registry

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// oddity is a zone and a date near which its clock, or its calendar, does something odd.
type oddity struct{ zone, date string }

var oddities = []oddity{
	{"America/Sao_Paulo", "2018-11-04"}, {"America/Havana", "2026-11-01"}, {"America/Havana", "2026-03-08"},
	{"Pacific/Apia", "2011-12-30"}, {"America/St_Johns", "2006-10-29"}, {"Europe/Stockholm", "2026-10-25"}, {"UTC", "2026-01-01"},
}

// near draws a date within some days of the oddity, often on it.
func near(t *rapid.T, o oddity) civil.Date {
	return day(o.date).Add(rapid.OneOf(rapid.IntRange(-2, 2), rapid.IntRange(-20, 20)).Draw(t, "days"))
}

// drawTenant draws a tenant that is accepted, all of whose dates are near an oddity of its zone.
func drawTenant(t *rapid.T, id string, o oddity) Tenant {
	tenant := Tenant{ID: id, Name: id, TimeZone: o.zone, Telephony: "vpop"}
	for i := range rapid.IntRange(1, 4).Draw(t, "subscriptions") {
		s := sub(fmt.Sprintf("%s-%d", id, i))
		bounds := []civil.Date{near(t, o), near(t, o), near(t, o), near(t, o)}
		slices.Sort(bounds)
		bounds = slices.Compact(bounds)
		for pair := range slices.Chunk(bounds, 2) {
			if len(pair) == 2 {
				s.Terms = append(s.Terms, Term{pair[0], pair[1]})
			}
		}
		if len(s.Terms) == 0 {
			s.Terms = []Term{{bounds[0], bounds[0].Add(1)}}
		}
		if rapid.Bool().Draw(t, "cancelled") {
			s.Cancelled = near(t, o)
		}
		if rapid.Bool().Draw(t, "second version") {
			s.Versions = append(s.Versions, Version{From: near(t, o), Commitments: map[string]int64{schemas.AgentStandard: 3, "addon.wfo": 1},
				Prices: Prices{Overage: map[string]decimal.Decimal{schemas.IVRPort: decimal.RequireFromString("1.5")}}})
		}
		tenant.Subscriptions = append(tenant.Subscriptions, s)
	}
	for range rapid.IntRange(0, 8).Draw(t, "mappings") {
		to := rapid.SampledFrom(tenant.Subscriptions).Draw(t, "subscription").ID
		from, until := near(t, o), civil.NoDate
		if rapid.Bool().Draw(t, "bounded") {
			until = from.Add(rapid.IntRange(1, 10).Draw(t, "for"))
		}
		tenant.Licences = append(tenant.Licences, Licence{
			User: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user"), Role: rapid.SampledFrom([]string{"agent", "admin"}).Draw(t, "role"),
			Class: rapid.SampledFrom([]string{Standard, Premium}).Draw(t, "class"), Subscription: to, From: from, To: until,
		})
		tenant.EntryPoints = append(tenant.EntryPoints, EntryPoint{"ep", to, from, until})
	}
	return tenant
}

// TestTimelinesAgreeWithTheRulesByDate asks both at random instants around dates that start at odd instants.
func TestTimelinesAgreeWithTheRulesByDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom(oddities).Draw(t, "oddity")
		zone, err := civil.LoadZone(o.zone)
		if err != nil {
			t.Fatal(err)
		}
		tenant := drawTenant(t, "t", o)
		lines := tenant.Timelines(zone, 2)
		check := func(ms int64) {
			d := zone.DateOf(ms)
			if got, want := lines.Primary.At(ms), idOf(tenant.PrimaryOn(d)); got != want {
				t.Fatalf("%s: primary %q, want %q", civil.FormatMillis(ms), got, want)
			}
			for i := range tenant.Subscriptions {
				s := &tenant.Subscriptions[i]
				if got, want := lines.Active[s.ID].At(ms), s.ActiveOn(d); got != want {
					t.Fatalf("%s: %s active %v, want %v", civil.FormatMillis(ms), s.ID, got, want)
				}
			}
			for of, line := range lines.Entitlements {
				want := tenant.Entitlement(d, of.Meter, 2)
				if of.Subscription != "" {
					want = tenant.Subscription(of.Subscription).Entitlement(d, of.Meter, 2)
				}
				if got := line.At(ms); got != want {
					t.Fatalf("%s: %v may use %d, want %d", civil.FormatMillis(ms), of, got, want)
				}
			}
			for user, line := range lines.Agents {
				want := timeline.Mapping{Subscription: idOf(tenant.MappedSubscription(user, d)), Premium: tenant.PremiumOn(user, d)}
				if got := line.At(ms); got != want {
					t.Fatalf("%s: %s %v, want %v", civil.FormatMillis(ms), user, got, want)
				}
			}
			for entryPoint, line := range lines.EntryPoints {
				if got, want := line.At(ms), idOf(tenant.EntryPointSubscription(entryPoint, d)); got != want {
					t.Fatalf("%s: %s %q, want %q", civil.FormatMillis(ms), entryPoint, got, want)
				}
			}
		}
		for range 20 {
			at := zone.Start(near(t, o))
			for _, ms := range []int64{at - 1, at, at + rapid.Int64Range(0, 86_400_000).Draw(t, "later")} {
				check(ms)
			}
		}
		check(timeline.Start)
		for _, line := range lines.Agents {
			for i := range line[1:] {
				if line[i].FromMS >= line[i+1].FromMS || line[i].Value == line[i+1].Value {
					t.Fatalf("steps out of order or not merged: %v", line)
				}
			}
		}
	})
}

// TestPlanThenApplyReachesTheDocument also shuffles the document, which changes nothing, before it plans again.
func TestPlanThenApplyReachesTheDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		o := rapid.SampledFrom(oddities).Draw(t, "oddity")
		doc := &Document{Tenants: []Tenant{drawTenant(t, "t", o), drawTenant(t, "u", o)}}
		for range 3 {
			for i := range doc.Tenants {
				if refusals := doc.Tenants[i].Validate(); len(refusals) > 0 {
					t.Fatalf("drawn, and refused: %v", refusals)
				}
			}
			for _, c := range Plan(s, doc, 0) {
				data, err := c.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				var verdict Verdict
				if s, verdict = s.Apply(s.Offset()+1, DecodeCommand(data)); !verdict.Accepted {
					t.Fatal(verdict.Refusals)
				}
			}
			for i := range doc.Tenants {
				tenant := &doc.Tenants[i]
				if got, want := string(canonicalJSON(s.Tenant(tenant.ID))), string(canonicalJSON(tenant)); got != want {
					t.Fatalf("stands\n%s\nwant\n%s", got, want)
				}
				if lines := Describe(s.Tenant(tenant.ID), tenant); len(lines) > 0 {
					t.Fatalf("differs: %q", lines)
				}
				tenant.Licences = rapid.Permutation(tenant.Licences).Draw(t, "licences")
				tenant.Subscriptions = rapid.Permutation(tenant.Subscriptions).Draw(t, "subscriptions")
			}
			if left := Plan(s, doc, 0); len(left) > 0 {
				t.Fatalf("left to do: %v", left)
			}
			changed := &doc.Tenants[rapid.IntRange(0, 1).Draw(t, "changed")]
			changed.Name += "'"
			changed.Licences = nil
		}
	})
}

// BenchmarkTimelines is one tenant of 200 users; a thousand of them are to take well under a second.
func BenchmarkTimelines(b *testing.B) {
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		b.Fatal(err)
	}
	tenant := Tenant{Subscriptions: []Subscription{
		sub("A", "2024-01-01/2026-01-01", "2026-02-01/2027-01-01"), sub("B", "2025-01-01/2028-01-01"), sub("C", "2026-03-01/2026-09-01"),
	}}
	for i := range 200 {
		s := tenant.Subscriptions[i%3].ID
		tenant.Licences = append(tenant.Licences, Licence{User: fmt.Sprint("agent-", i), Class: Standard, Subscription: s, From: day("2024-01-01"), To: civil.NoDate})
	}
	for b.Loop() {
		tenant.Timelines(zone, 2)
	}
}

package clickhouse_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// TestEventsAreWhole: every event that is wanted comes with all its deliveries of the bound, each once, wherever they
// lie in time; deliveries that came later do not come, and do not stand in for others.
func TestEventsAreWhole(t *testing.T) {
	servicetest.Heavy(t, "it takes hundreds of queries")
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, conn)
		w := drawWorld(t)
		drawn := rapid.SliceOfN(rapid.Custom(w.drawEvent), 1, 60)
		known, later := drawn.Draw(t, "known"), drawn.Draw(t, "later")
		insert(t, conn, 0, known)
		insert(t, conn, 0, known)
		bound := aggregate.ReadBound{Positions: []aggregate.Position{{Topic: "usage", LastOffset: int64(len(known)) - 1}}, ArrivedBy: aggregate.EndOfTime}
		insert(t, conn, int64(len(known)), later)

		wanted := aggregate.EventFilter{Tenant: "a", Types: []schemas.Type{rapid.SampledFrom(schemas.Types[:]).Draw(t, "type")}, FromMS: w.from, ToMS: w.to}
		switch rapid.IntRange(0, 4).Draw(t, "wanted") {
		case 1:
			at := rapid.Int64Range(w.from, w.to).Draw(t, "at")
			wanted.LiveAt = &at
		case 2:
			wanted.Types, wanted.Channel = []schemas.Type{schemas.ConnectUsage}, "sms"
		case 3:
			wanted.Types, wanted.Class, wanted.OneEach = []schemas.Type{schemas.AgentSession}, "premium", true
		case 4:
			wanted.Types, wanted.Agents = []schemas.Type{schemas.AgentSession}, []string{"x", `"y\`}
		}
		end := []aggregate.Position{{Topic: "usage", LastOffset: int64(len(known)+len(later)) - 1}}
		if _, err := store.DirtyDays(context.Background(), bound.Positions, end, nil, aggregate.DefaultRules()); err != nil {
			t.Fatal(err)
		}
		arrived, err := store.Arrived(context.Background(), []string{"a", "z"}, bound.Positions, end)
		if want := arrivedOf("a", known, later); err != nil || !maps.Equal(arrived, want) {
			t.Fatalf("%v have something new, want %v: %v, of %v", arrived, want, err, later)
		}
		half := int64(0) // from where on an event has to have a delivery
		if !wanted.OneEach && rapid.Bool().Draw(t, "beyond") {
			half = int64(len(known) / 2)
			wanted.Beyond = &aggregate.ReadBound{ArrivedBy: aggregate.EndOfTime}
			if half > 0 { // else the ledger had nothing of the partition
				wanted.Beyond.Positions = []aggregate.Position{{Topic: "usage", LastOffset: half - 1}}
			}
			if when, came := arrivedOf("a", known[:half], slices.Concat(known[half:], later))["a"]; came && rapid.Bool().Draw(t, "in") {
				wanted.BeyondIn = &when
			}
		}
		type identity struct{ source, id string }
		got := map[identity][]aggregate.Delivery{}
		if err := store.Events(context.Background(), bound, wanted, func(event []aggregate.Delivery) error {
			got[identity{event[0].Source, event[0].ID}] = event
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		all := map[identity][]aggregate.Delivery{}
		for i, d := range known {
			if d.Tenant == "a" {
				key := identity{d.Source, d.ID}
				all[key] = append(all[key], aggregate.Delivery{Event: d, RecordID: schemas.RecordID{Topic: "usage", Offset: int64(i)}})
			}
		}
		for key, event := range got {
			if beyond := slices.Concat(later, known[half:]); !slices.ContainsFunc(beyond, func(d schemas.Event) bool {
				return d.Source == key.source && d.ID == key.id
			}) {
				t.Fatalf("%v came, and has nothing from %d on", key, half)
			}
			if !slices.Equal(event, all[key]) {
				t.Fatalf("%v came as\n%v\nwant\n%v", key, event, all[key])
			}
		}
		agents := map[string]bool{}
		for key := range got {
			for _, d := range all[key] {
				agents[d.Agent] = true
			}
		}
		for key, event := range all {
			for _, d := range event {
				if !slices.Contains(wanted.Types, d.Type) || d.OccurredMS() < wanted.FromMS || d.OccurredMS() >= wanted.ToMS ||
					wanted.LiveAt != nil && d.EndMS != schemas.Absent && d.EndMS <= *wanted.LiveAt ||
					wanted.Channel != "" && d.Channel != wanted.Channel || wanted.Agents != nil && !slices.Contains(wanted.Agents, d.Agent) ||
					wanted.OneEach && (d.Voided || d.Class == "standard") || event[len(event)-1].Offset < half {
					continue
				}
				if wanted.OneEach && !agents[d.Agent] || !wanted.OneEach && got[key] == nil {
					t.Fatalf("%v is wanted and did not come", d)
				}
			}
		}
	})
}

// arrivedOf returns the dates in UTC of all deliveries of the events of a tenant that have one among those that are new.
func arrivedOf(tenant string, known, later []schemas.Event) map[string]aggregate.Span {
	const dayMS = 24 * 3600_000
	arrived := map[string]aggregate.Span{}
	for _, d := range slices.Concat(known, later) {
		if d.Tenant != tenant || !slices.ContainsFunc(later, func(o schemas.Event) bool {
			return o.Tenant == tenant && o.Source == d.Source && o.ID == d.ID
		}) {
			continue
		}
		from := d.OccurredMS() / dayMS * dayMS
		span, found := arrived[tenant]
		if !found {
			span = aggregate.Span{FromMS: from, ToMS: from + dayMS}
		}
		arrived[tenant] = aggregate.Span{FromMS: min(span.FromMS, from), ToMS: max(span.ToMS, from+dayMS)}
	}
	return arrived
}

// BenchmarkEvents reads what explains a peak of the tenant that has a quarter of all sessions of a month, and one that
// bills by the head; and works the whole month of the tenant out again, as is done to verify either.
func BenchmarkEvents(b *testing.B) {
	for _, sessions := range []int{1_000_000, 10_000_000} {
		conn := tablestest.Open(b)
		fillMonth(b, conn, sessions)
		store := clickhouse.NewStore(conn)
		positions, err := store.Positions(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		bound := aggregate.ReadBound{Positions: positions, ArrivedBy: aggregate.EndOfTime}
		registry, err := billing.Snapshot(thousandTenants(b), billing.DefaultRules())
		if err != nil {
			b.Fatal(err)
		}
		days := aggregate.Days("tenant-0", registry.Timelines.Zone("tenant-0"), civil.NewDate(2026, 10, 1), civil.NewDate(2026, 11, 1))
		from, to := days[0].FromMS, days[len(days)-1].ToMS
		peak := from + 14*24*3600_000 + 10*3600_000
		agents := []schemas.Type{schemas.AgentSession}
		run := func(name string, wanted aggregate.EventFilter, verify bool) {
			b.Run(fmt.Sprintf("sessions=%d/%s", sessions, name), func(b *testing.B) {
				var deliveries int64
				for b.Loop() {
					deliveries = 0
					measured := aggregate.NewMeasurement(aggregate.Inputs{Days: days, Timelines: registry.Timelines, Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime})
					if err := store.Events(b.Context(), bound, wanted, func(event []aggregate.Delivery) error {
						deliveries += int64(len(event))
						if verify {
							for _, c := range aggregate.ResolveRevisions(aggregate.Events(event)) {
								measured.Add(c)
							}
						}
						return nil
					}); err != nil {
						b.Fatal(err)
					}
					if figures := measured.Figures(); verify && len(figures.Usage) < len(days) {
						b.Fatalf("usage of %d days only", len(figures.Usage))
					}
				}
				b.ReportMetric(float64(deliveries), "deliveries")
			})
		}
		run("peak", aggregate.EventFilter{Tenant: "tenant-0", Types: agents, FromMS: peak - 31*24*3600_000, ToMS: peak + 1, LiveAt: &peak}, false)
		run("heads", aggregate.EventFilter{Tenant: "tenant-0", Types: agents, FromMS: from, ToMS: to, Class: "standard", OneEach: true}, false)
		run("verify", aggregate.EventFilter{Tenant: "tenant-0", Types: agents, FromMS: from - 31*24*3600_000, ToMS: to}, true)
	}
}

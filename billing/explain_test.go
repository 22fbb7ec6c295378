package billing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// memory has deliveries in the order in which they arrived, which are their offsets, and gives of what is wanted as
// little as it may.
type memory []schemas.Event

func (m memory) Events(_ context.Context, bound aggregate.ReadBound, w aggregate.EventFilter,
	each func([]aggregate.Delivery) error) error {
	type identity struct{ source, id string }
	chosen, events := map[identity]bool{}, map[identity][]aggregate.Delivery{}
	first := map[string]schemas.Event{}
	for offset, d := range m {
		if d.Tenant != w.Tenant || int64(offset) > bound.Positions[0].LastOffset {
			continue
		}
		key := identity{d.Source, d.ID}
		events[key] = append(events[key], aggregate.Delivery{Event: d,
			RecordID: schemas.RecordID{Topic: "usage", Offset: int64(offset)}})
		switch {
		case !slices.Contains(w.Types, d.Type), d.OccurredMS() < w.FromMS, d.OccurredMS() >= w.ToMS,
			w.LiveAt != nil && d.EndMS != schemas.Absent && d.EndMS <= *w.LiveAt,
			w.Channel != "" && d.Channel != w.Channel,
			w.Class != "" && d.Class != "" && d.Class != w.Class,
			w.Agents != nil && !slices.Contains(w.Agents, d.Agent),
			w.Beyond != nil && !slices.ContainsFunc(m[min(len(m), int(w.Beyond.Positions[0].LastOffset)+1):],
				func(o schemas.Event) bool {
					return o.Tenant == d.Tenant && o.Source == d.Source && o.ID == d.ID &&
						(w.BeyondIn == nil || w.BeyondIn.FromMS <= o.OccurredMS() && o.OccurredMS() < w.BeyondIn.ToMS)
				}):
		case w.OneEach:
			if other, ok := first[d.Agent]; !d.Voided && (!ok || d.OccurredMS() < other.OccurredMS()) {
				first[d.Agent] = d
			}
		default:
			chosen[key] = true
		}
	}
	for _, d := range first {
		chosen[identity{d.Source, d.ID}] = true
	}
	for key := range chosen {
		if err := each(events[key]); err != nil {
			return err
		}
	}
	return nil
}

func (m memory) Arrived(_ context.Context, tenants []string, after, upTo []aggregate.Position) (map[string]aggregate.Span, error) {
	arrived := map[string]aggregate.Span{}
	for _, d := range m[after[0].LastOffset+1 : upTo[0].LastOffset+1] {
		for _, o := range m[:upTo[0].LastOffset+1] {
			if !slices.Contains(tenants, d.Tenant) || o.Tenant != d.Tenant || o.Source != d.Source || o.ID != d.ID {
				continue
			}
			span, known := arrived[d.Tenant]
			if at := o.OccurredMS(); !known {
				arrived[d.Tenant] = aggregate.Span{FromMS: at, ToMS: at + 1}
			} else {
				arrived[d.Tenant] = aggregate.Span{FromMS: min(span.FromMS, at), ToMS: max(span.ToMS, at+1)}
			}
		}
	}
	return arrived, nil
}

// failing is a test, or one draw of a property.
type failing interface {
	Helper()
	Fatalf(format string, args ...any)
}

// explainer explains a tenant's lines of a period as they are at now, which may be issue.
func explainer(t failing, state registry.State, tenant string, period civil.Month, events []schemas.Event,
	rules billing.Rules, now int64) *billing.Explainer {
	t.Helper()
	zone, err := civil.LoadZone(state.Tenant(tenant).TimeZone)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if now == issue {
		now = zone.Start(period.Next().First().Add(rules.GraceDays))
	}
	return &billing.Explainer{
		Tenant: state.Tenant(tenant), Rules: rules, NowMS: now, Deliveries: memory(events),
		Bound: aggregate.ReadBound{Positions: []aggregate.Position{{Topic: "usage", LastOffset: int64(len(events)) - 1}},
			ArrivedBy: aggregate.EndOfTime},
	}
}

// wantExplained explains every line and recomputes it; both must give the line, and must not when the line
// is another.
func wantExplained(t failing, ledger *fakeLedger, state registry.State, events []schemas.Event, rules billing.Rules,
	now int64, invoices []billing.Invoice) {
	t.Helper()
	ctx := context.Background()
	for _, i := range invoices {
		x := explainer(t, state, i.Tenant, i.Period, events, rules, now)
		x.Lines, x.Chain = ledger, ledger.chain(i.Tenant)
		for _, l := range i.Lines {
			e, err := x.Explain(ctx, i, l)
			if err != nil || len(e.Differences) > 0 {
				t.Fatalf("%s/%d, %s %s: %v, %v", i.ID, l.No, l.Kind, l.Meter, err, e.Differences)
			}
			if differences, err := x.Verify(ctx, i, l, func(int64) {}); err != nil || len(differences) > 0 {
				t.Fatalf("%s/%d, %s %s recomputed: %v, %v", i.ID, l.No, l.Kind, l.Meter, err, differences)
			}
			if e.Price != nil && !strings.HasPrefix(e.Sum, l.Quantity.String()+" × "+l.Price()) {
				t.Fatalf("%s/%d: the sum is %q", i.ID, l.No, e.Sum)
			}
			l.Quantity = l.Quantity.Add(decimal.NewFromInt(1))
			if e, err := x.Explain(ctx, i, l); err != nil || len(e.Differences) == 0 {
				t.Fatalf("%s/%d with one more: %v, and it is explained", i.ID, l.No, err)
			}
			if differences, err := x.Verify(ctx, i, l, func(int64) {}); err != nil || len(differences) != 1 {
				t.Fatalf("%s/%d with one more: %v, %v", i.ID, l.No, err, differences)
			}
		}
	}
}

// counting counts how often the sessions of a whole period are read.
type counting struct {
	memory
	whole *int
}

func (c counting) Events(ctx context.Context, bound aggregate.ReadBound, w aggregate.EventFilter,
	each func([]aggregate.Delivery) error) error {
	if w.LiveAt == nil && w.Channel == "" && !w.OneEach {
		*c.whole++
	}
	return c.memory.Events(ctx, bound, w, each)
}

// TestLinesAreVerifiedFromOneReading of each type of events and period, and each says how much was read.
func TestLinesAreVerifiedFromOneReading(t *testing.T) {
	s := newStoryOf(t, `tenants: [{id: acme, subscriptions: [{id: Sub1, billing: monthly, versions: [{commitments: {agent_standard: 1}}]}]}]`,
		"on 2026-09-14\nagent a1..a3 08:00 09:00")
	s.issue(t, september)
	s.arrives(t, `agent a4 2026-09-14T08:00Z 2026-09-14T09:00Z
on 2026-10-14
agent a1..a5 08:00 09:00
ivr e1 08:00 09:00
connect sms 2 at 08:00
connect whatsapp 2 at 08:00`)
	i := s.issue(t, october).Invoices[0]
	x := explainer(t, s.ledger.state, "acme", october, s.usage.deliveries, billing.DefaultRules(), issue)
	x.Lines, x.Chain = s.ledger, s.ledger.chain("acme")
	var whole int
	x.Deliveries = counting{memory(s.usage.deliveries), &whole}
	read := map[string]int64{}
	for _, l := range i.Lines {
		differences, err := x.Verify(t.Context(), i, l, func(n int64) { read[fmt.Sprint(l.Kind, " ", l.Meter)] = n })
		if err != nil || len(differences) > 0 {
			t.Errorf("line %d: %v, %v", l.No, err, differences)
		}
	}
	want := "map[adjustment agent_standard:4 connect connect.sms:2 connect connect.whatsapp:2 overage agent_standard:9 " +
		"usage agent_standard:9 usage ivr_port:1]"
	if got := fmt.Sprint(read); got != want {
		t.Errorf("read\n%s\nwant\n%s", got, want)
	}
	if whole != 4 {
		t.Errorf("%d readings of %d lines, want sessions and calls and Connect of October, and sessions of September",
			whole, len(i.Lines))
	}
}

// TestEveryLineIsExplained: whatever is drawn, what explains a line adds up to it.
func TestEveryLineIsExplained(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(t, r)
		now := rapid.SampledFrom([]int64{issue, civil.UTC.Start(w.period.First().Add(20))}).Draw(r, "now")
		run := bill(t, w.state, w.deliveries, w.period, billing.DefaultRules(), now)
		wantExplained(r, newFakeLedger(), w.state, w.deliveries, billing.DefaultRules(), now, run.invoices)
	})
}

// TestTheLinesOfTheRulesAreExplained: those of every script of testdata/rules, adjustments too, as they are billed.
func TestTheLinesOfTheRulesAreExplained(t *testing.T) {
	eachScript(t, "rules", func(t *testing.T, _ string, script *txtar.Archive) {
		s := newStory()
		s.billed = func(m moment, run *billing.Run, before map[string][]billing.Issue) {
			fresh := slices.DeleteFunc(slices.Clone(run.Invoices), func(i billing.Invoice) bool {
				return slices.ContainsFunc(before[i.Tenant], func(issue billing.Issue) bool { return issue.Period == i.Period })
			})
			wantExplained(t, s.ledger, s.ledger.state, s.usage.deliveries, m.rules, m.preview, fresh)
		}
		for n, a := range acts(t, script) {
			s.play(t, a, n)
		}
	})
}

// pooledTenant has two subscriptions; the agents a and b are mapped to the younger one.
const pooledTenant = `tenants:
- id: acme
  subscriptions:
  - {id: Sub1, terms: [{from: 2024-01-01, to: 2027-01-01}], versions: [{from: 2024-01-01, commitments: {agent_standard: 1, ivr_port: 1}, prices: {overage: {agent_standard: 10, ivr_port: 1}, connect: {sms: 0.333}}}]}
  - {id: Sub2, terms: [{from: 2025-01-01, to: 2027-01-01}], versions: [{from: 2025-01-01, commitments: {agent_standard: 1}}]}
  licences:
  - {user: a, role: agent, class: standard, subscription: Sub2, from: 2025-01-01}
  - {user: b, role: agent, class: standard, subscription: Sub2, from: 2025-01-01}
`

// explainOne explains the line of a kind and meter of acme's October as JSON, which the test reads as it likes.
func explainOne(t *testing.T, document string, events []schemas.Event, kind billing.Kind, meter string, into any) {
	t.Helper()
	state := seen(t, document)
	run := bill(t, state, events, october, billing.DefaultRules(), issue)
	for _, i := range run.invoices {
		for _, l := range i.Lines {
			if l.Kind != kind || l.Meter != meter {
				continue
			}
			e, err := explainer(t, state, "acme", october, events, billing.DefaultRules(), issue).Explain(t.Context(), i, l)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no line %s %s", kind, meter)
}

// TestAPeakIsExplained: who was live, how each came to the subscription, and which delivery says so.
func TestAPeakIsExplained(t *testing.T) {
	events, err := parseDeliveries(`on 2026-10-14
agent a 08:00 12:00
agent b 08:00 12:00
agent c 09:00 12:00
agent d 10:00 11:00 for Sub1
`, "line")
	if err != nil {
		t.Fatal(err)
	}
	// The first of them came twice, and d's end was put right.
	late := events[3]
	late.Revision, late.EndMS = 1, late.EndMS+60_000
	events = append(events, events[0], late)
	var e struct {
		Sum, Payer string
		Instant    struct {
			At             string
			Live, Entitled int
			Subscriptions  []struct {
				Subscription         string `json:"subscriptionId"`
				Entitled, Used, Over int
			}
			Sessions []struct {
				Agent    string
				By       string `json:"attributedBy"`
				Delivery struct{ Offset int }
				Others   []struct {
					Offset int
					Fate   string
				} `json:"otherDeliveries"`
			}
		}
	}
	explainOne(t, pooledTenant, events, billing.Overage, schemas.AgentStandard, &e)
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Sum":"2 × 10 = 20.00 SEK",` +
		`"Payer":"Sub1 is the primary at the peak instant, on 2026-10-14 (R16): of those active then its first term began first, on 2024-01-01 (R4); that of Sub2 on 2025-01-01",` +
		`"Instant":{"At":"2026-10-14T10:00:00.000Z","Live":4,"Entitled":2,` +
		`"Subscriptions":[{"subscriptionId":"Sub1","Entitled":1,"Used":2,"Over":1},{"subscriptionId":"Sub2","Entitled":1,"Used":2,"Over":1}],` +
		`"Sessions":[{"Agent":"a","attributedBy":"mapped","Delivery":{"Offset":0},"otherDeliveries":[{"Offset":4,"Fate":"duplicate"}]},` +
		`{"Agent":"b","attributedBy":"mapped","Delivery":{"Offset":1},"otherDeliveries":[]},` +
		`{"Agent":"c","attributedBy":"primary","Delivery":{"Offset":2},"otherDeliveries":[]},` +
		`{"Agent":"d","attributedBy":"own","Delivery":{"Offset":5},"otherDeliveries":[{"Offset":3,"Fate":"superseded"}]}]}}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestPortsAreExplained: the ports that come with the seats are spelled out (R14).
func TestPortsAreExplained(t *testing.T) {
	var deliveries strings.Builder
	deliveries.WriteString("on 2026-10-14\n")
	for range 6 {
		deliveries.WriteString("ivr ep 08:00 09:00\n")
	}
	events, err := parseDeliveries(deliveries.String(), "line")
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Instant struct {
			Live, Entitled int
			Subscriptions  []struct {
				Seats, Ports, Entitled int
				Factor                 int `json:"portsPerSeat"`
			}
		}
	}
	explainOne(t, pooledTenant, events, billing.Overage, schemas.IVRPort, &e)
	if s := e.Instant.Subscriptions; e.Instant.Live != 6 || e.Instant.Entitled != 5 || len(s) != 2 || s[0].Factor != 2 ||
		s[0].Seats != 1 || s[0].Ports != 1 || s[0].Entitled != 3 {
		t.Errorf("%+v, want 6 live, and 5 in the pool: 2 × 1 + 1 and 2 × 1", e)
	}
}

// TestConnectIsExplainedByDay, and its rounding (R19).
func TestConnectIsExplainedByDay(t *testing.T) {
	events, err := parseDeliveries(`on 2026-10-14
connect sms 2 at 08:00
connect sms 3 at 09:00
on 2026-10-15
connect sms 1.5 at 09:00
`, "line")
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Sum     string
		Connect struct {
			Days []struct {
				Date, Units string
				Events      int
			}
			Events []struct{ Units string }
		}
	}
	explainOne(t, pooledTenant, events, billing.Connect, "connect.sms", &e)
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Sum":"6.5 × 0.333 = 2.1645, rounded once, half to even, to 2.16 SEK",` +
		`"Connect":{"Days":[{"Date":"2026-10-14","Units":"5","Events":2},{"Date":"2026-10-15","Units":"1.5","Events":1}],` +
		`"Events":[{"Units":"2"},{"Units":"3"},{"Units":"1.5"}]}}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestAnAdjustmentIsExplained: what was issued, the adjustment since included, against what it is now (R21).
func TestAnAdjustmentIsExplained(t *testing.T) {
	events, err := parseDeliveries("on 2026-10-14\nconnect sms 10 at 08:00\n", "line")
	if err != nil {
		t.Fatal(err)
	}
	state := seen(t, pooledTenant)
	line := func(kind billing.Kind, quantity, amount int64, from civil.Month, corrects string) billing.Line {
		l := billing.Line{No: 1, Kind: kind, Meter: "connect.sms", Quantity: decimal.NewFromInt(quantity),
			Amount: decimal.New(amount, -2), Unit: "unit",
			From: from.First(), To: from.Next().First(), PeakMS: billing.NoInstant, Corrects: corrects}
		if corrects != "" {
			l.CorrectsKind = billing.Connect
		}
		return l
	}
	invoice := func(period civil.Month, l billing.Line) billing.Invoice {
		return billing.Invoice{ID: billing.InvoiceID("Sub1", period), Tenant: "acme", Subscription: "Sub1", Period: period,
			Currency: "SEK", MinorUnits: 2,
			Lines: []billing.Line{l}, Total: l.Amount}
	}
	// Four units were issued for 1.33, three more for 1.00 a month later; ten at 0.333 are 3.33.
	const first = "INV-Sub1-202610/1"
	ledger := newFakeLedger()
	var chain []billing.Issue
	for n, i := range []billing.Invoice{
		invoice(october, line(billing.Connect, 4, 133, october, "")),
		invoice(october+1, line(billing.Adjustment, 3, 100, october, first)),
	} {
		issue := billing.Issue{ID: uuid.New(), Tenant: "acme", Seq: n + 1, Period: i.Period, Invoices: []billing.Invoice{i}}
		issue.LinesHash, issue.Lines = billing.HashLines(issue.Invoices)
		chain = append(chain, issue)
	}
	if err := ledger.Write(t.Context(), chain); err != nil {
		t.Fatal(err)
	}
	third := invoice(october+2, line(billing.Adjustment, 3, 100, october, first))
	x := explainer(t, state, "acme", october, events, billing.DefaultRules(), issue)
	x.Lines, x.Chain = ledger, chain
	e, err := x.Explain(t.Context(), third, third.Lines[0])
	if err != nil {
		t.Fatal(err)
	}
	if e.Sum != "3.33 − 2.33 = 1.00 SEK" || len(e.Differences) != 0 || len(e.Adjustment.Issued) != 2 ||
		len(e.Adjustment.Now) != 1 {
		t.Errorf("%q, %v, %+v", e.Sum, e.Differences, e.Adjustment)
	}
	if differences, err := x.Verify(t.Context(), third, third.Lines[0], nil); err != nil || len(differences) != 0 {
		t.Errorf("%v, %v", err, differences)
	}
	third.Lines[0].Amount = decimal.New(101, -2)
	if e, err := x.Explain(t.Context(), third, third.Lines[0]); err != nil || len(e.Differences) != 1 {
		t.Errorf("%v, with an öre more it is explained", err)
	}
}

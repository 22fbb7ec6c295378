package billing_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

var update = flag.Bool("update", false, "rewrite what the scripts of testdata/rules expect by what the rules give")

// The sections of a script, in the order in which those of an act stand: what happens, and what is expected of it.
var (
	happens  = []string{"registry.yaml", "change-telephony", "command", "deliveries", "when"}
	expected = []string{"refused", "warned", "access", "stopped", "reported", "lines"}
)

// act is a part of a script: what happens, and then what is expected.
type act struct{ happens, expected []txtar.File }

func (a act) section(name string) string {
	for _, f := range slices.Concat(a.happens, a.expected) {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// acts splits a script where something happens after it was said when, after what was expected, or happens again.
func acts(t *testing.T, script *txtar.Archive) []act {
	t.Helper()
	var acts []act
	for _, f := range script.Files {
		last := len(acts) - 1
		switch {
		case slices.Contains(expected, f.Name) && last >= 0:
			acts[last].expected = append(acts[last].expected, f)
		case !slices.Contains(happens, f.Name):
			t.Fatalf("a script has no section %s here", f.Name)
		case last < 0 || len(acts[last].expected) > 0 || acts[last].section("when") != "" || acts[last].section(f.Name) != "":
			acts = append(acts, act{happens: []txtar.File{f}})
		default:
			acts[last].happens = append(acts[last].happens, f)
		}
	}
	return acts
}

// TestRules runs the scripts of testdata/rules; README.md there explains their notation.
func TestRules(t *testing.T) {
	eachScript(t, "rules", func(t *testing.T, path string, script *txtar.Archive) {
		s := newStory()
		rewritten := &txtar.Archive{Comment: script.Comment}
		for n, a := range acts(t, script) {
			got := s.play(t, a, n)
			rewritten.Files = append(rewritten.Files, a.happens...)
			for _, name := range expected {
				if got[name] != "" {
					rewritten.Files = append(rewritten.Files, txtar.File{Name: name, Data: []byte(got[name])})
				}
				if want := a.section(name); !*update && squeezed(got[name]) != squeezed(want) {
					t.Errorf("act %d, %s: want\n%s\ngot\n%s", n+1, name, want, got[name])
				}
			}
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(rewritten), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// eachScript runs a test for each script of a folder of testdata, under the name of the script.
func eachScript(t *testing.T, folder string, test func(t *testing.T, path string, script *txtar.Archive)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d scripts, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			script, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			test(t, path, script)
		})
	}
}

// squeezed makes the alignment of a table meaningless.
func squeezed(table string) string {
	var lines []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 0 {
			lines = append(lines, strings.Join(fields, " "))
		}
	}
	return strings.Join(lines, "\n")
}

// story is what has come to stand in the acts of a script.
type story struct {
	usage  *fakeUsage
	ledger *fakeLedger
	// billed, where it is not nil, is told what is billed, and what had been issued before.
	billed func(m moment, run *billing.Run, before map[string][]billing.Issue)
}

func newStory() *story {
	return &story{usage: newFakeUsage(nil), ledger: newFakeLedger()}
}

func (s *story) biller(rules billing.Rules) *billing.Biller {
	s.usage.rules = rules.Rules
	return &billing.Biller{State: s.ledger.state, Rules: rules, Usage: s.usage, Refresh: aggregate.Refresher(s.usage, rules.Rules),
		Lines: s.ledger, Log: s.ledger, Deliveries: memory(s.usage.deliveries)}
}

// apply gives commands to the registry and returns why they were refused.
func (s *story) apply(t testing.TB, commands ...registry.Command) (refusals []registry.Refusal) {
	t.Helper()
	for _, c := range commands {
		refusals = append(refusals, s.ledger.give(c).Refusals...)
	}
	var err error
	if s.usage.snapshot, err = billing.Snapshot(s.ledger.state, billing.DefaultRules()); err != nil {
		t.Fatal(err)
	}
	return refusals
}

// put applies a document, and returns why it was refused.
func (s *story) put(t *testing.T, document string) (refusals []registry.Refusal) {
	t.Helper()
	doc, problems := registry.Parse("registry.yaml", withDefaults(t, document))
	for _, p := range problems {
		refusals = append(refusals, p.Refusal)
	}
	if len(problems) == 0 {
		refusals = doc.Validate()
	}
	if len(refusals) == 0 {
		refusals = s.apply(t, registry.Plan(s.ledger.state, doc, 0)...)
	}
	return refusals
}

// change gives the commands of an act, and returns why some are refused.
func (s *story) change(t *testing.T, a act, n int) (refusals []registry.Refusal) {
	t.Helper()
	for _, f := range a.happens {
		switch words := strings.Fields(string(f.Data)); f.Name {
		case "registry.yaml":
			refusals = append(refusals, s.put(t, string(f.Data))...)
		case "change-telephony":
			refusals = append(refusals, s.apply(t, registry.Command{ID: fmt.Sprint("act-", n), Source: "script",
				TenantID: words[0],
				Command:  registry.ChangeTelephony, Telephony: words[1]})...)
		case "command":
			for line := range strings.Lines(string(f.Data)) {
				var data map[string]any
				if err := yaml.Unmarshal([]byte(line), &data); err != nil {
					t.Fatal(err)
				}
				refusals = append(refusals, s.apply(t, command(t, fmt.Sprint("act-", n, line), data))...)
			}
		}
	}
	return refusals
}

// command is one for acme, or for all, as it is read from the topic; its dates have been written as YAML.
func command(t *testing.T, id string, data map[string]any) registry.Command {
	t.Helper()
	for name, value := range data {
		if at, ok := value.(time.Time); ok {
			data[name] = at.Format(time.DateOnly)
		}
	}
	event := map[string]any{"specversion": "1.0", "id": id, "source": "script", "type": "registry.command",
		"time": "2026-10-14T08:00:00Z", "tenantid": "acme", "data": data}
	if data["command"] == registry.SealPeriods {
		delete(event, "tenantid")
	}
	record, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return registry.DecodeCommand(record)
}

// play lets an act happen, and returns what comes of it as the sections that a script expects.
func (s *story) play(t *testing.T, a act, n int) map[string]string {
	t.Helper()
	if refusals := s.change(t, a, n); len(refusals) > 0 {
		var refused strings.Builder
		for _, r := range refusals {
			fmt.Fprintln(&refused, r.Error())
		}
		return map[string]string{"refused": refused.String()}
	}
	unnamed := "line"
	if n > 0 {
		unnamed = fmt.Sprintf("act-%d-line", n+1)
	}
	events, err := parseDeliveries(a.section("deliveries"), unnamed)
	if err != nil {
		t.Fatal(err)
	}
	s.usage.deliveries = append(s.usage.deliveries, events...)
	moment, err := parseWhen(a.section("when"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"access": s.access(moment.access)}
	if moment.warnings {
		for _, tenant := range s.ledger.state.Tenants() {
			for _, w := range registry.Warnings(tenant) {
				got["warned"] += w.String() + "\n"
			}
		}
	}
	if len(moment.periods) == 0 {
		return got
	}
	var invoices []billing.Invoice
	var stopped strings.Builder
	var balance aggregate.Balance
	late := ""
	for _, period := range moment.periods {
		biller := s.biller(moment.rules)
		bill, clock := biller.Issue, moment.asOf
		if moment.preview != issue {
			bill, clock = biller.Preview, moment.preview
		}
		before, err := billing.AllIssues(s.ledger.state, nil)
		if err != nil {
			t.Fatal(err)
		}
		outcome, err := bill(t.Context(), period, moment.tenants, clock)
		if err != nil {
			t.Fatal(err)
		}
		if s.billed != nil {
			s.billed(moment, outcome, before)
		}
		invoices = append(invoices, outcome.Invoices...)
		for _, stop := range outcome.Stopped {
			fmt.Fprintf(&stopped, "%s %s %s %s: %s\n", stop.Tenant, stop.Period, stop.Code, stop.Rule, stop.Message)
		}
		for _, f := range outcome.Findings {
			if f.Code == schemas.Sealed {
				late += fmt.Sprintf("%s %d: %s %s\n", f.Code, f.Count, f.Tenant, strings.Join(f.Names, ", "))
			}
		}
		balance = balance.Add(balanceOf(t, s.ledger.state, s.usage.deliveries, period, moment.rules, moment.preview))
	}
	got["stopped"], got["reported"], got["lines"] = stopped.String(), reported(balance)+late, table(invoices)
	return got
}

// access says of every user what access there is on the dates, and who has lost it (R7).
func (s *story) access(dates []civil.Date) string {
	var b strings.Builder
	for _, date := range dates {
		for _, tenant := range s.ledger.state.Tenants() {
			var users []string
			for _, l := range tenant.Licences {
				users = append(users, l.User)
			}
			slices.Sort(users)
			for _, user := range slices.Compact(users) {
				has := "access"
				if !tenant.HasAccess(user, date) {
					has = "no access"
				}
				for _, loss := range tenant.LosingAccess(date) {
					if loss.User == user {
						has += ", lost with " + strings.Join(loss.Subscriptions, " and ")
					}
				}
				fmt.Fprintf(&b, "%s %s: %s\n", date, user, has)
			}
		}
	}
	return b.String()
}

// fold gives the state after a document has been applied to an empty registry.
func fold(t testing.TB, doc *registry.Document) registry.State {
	t.Helper()
	var state registry.State
	for i, command := range registry.Plan(state, doc, 0) {
		var verdict registry.Verdict
		if state, verdict = state.Apply(int64(i), command); !verdict.Accepted {
			t.Fatal(verdict.Refusals)
		}
	}
	return state
}

// billed is what becomes of all tenants in one period.
type billed struct {
	invoices []billing.Invoice
	stopped  []*billing.Stop
}

// issue is the preview of a bill that is none: its clock is the end of the grace (R12).
const issue int64 = -1

// usageOf is what the tenants used in a period, by the readable reference, at the clock of R12.
func usageOf(t testing.TB, snapshot aggregate.Snapshot, events []schemas.Event, period civil.Month, rules billing.Rules,
	preview int64) map[string]billing.TenantUsage {
	t.Helper()
	usage := map[string]billing.TenantUsage{}
	for _, tenant := range snapshot.Tenants {
		now := preview
		if now == issue {
			now = snapshot.Timelines.Zone(tenant.ID).Start(period.Next().First().Add(rules.GraceDays))
		}
		days := aggregate.Days(tenant.ID, snapshot.Timelines.Zone(tenant.ID), period.First(), period.Next().First())
		usage[tenant.ID] = billing.ByTenant(figures(events, aggregate.Inputs{Days: days, Timelines: snapshot.Timelines,
			Rules: rules.Rules, NowMS: now}))[tenant.ID]
	}
	return usage
}

// bill bills a period of all tenants as a first issue, by the rules alone.
func bill(t testing.TB, state registry.State, events []schemas.Event, period civil.Month, rules billing.Rules,
	preview int64) billed {
	t.Helper()
	var all billed
	snapshot, err := billing.Snapshot(state, rules)
	if err != nil {
		t.Fatal(err)
	}
	usage := usageOf(t, snapshot, events, period, rules, preview)
	for _, tenant := range snapshot.Tenants {
		invoices, err := billing.Bill(state.Tenant(tenant.ID), snapshot.Timelines.Zone(tenant.ID), period, usage[tenant.ID],
			rules)
		var stop *billing.Stop
		if errors.As(err, &stop) {
			all.stopped = append(all.stopped, stop)
		} else if err != nil {
			t.Fatal(err)
		}
		all.invoices = append(all.invoices, invoices...)
	}
	return all
}

// balanceOf is the balance of a period over all tenants, those that the registry does not know by UTC dates (R22).
func balanceOf(t testing.TB, state registry.State, events []schemas.Event, period civil.Month, rules billing.Rules,
	preview int64) aggregate.Balance {
	t.Helper()
	snapshot, err := billing.Snapshot(state, rules)
	if err != nil {
		t.Fatal(err)
	}
	var sum aggregate.Balance
	for _, usage := range usageOf(t, snapshot, events, period, rules, preview) {
		sum = sum.Add(usage.Balance)
	}
	var held []aggregate.Day
	for _, e := range events {
		days := aggregate.Days(e.Tenant, civil.UTC, period.First(), period.Next().First())
		if state.Tenant(e.Tenant) == nil && !slices.Contains(held, days[0]) {
			held = append(held, days...)
		}
	}
	_, balances := aggregate.Reference(events, aggregate.Inputs{Days: held, Timelines: snapshot.Timelines,
		Rules: rules.Rules})
	for _, b := range balances {
		sum = sum.Add(b.Balance)
	}
	return sum
}

// figures are the usage of days that follow one another, by the readable reference. The distinct agents of a month are
// those of its days taken as one long day.
func figures(events []schemas.Event, in aggregate.Inputs) *aggregate.Figures {
	f := aggregate.Figures{Agents: map[aggregate.AgentsOf]int64{}}
	f.Usage, f.Balances = aggregate.Reference(events, in)
	whole := map[billing.TenantPeriod]aggregate.Day{}
	for _, d := range in.Days {
		of := billing.TenantPeriod{Tenant: d.Tenant, Period: d.Date.Month()}
		w, begun := whole[of]
		if !begun {
			w = d
		}
		w.ToMS = d.ToMS
		whole[of] = w
	}
	for _, day := range whole {
		long := in
		long.Days = []aggregate.Day{day}
		usage, _ := aggregate.Reference(events, long)
		for _, u := range usage {
			of := aggregate.AgentsOf{Tenant: u.Tenant, Period: u.Date.Month(), Meter: u.Meter, Subscription: u.Subscription}
			f.Agents[of] = u.Agents
		}
	}
	return &f
}

// table writes the lines of invoices with a dash for what is empty; what adjustments correct, where there are any.
func table(invoices []billing.Invoice) string {
	var rows [][]string
	corrects := ""
	for _, i := range invoices {
		for _, l := range i.Lines {
			row := []string{i.Subscription, string(l.Kind), l.Meter, l.Quantity.String(), cmp.Or(l.Price(), "-"),
				i.Money(l.Amount) + " " + i.Currency,
				l.From.String(), l.To.String(), cmp.Or(l.PeakAt(), "-")}
			if l.Kind == billing.Adjustment {
				row = append(row, l.Corrects+" "+string(l.CorrectsKind))
				corrects = "\tcorrects"
			}
			rows = append(rows, row)
		}
		if len(i.Lines) > 1 {
			rows = append(rows, []string{i.Subscription, "total", "-", "-", "-", i.Money(i.Total) + " " + i.Currency, "-", "-",
				"-"})
		}
	}
	if len(rows) == 0 {
		return "none\n"
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "subscription\tkind\tmeter\tquantity\tprice\tamount\tfrom\tto\tpeak"+corrects+"\n")
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return b.String()
}

// reported writes what is not simply counted, a line each.
func reported(b aggregate.Balance) string {
	var lines strings.Builder
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"duplicate", b.Duplicate}, {"superseded", b.Superseded}, {"voided", b.Voided}, {"unallocated", b.Unallocated},
		{"unknown_tenant", b.UnknownTenant}, {"unmapped", b.Unmapped}, {"open_session", b.OpenSessions},
		{"unknown_subscription", b.UnknownSubscription}, {"conflict", b.Conflicts},
	} {
		if c.n != 0 {
			fmt.Fprintf(&lines, "%s %d\n", c.name, c.n)
		}
	}
	return lines.String()
}

// moment is the section `when`.
type moment struct {
	periods  []civil.Month
	tenants  []string
	preview  int64
	asOf     int64
	access   []civil.Date
	warnings bool
	rules    billing.Rules
}

func parseWhen(text string) (moment, error) {
	m := moment{preview: issue, asOf: 4102444800_000, rules: billing.DefaultRules()} // 2100: every grace is over
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch name {
		case "period":
			var period civil.Month
			period, err = civil.ParseMonth(value)
			m.periods = append(m.periods, period)
		case "tenant":
			m.tenants = append(m.tenants, value)
		case "preview":
			m.preview, err = parseTime(value, civil.NoDate)
		case "as-of":
			m.asOf, err = parseTime(value, civil.NoDate)
		case "access":
			var date civil.Date
			date, err = civil.ParseDate(value)
			m.access = append(m.access, date)
		case "warnings":
			m.warnings = true
		case "ivr-port-factor":
			m.rules.IVRPortFactor, err = strconv.ParseInt(value, 10, 64)
		case "open-session-hours":
			m.rules.OpenSessionHours, err = strconv.Atoi(value)
		case "grace-days":
			m.rules.GraceDays, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("when: nothing is called %q", name)
		}
		if err != nil {
			return m, err
		}
	}
	return m, nil
}

// withDefaults completes a registry document by what no script is about.
func withDefaults(t *testing.T, document string) []byte {
	t.Helper()
	var root yaml.Node
	if err := yaml.Load([]byte(document), &root); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range items(root.Content[0], "tenants") {
		id := member(tenant, "id").Value
		complete(t, tenant, "{name: "+id+", timeZone: UTC, telephony: webex_calling}")
		for _, s := range items(tenant, "subscriptions") {
			complete(t, s, "{name: "+member(s, "id").Value+", licenceModel: concurrent, plan: flex3, deployment: cloud, currency: SEK, "+
				"billing: prepaid, terms: [{from: 2024-01-01, to: 2034-01-01}], versions: [{}]}")
			for _, v := range items(s, "versions") {
				complete(t, v, `{from: 2000-01-01, prices: {
					commitment: {agent_standard: "31", agent_premium: "31", ivr_port: "31", addon.wfo: "31"},
					overage: {agent_standard: "100", agent_premium: "100", ivr_port: "100"},
					connect: {sms: "0.5", whatsapp: "0.5"}}}`)
			}
		}
		for _, l := range items(tenant, "licences") {
			complete(t, l, "{role: agent, from: 2000-01-01}")
		}
		for _, e := range items(tenant, "entryPoints") {
			complete(t, e, "{from: 2000-01-01}")
		}
	}
	completed, err := yaml.Dump(&root)
	if err != nil {
		t.Fatal(err)
	}
	return completed
}

// complete adds to a mapping the members of another that it lacks.
func complete(t *testing.T, mapping *yaml.Node, defaults string) {
	t.Helper()
	var root yaml.Node
	if err := yaml.Load([]byte(defaults), &root); err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(root.Content[0].Content, 2) {
		if member(mapping, pair[0].Value) == nil {
			mapping.Content = append(mapping.Content, pair...)
		}
	}
}

// member returns the value of a mapping's member, nil where it has none.
func member(mapping *yaml.Node, name string) *yaml.Node {
	for pair := range slices.Chunk(mapping.Content, 2) {
		if pair[0].Value == name {
			return pair[1]
		}
	}
	return nil
}

func items(mapping *yaml.Node, name string) []*yaml.Node {
	if list := member(mapping, name); list != nil {
		return list.Content
	}
	return nil
}

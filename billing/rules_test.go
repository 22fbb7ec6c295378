package billing_test

import (
	"bytes"
	"cmp"
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

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

var update = flag.Bool("update", false, "rewrite what the scripts of testdata/rules expect by what the rules give")

// The sections of a script that say what is expected, in the order in which they stand.
var expected = []string{"refused", "stopped", "reported", "lines"}

// TestRules runs the scripts of testdata/rules; README.md there explains their notation.
func TestRules(t *testing.T) {
	paths, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d scripts, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			script, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string]string{}
			for _, f := range script.Files {
				if !slices.Contains(append([]string{"registry.yaml", "deliveries", "when"}, expected...), f.Name) {
					t.Fatalf("a script has no section %s", f.Name)
				}
				sections[f.Name] = string(f.Data)
			}
			got := outcome(t, sections["registry.yaml"], sections["deliveries"], sections["when"])
			if *update {
				script.Files = slices.DeleteFunc(script.Files, func(f txtar.File) bool { return slices.Contains(expected, f.Name) })
				for _, name := range expected {
					if got[name] != "" {
						script.Files = append(script.Files, txtar.File{Name: name, Data: []byte(got[name])})
					}
				}
				if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, name := range expected {
				if squeezed(got[name]) != squeezed(sections[name]) {
					t.Errorf("%s: want\n%s\ngot\n%s", name, sections[name], got[name])
				}
			}
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

// outcome bills what a script says, and returns it as the sections that the script expects.
func outcome(t *testing.T, document, deliveries, when string) map[string]string {
	t.Helper()
	doc, problems := registry.Parse("registry.yaml", withDefaults(t, document))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if refusals := doc.Validate(); len(refusals) > 0 {
		var refused strings.Builder
		for _, r := range refusals {
			fmt.Fprintln(&refused, r.Error())
		}
		return map[string]string{"refused": refused.String()}
	}
	state := fold(t, doc)
	events, err := parseDeliveries(deliveries)
	if err != nil {
		t.Fatal(err)
	}
	moment, err := parseWhen(when)
	if err != nil {
		t.Fatal(err)
	}

	var invoices []billing.Invoice
	var stopped strings.Builder
	var balance aggregate.Balance
	for _, period := range moment.periods {
		run := bill(t, state, events, period, moment.rules, moment.preview)
		invoices = append(invoices, run.invoices...)
		for _, stop := range run.stopped {
			fmt.Fprintf(&stopped, "%s %s %s %s: %s\n", stop.Tenant, stop.Period, stop.Code, stop.Rule, stop.Detail)
		}
		balance = balance.Add(run.balance)
	}
	return map[string]string{"stopped": stopped.String(), "reported": reported(balance), "lines": table(invoices)}
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
	balance  aggregate.Balance
}

// issue is the preview of a bill that is none: its clock is the end of the grace (R12).
const issue int64 = -1

func bill(t testing.TB, state registry.State, events []schemas.Event, period civil.Month, rules billing.Rules, preview int64) billed {
	t.Helper()
	var all billed
	snapshot, err := billing.Snapshot(state, rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range snapshot.Tenants {
		now := preview
		if now == issue {
			now = tenant.Zone.Start(period.Next().First().Add(rules.GraceDays))
		}
		days := aggregate.Days(tenant.ID, tenant.Zone, period.First(), period.Next().First())
		usage := billing.ByTenant(figures(events, snapshot.Timelines, days, rules.Rules, now))[tenant.ID]
		all.balance = all.balance.Add(usage.Balance)
		invoices, err := billing.Bill(state.Tenant(tenant.ID), tenant.Zone, period, usage, rules)
		var stop *billing.Stop
		if errors.As(err, &stop) {
			all.stopped = append(all.stopped, stop)
		} else if err != nil {
			t.Fatal(err)
		}
		all.invoices = append(all.invoices, invoices...)
	}
	var held []aggregate.Day
	for _, e := range events {
		days := aggregate.Days(e.Tenant, civil.UTC, period.First(), period.Next().First())
		if state.Tenant(e.Tenant) == nil && !slices.Contains(held, days[0]) {
			held = append(held, days...)
		}
	}
	_, balances := aggregate.Reference(events, snapshot.Timelines, held, rules.Rules, 0)
	for _, b := range balances {
		all.balance = all.balance.Add(b.Balance)
	}
	return all
}

// figures are the usage of days that follow one another in one period, by the readable reference. Distinct agents
// over all of them are those of the period taken as one long day.
func figures(events []schemas.Event, timelines aggregate.Timelines, days []aggregate.Day, rules aggregate.Rules, now int64) *aggregate.Figures {
	f := aggregate.Figures{Agents: map[aggregate.AgentsOf]int64{}}
	f.Usage, f.Balances = aggregate.Reference(events, timelines, days, rules, now)
	whole := map[string]aggregate.Day{}
	for _, d := range days {
		w, begun := whole[d.Tenant]
		if !begun {
			w = d
		}
		w.ToMS = d.ToMS
		whole[d.Tenant] = w
	}
	for _, day := range whole {
		usage, _ := aggregate.Reference(events, timelines, []aggregate.Day{day}, rules, now)
		for _, u := range usage {
			f.Agents[aggregate.AgentsOf{Tenant: u.Tenant, Meter: u.Meter, Subscription: u.Subscription}] = u.Agents
		}
	}
	return &f
}

// table writes the lines of invoices with a dash for what is empty.
func table(invoices []billing.Invoice) string {
	var lines int
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "subscription\tkind\tmeter\tquantity\tprice\tamount\tfrom\tto\tpeak\n")
	for _, i := range invoices {
		for _, l := range i.Lines {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s %s\t%s\t%s\t%s\n", i.Subscription, l.Kind, l.Meter, l.Quantity,
				cmp.Or(l.Price(), "-"), i.Money(l.Amount), i.Currency, l.From, l.To, cmp.Or(l.PeakAt(), "-"))
			lines++
		}
		if len(i.Lines) > 1 {
			fmt.Fprintf(w, "%s\ttotal\t-\t-\t-\t%s %s\t-\t-\t-\n", i.Subscription, i.Money(i.Total), i.Currency)
		}
	}
	w.Flush()
	if lines == 0 {
		return "none\n"
	}
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
		{"unknown_tenant", b.Held}, {"unmapped", b.Unmapped}, {"open_session", b.OpenSessions},
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
	periods []civil.Month
	preview int64
	rules   billing.Rules
}

func parseWhen(text string) (moment, error) {
	m := moment{preview: issue, rules: billing.DefaultRules()}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch name {
		case "period":
			var period civil.Month
			period, err = civil.ParseMonth(value)
			m.periods = append(m.periods, period)
		case "preview":
			m.preview, err = parseTime(value, civil.NoDate)
		case "ivr-port-factor":
			m.rules.IVRPortFactor, err = strconv.ParseInt(value, 10, 64)
		case "open-session-hours":
			m.rules.OpenSessionHours, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("when: nothing is called %q", name)
		}
		if err != nil {
			return m, err
		}
	}
	if len(m.periods) == 0 {
		return m, errors.New("when: say which period")
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

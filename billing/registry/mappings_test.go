package registry

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"apportion/schemas/civil"
)

var update = flag.Bool("update", false, "rewrite what the scripts of testdata/mappings expect by what comes out")

// record is a record of the command topic, for acme; its data is YAML.
func record(t testing.TB, id, data string) []byte {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(data), &v); err != nil {
		t.Fatal(err)
	}
	text := string(asJSON(t, v))
	// YAML's dates become instants.
	text = strings.ReplaceAll(text, "T00:00:00Z", "")
	return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"s","type":"registry.command","time":"2026-10-14T08:00:00Z","tenantid":"acme","data":%s}`, id, text)
}

// mapped is acme with mappings, written as testdata/mappings/README.md says.
func mapped(t testing.TB, lines string) *Document {
	t.Helper()
	doc := parse(t, acme)
	tenant := &doc.Tenants[0]
	tenant.Licences, tenant.EntryPoints = nil, nil
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if name, rest, _ := strings.Cut(line, " "); strings.HasPrefix(name, "ep-") {
			l := licence(t, strings.TrimSuffix(name+" standard "+rest, "/"))
			tenant.EntryPoints = append(tenant.EntryPoints, EntryPoint{name, l.Subscription, l.From, l.To})
		} else {
			tenant.Licences = append(tenant.Licences, licence(t, strings.TrimSuffix(line, "/")))
		}
	}
	return doc
}

// written is the other way round; a role that is not agent goes after the class.
func written(t *Tenant) string {
	var b strings.Builder
	for _, l := range t.Licences {
		class := l.Class
		if l.Role != "agent" {
			class += " " + l.Role
		}
		fmt.Fprintf(&b, "%s %s %s %s/%s\n", l.User, class, l.Subscription, l.From, l.To)
	}
	for _, e := range t.EntryPoints {
		fmt.Fprintf(&b, "%s %s %s/%s\n", e.EntryPoint, e.Subscription, e.From, e.To)
	}
	return b.String()
}

func TestMappings(t *testing.T) {
	paths, err := filepath.Glob("testdata/mappings/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d scripts, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			script, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out := &txtar.Archive{Comment: script.Comment}
			add := func(name, text string) {
				if text != "" {
					out.Files = append(out.Files, txtar.File{Name: name, Data: []byte(text)})
				}
			}
			var s State
			for _, f := range script.Files {
				switch f.Name {
				case "before":
					add(f.Name, string(f.Data))
					var verdicts []Verdict
					if s, verdicts = fold(t, s, Plan(s, mapped(t, string(f.Data)), 0)...); !verdicts[0].Accepted {
						t.Fatal(verdicts)
					}
				case "command":
					add(f.Name, string(f.Data))
					c := DecodeCommand(record(t, fmt.Sprint(s.Offset()), string(f.Data)))
					before := s
					var verdict Verdict
					s, verdict = s.Apply(s.Offset()+1, c)
					var refused strings.Builder
					for _, r := range verdict.Refusals {
						fmt.Fprintln(&refused, r.Error())
					}
					add("refused", refused.String())
					if !verdict.Accepted {
						if written(s.Tenant("acme")) != written(before.Tenant("acme")) || s.Base("acme") != before.Base("acme") {
							t.Error("refused, and changed the tenant")
						}
						continue
					}
					if changes := strings.Join(DescribeCommand(before, s, c), "\n"); changes != "" {
						add("changes", changes+"\n")
					}
					add("after", written(s.Tenant("acme")))
				case "changes", "refused", "after":
				default:
					t.Fatalf("a script has no section %s", f.Name)
				}
			}
			got := txtar.Format(out)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want := txtar.Format(script); string(got) != string(want) {
				t.Errorf("want\n%s\ngot\n%s", want, got)
			}
		})
	}
}

// TestSetMappingsIsAPutTenant: setting mappings comes to what a document with the same mappings comes to; each date from
// the command's on has what the command says, and every other is as it was; and saying it again changes nothing.
func TestSetMappingsIsAPutTenant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom(oddities).Draw(t, "oddity")
		var set, put State // by small commands, and by whole documents
		give := func(s State, c Command) State {
			data, err := c.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			s, verdict := s.Apply(s.Offset()+1, DecodeCommand(data))
			if !verdict.Accepted {
				t.Fatalf("%s: %v", data, verdict.Refusals)
			}
			return s
		}
		doc := &Document{Tenants: []Tenant{drawTenant(t, "t", o)}}
		set, put = give(set, Plan(set, doc, 0)[0]), give(put, Plan(put, doc, 0)[0])
		if date := set.ChangedFrom("t", 0); date != civil.NoDate {
			t.Fatalf("a document changes nothing before %s", date)
		}
		states := []State{set}
		for n := range rapid.IntRange(1, 6).Draw(t, "commands") {
			before := set.Tenant("t")
			c := drawSetMappings(t, *before, o)
			c.ID = fmt.Sprint(n)
			set = give(set, c)
			// What is said of the dates before the first that any command since has changed is as it was.
			for _, old := range states {
				first := set.ChangedFrom("t", old.Offset()+1)
				for _, d := range daysNear(o) {
					if was, is := mappedOn(old.Tenant("t"), d), mappedOn(set.Tenant("t"), d); d < first && was != is {
						t.Fatalf("changed from %s on: mapped on %s is %s, and was %s", first, d, is, was)
					}
				}
				if first == civil.NoDate || first > c.Mappings.From {
					t.Fatalf("changed from %s on, by a command from %s", first, c.Mappings.From)
				}
			}
			states = append(states, set)
			after := set.Tenant("t")
			for _, d := range daysNear(o) {
				if got, want := mappedOn(after, d), mappedBy(before, c, d); got != want {
					t.Fatalf("%s: mapped on %s is %s, want %s; before it was %s", asText(c), d, got, want, mappedOn(before, d))
				}
			}
			if got, want := string(canonicalJSON(after)), string(asText(after)); got != want {
				t.Fatalf("not in canonical form: %s", want)
			}
			for _, c := range Plan(put, &Document{Tenants: []Tenant{*after}}, 0) {
				put = give(put, c)
			}
			if got, want := asText(set.Tenant("t")), asText(put.Tenant("t")); got != want {
				t.Fatalf("set:\n%s\nput:\n%s", got, want)
			}
			c.ID += " again"
			if again := give(set, c).Tenant("t"); asText(again) != asText(after) {
				t.Fatalf("%s again changes\n%s\nto\n%s", asText(c), asText(after), asText(again))
			}
		}
		if base := set.Base("t"); base != set.Offset() || set.Version() != base+1 {
			t.Fatalf("base %d and version %d at %d", base, set.Version(), set.Offset())
		}
	})
}

func drawSetMappings(t *rapid.T, tenant Tenant, o oddity) Command {
	command := rapid.SampledFrom([]string{SetLicences, SetEntryPoints}).Draw(t, "command")
	set := &SetMappings{From: near(t, o), All: rapid.Bool().Draw(t, "all")}
	names := []string{"ep", "ep2"}
	if command == SetLicences {
		names = []string{"a", "b", "c", "d"}
		set.Role = rapid.SampledFrom([]string{"agent", "admin"}).Draw(t, "role")
	}
	names = rapid.Permutation(names).Draw(t, "names")
	set.Names = names[:rapid.IntRange(1, len(names)).Draw(t, "n")]
	to := rapid.Permutation(tenant.Subscriptions).Draw(t, "to")
	to = to[:rapid.IntRange(0, len(to)).Draw(t, "subscriptions")]
	if set.All {
		set.Names = set.Names[:1]
	} else {
		to = tenant.Subscriptions[:1]
	}
	for _, s := range to {
		m := Mapped{Subscription: s.ID, To: civil.NoDate}
		if rapid.Bool().Draw(t, "bounded") {
			m.To = set.From.Add(rapid.IntRange(1, 10).Draw(t, "for"))
		}
		if command == SetLicences {
			m.Class = rapid.SampledFrom([]string{Standard, Premium}).Draw(t, "class")
		}
		set.Subscriptions = append(set.Subscriptions, m)
	}
	return Command{Source: "s", TenantID: tenant.ID, Command: command, Mappings: set}
}

func daysNear(o oddity) (days []civil.Date) {
	for n := -40; n <= 40; n++ {
		days = append(days, day(o.date).Add(n))
	}
	return days
}

func asText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// mappedOn is every mapping that has a date, without its dates.
func mappedOn(t *Tenant, d civil.Date) string { return mappedIf(t, d, nil) }

func mappedIf(t *Tenant, d civil.Date, also []string, leaveOut ...func(name, subscription string) bool) string {
	all := slices.Clone(also)
	add := func(from, to civil.Date, name, subscription, rest string) {
		out := slices.ContainsFunc(leaveOut, func(f func(string, string) bool) bool { return f(name, subscription) })
		if !out && from <= d && (to == civil.NoDate || d < to) {
			all = append(all, strings.TrimSpace(name+" "+subscription+" "+rest))
		}
	}
	for _, l := range t.Licences {
		add(l.From, l.To, l.User, l.Subscription, l.Class+" "+l.Role)
	}
	for _, e := range t.EntryPoints {
		add(e.From, e.To, e.EntryPoint, e.Subscription, "")
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// mappedBy is what is to be mapped on a date after a command, by the words of it.
func mappedBy(t *Tenant, c Command, d civil.Date) string {
	set := c.Mappings
	if d < set.From {
		return mappedOn(t, d)
	}
	var says []string
	for _, name := range set.Names {
		for _, m := range set.Subscriptions {
			if m.To == civil.NoDate || d < m.To {
				says = append(says, strings.TrimSpace(name+" "+m.Subscription+" "+classAndRole(c, m)))
			}
		}
	}
	return mappedIf(t, d, says, func(name, subscription string) bool {
		about := slices.ContainsFunc(set.Subscriptions, func(m Mapped) bool { return m.Subscription == subscription })
		return slices.Contains(set.Names, name) && (set.All || about)
	})
}

func classAndRole(c Command, m Mapped) string {
	if c.Command == SetEntryPoints {
		return ""
	}
	return m.Class + " " + c.Mappings.Role
}

// TestMappingsAreRefusedAsADocumentIs: a licence that no document may have is not to be had by a command, for the same
// reasons.
func TestMappingsAreRefusedAsADocumentIs(t *testing.T) {
	s := standingState(t, acme)
	good := Licence{"agent-1", "agent", Premium, "Sub2", day("2026-11-01"), day("2027-01-01")}
	for name, change := range map[string]func(*Licence){
		"nothing wrong":           func(*Licence) {},
		"no user":                 func(l *Licence) { l.User = "" },
		"a long user":             func(l *Licence) { l.User = strings.Repeat("x", 201) },
		"a control character":     func(l *Licence) { l.User = "a\nb" },
		"another role":            func(l *Licence) { l.Role = "boss" },
		"another class":           func(l *Licence) { l.Class = "gold" },
		"no subscription":         func(l *Licence) { l.Subscription = "" },
		"an unknown subscription": func(l *Licence) { l.Subscription = "Sub9" },
		"no date":                 func(l *Licence) { l.From = civil.NoDate },
		"it ends as it begins":    func(l *Licence) { l.To = l.From },
		"everything":              func(l *Licence) { *l = Licence{"", "boss", "gold", "Sub9", l.To, l.From} },
	} {
		l := good
		change(&l)
		doc := parse(t, acme)
		doc.Tenants[0].Licences = append(doc.Tenants[0].Licences, l)
		put := codesAlone(Decide(s, Plan(s, doc, 0)[0]))
		for _, all := range []bool{true, false} {
			c := DecodeCommand(asJSON(t, Command{ID: "c", Source: "s", TenantID: "acme", Command: SetLicences, Mappings: &SetMappings{
				Names: []string{l.User}, All: all, From: l.From, Role: l.Role, Subscriptions: []Mapped{{l.Subscription, l.Class, l.To}}}}))
			if set := codesAlone(Decide(s, c)); set != put {
				t.Errorf("%s, all %v: refused for %q, and in a document for %q", name, all, set, put)
			}
		}
	}
}

func codesAlone(refusals []Refusal) string {
	var all []string
	for _, r := range refusals {
		all = append(all, string(r.Code))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

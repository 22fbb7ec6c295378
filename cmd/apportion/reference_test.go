package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"apportion/cmd/apportion/config"
)

// reference returns the rows of the tables on a page of the reference, by the heading that they are below.
func reference(t *testing.T, page string) map[string][][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", page))
	if err != nil {
		t.Fatal(err)
	}
	tables := make(map[string][][]string)
	heading := ""
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		case strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|-"):
			var cells []string
			for cell := range strings.SplitSeq(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|") {
				cells = append(cells, strings.ReplaceAll(strings.TrimSpace(cell), "\x00", "|"))
			}
			tables[heading] = append(tables[heading], cells)
		}
	}
	return tables
}

// flagRE finds a flag in what a page says, as `--flag`.
var flagRE = regexp.MustCompile(`--[a-z][a-z-]*`)

// flagsOf returns the names of flags, as they are given.
func flagsOf(flags *pflag.FlagSet) (names []string) {
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}

// The page of the commands has every command with its flags, and nothing else.
func TestReferenceHasEveryCommand(t *testing.T) {
	root := newRoot(&app{})
	tables := reference(t, "commands.md")

	got := make(map[string][]string) // flags by command
	abbreviations := strings.NewReplacer(
		"FILTER", "--code --topic --tenant --since --until",
		" -f ", " --file ",
		"bash|zsh|fish|powershell", "")
	for _, row := range tables["Commands"][1:] {
		usage, _, _ := strings.Cut(strings.TrimPrefix(row[0], "`"), "`")
		usage = abbreviations.Replace(usage)
		var words []string
		for _, word := range strings.Fields(usage) {
			if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-") != "" || strings.HasPrefix(word, "-") {
				break
			}
			words = append(words, word)
		}
		path := strings.Join(words, " ")
		got[path] = append(got[path], flagRE.FindAllString(usage, -1)...)
	}
	want := map[string][]string{"completion": nil} // cobra's own
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		if flags := flagsOf(cmd.LocalNonPersistentFlags()); (!cmd.HasSubCommands() || len(flags) > 0) && !cmd.Hidden { // backup is both
			want[strings.TrimPrefix(cmd.CommandPath(), "apportion ")] = flags
		}
	}
	visit(root)
	for path, flags := range want {
		shown, ok := got[path]
		if !ok {
			t.Errorf("commands.md does not have %s", path)
		}
		for _, flag := range flags {
			if ok && !slices.Contains(shown, flag) {
				t.Errorf("commands.md: the row of %s does not have %s", path, flag)
			}
		}
	}
	for path, shown := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("commands.md has %q, which is no command", path)
			continue
		}
		for _, flag := range shown {
			if !slices.Contains(want[path], flag) {
				t.Errorf("commands.md: %s has no flag %s", path, flag)
			}
		}
	}

	var common []string
	for _, row := range tables["Flags of every command"][1:] {
		common = append(common, flagRE.FindString(row[0]))
	}
	slices.Sort(common)
	all := append(flagsOf(root.PersistentFlags()), "--version")
	slices.Sort(all)
	if !slices.Equal(common, all) {
		t.Errorf("commands.md: the flags of every command are %q, want %q", common, all)
	}
}

// commandRE finds a command with its arguments, up to what ends it in a shell or in the text.
var commandRE = regexp.MustCompile("(?:\\bbin/|[$`] ?|^)apportion ([a-z-][^`|>;#\n]*)")

// Every command that a page or a message of the program shows is one, with flags that it has.
func TestPagesShowCommands(t *testing.T) {
	root := newRoot(&app{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	pages := []string{"../../README.md", "../../docs/tutorial.md"}
	for _, pattern := range []string{"../../docs/*/*.md", "../../deploy/*.y*ml", "../../*/*.go", "../../*/*/*.go"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	seen := 0
	for _, page := range pages {
		if strings.HasSuffix(page, "_test.go") {
			continue
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for _, usage := range commandRE.FindAllStringSubmatch(line, -1) {
				seen++
				cmd, rest, err := root.Find(strings.Fields(usage[1]))
				if err != nil || cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
					t.Errorf("%s: %q is no command", page, usage[0])
					continue
				}
				if len(rest) > 0 { // to be run as it is, not a name in passing
					cmd.Flags().VisitAll(func(f *pflag.Flag) {
						short := f.Shorthand != "" && strings.Contains(usage[0], " -"+f.Shorthand+" ")
						if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && !short && !strings.Contains(usage[0], "--"+f.Name) {
							t.Errorf("%s: %q lacks --%s", page, usage[0], f.Name)
						}
					})
				}
				known := append(flagsOf(cmd.Flags()), "--help", "--version")
				for c := cmd; c != nil; c = c.Parent() {
					known = append(known, flagsOf(c.PersistentFlags())...)
				}
				for _, flag := range flagRE.FindAllString(usage[0], -1) {
					if !slices.Contains(known, flag) {
						t.Errorf("%s: %s has no flag %s", page, cmd.CommandPath(), flag)
					}
				}
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d commands were found", seen)
	}
}

// The page of the configuration has every setting with its default and its environment variable, in their order.
func TestReferenceHasEverySetting(t *testing.T) {
	cfg := config.Default()
	var want []string
	for _, s := range config.Settings(&cfg) {
		value := ""
		if v := s.String(); v != "" {
			value = "`" + v + "`"
		}
		variable := ""
		if v := s.Variable(); v != "" {
			variable = "`" + v + "`"
		}
		want = append(want, fmt.Sprintf("`%s` %s %s", s.Key, value, variable))
		if s.IsList() {
			for _, member := range s.Members() {
				want = append(want, fmt.Sprintf("`%s`  ", member.Key))
			}
		}
	}
	tables := reference(t, "configuration.md")
	var got []string
	for _, row := range tables["Configuration"] {
		if len(row) == 4 && strings.Contains(row[0], ".") {
			got = append(got, row[0]+" "+row[1]+" "+row[2])
		}
	}
	for i := range max(len(got), len(want)) {
		var a, b string
		if i < len(got) {
			a = got[i]
		}
		if i < len(want) {
			b = want[i]
		}
		if a != b {
			t.Fatalf("configuration.md: row %d is %s, want %s", i+1, cmp.Or(a, "missing"), cmp.Or(b, "nothing"))
		}
	}
	for _, name := range config.OtherVariables {
		if !slices.ContainsFunc(tables["Configuration"], func(row []string) bool { return row[0] == "`"+name+"`" }) {
			t.Errorf("configuration.md does not have %s", name)
		}
	}
}

// metricNames returns every metric that the program registers, with its labels.
func metricNames() map[string][]string {
	m := newMetrics()
	m.registry.MustRegister(slices.Concat(m.ofAggregation(), m.ofSchedule(), m.ofRegistry(), m.ofHTTP())...)
	m.registry.MustRegister(lag{}, aggregationLag{})
	described := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(described)
		close(described)
	}()
	names := map[string][]string{}
	for d := range described {
		found := descRE.FindStringSubmatch(d.String())
		names[found[1]] = strings.FieldsFunc(found[2], func(r rune) bool { return r == ',' || r == ' ' })
	}
	return names
}

var descRE = regexp.MustCompile(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`)

// The page of the commands has every metric with its labels, and no other.
func TestReferenceHasEveryMetric(t *testing.T) {
	got := map[string][]string{}
	metricRE := regexp.MustCompile("`(apportion_[a-z_]+)(?:\\{([a-z_,]+)\\})?`")
	for _, row := range reference(t, "commands.md")["Metrics"][1:] {
		for _, found := range metricRE.FindAllStringSubmatch(row[0], -1) {
			got[found[1]] = strings.FieldsFunc(found[2], func(r rune) bool { return r == ',' })
		}
	}
	for name, labels := range metricNames() {
		shown, ok := got[name]
		if strings.HasPrefix(name, "apportion_") && (!ok || !slices.Equal(shown, labels)) {
			t.Errorf("commands.md has %s with the labels %q, want %q", name, shown, labels)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("commands.md has metrics that there are not: %v", got)
	}
}

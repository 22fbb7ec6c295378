package billing_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var (
	scriptName = regexp.MustCompile("`(R[0-9]+-[^`]+)`")
	testLink   = regexp.MustCompile(`\[((?:Test|Fuzz)\w+)\]\(([^)]+)\)`)
)

// exampleForm finds an example with the script that it is from, and the lines that it quotes.
var exampleForm = regexp.MustCompile("(?s)\\*\\*Example\\.\\*\\*[^*]*?\\(`(R[0-9]+-[^`]+)`\\)\n\n```\n(.*?)```")

// TestExamplesOfRules: every rule on the page has an example, and what examples quote stands in their scripts.
func TestExamplesOfRules(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "reference", "rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range regexp.MustCompile(`(?m)^## `).Split(string(text), -1)[1:] {
		heading, body, _ := strings.Cut(section, "\n")
		if strings.HasPrefix(heading, "R") && strings.Count(body, "**Example.**") != 1 {
			t.Errorf("%s has no example", heading)
		}
	}
	examples := exampleForm.FindAllStringSubmatch(string(text), -1)
	if len(examples) < 20 {
		t.Errorf("only %d examples quote a script", len(examples))
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for _, e := range examples {
		script, err := os.ReadFile(filepath.Join("testdata", "rules", e[1]+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(script)) {
			lines = append(lines, squeeze(line))
		}
		for line := range strings.Lines(e[2]) {
			if !slices.Contains(lines, squeeze(line)) {
				t.Errorf("%s has no line %q", e[1], line)
			}
		}
	}
}

// TestReferenceOfRules: the page of the rules names every script, each under a rule that it says it shows, and no script or
// test that there is not.
func TestReferenceOfRules(t *testing.T) {
	page := filepath.Join("..", "docs", "reference", "rules.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for rule := 1; rule <= 26; rule++ {
		if !strings.Contains(string(text), fmt.Sprintf("\n## R%d ", rule)) {
			t.Errorf("nothing of R%d", rule)
		}
	}
	paths, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]bool{} // whether it is named
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		script, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if rule, _, _ := strings.Cut(name, "-"); !regexp.MustCompile(`\b` + rule + `\b`).Match(script.Comment) {
			t.Errorf("%s does not say what it shows of %s", name, rule)
		}
		scripts[name] = false
	}
	for _, m := range scriptName.FindAllStringSubmatch(string(text), -1) {
		if _, ok := scripts[m[1]]; !ok {
			t.Errorf("there is no script %s", m[1])
		}
		scripts[m[1]] = true
	}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		if !scripts[name] {
			t.Errorf("the script %s is not named", name)
		}
	}
	for _, m := range testLink.FindAllStringSubmatch(string(text), -1) {
		source, err := os.ReadFile(filepath.Join(filepath.Dir(page), filepath.FromSlash(m[2])))
		if err != nil || !strings.Contains(string(source), "\nfunc "+m[1]+"(") {
			t.Errorf("there is no %s in %s", m[1], m[2])
		}
	}
}

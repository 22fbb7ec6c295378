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

// TestReferenceOfRules: the page of the rules names every script, each under a rule that it says it shows, and no script or
// test that there is not.
func TestReferenceOfRules(t *testing.T) {
	page := filepath.Join("..", "docs", "reference", "rules.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for rule := 1; rule <= 23; rule++ {
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

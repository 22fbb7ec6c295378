package console

import (
	goflag "flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apportion/schemas"
)

var update = goflag.Bool("update", false, "rewrite rules.txt from docs/reference/rules.md")

// TestRulesInShort: the rules of the console are those of the reference, by number, title and what each says first.
func TestRulesInShort(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reference", "rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, section := range regexp.MustCompile(`(?ms)^## (R\d+ .*?)\n\n(.*?)\n\n`).FindAllStringSubmatch(string(page), -1) {
		want.WriteString(section[1] + "\n" + strings.Join(strings.Fields(section[2]), " ") + "\n\n")
	}
	text := strings.TrimSpace(want.String()) + "\n"
	if *update {
		if err := os.WriteFile("rules.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != rulesText {
		t.Error("rules.txt is not what docs/reference/rules.md says: go test ./billing/web/console -run TestRulesInShort -update")
	}
	known := map[string]bool{}
	for _, r := range rulesInShort {
		if r.Title == "" || r.Text == "" || r.Anchor() == r.ID {
			t.Errorf("%q has no title, text or anchor", r.ID)
		}
		known[r.ID] = true
	}
	for _, r := range schemas.Reasons {
		if r.Rule != "" && !known[r.Rule] {
			t.Errorf("%s cites %s, which has no place to link to", r.Code, r.Rule)
		}
	}
	if len(rulesInShort) < 25 {
		t.Errorf("there are %d rules", len(rulesInShort))
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// words are not used, since the glossary has another for what they mean. A file may have one all the same where it
// quotes the rules or says something else by it.
var words = []struct {
	not *regexp.Regexp
	use string
	but []string
}{
	{regexp.MustCompile(`(?i)\bwork(s|ed|ing)? (it |them |figures )?out\b`), "compute", nil},
	{regexp.MustCompile(`(?i)\brest(s|ed)? on\b`), "based on", nil},
	{regexp.MustCompile(`(?i)\b(in|into|out of) force\b`), "current, superseded; effective; applies", []string{"docs/reference/rules.md", "billing/testdata/rules/"}},
	{regexp.MustCompile(`(?i)\bjudge[sd]?\b`), "check, decide", nil},
	{regexp.MustCompile(`(?i)\bmend(s|ed|ing)?\b`), "fix", nil},
	{regexp.MustCompile(`(?i)\banew\b`), "again, recreated", nil},
	{regexp.MustCompile(`(?i)\bfor want of\b`), "without", nil},
	{regexp.MustCompile(`(?i)\b(told|tells?) apart\b`), "distinguish", nil},
	{regexp.MustCompile(`(?i)\b(bury|buried)\b`), "dead-letter", nil},
	{regexp.MustCompile(`(?i)\blanes?\b`), "partition buffer", nil},
	{regexp.MustCompile(`(?i)\bmay come to\b|\bwhat (it|they) comes? to\b`), "may; total, adds up to", []string{"billing/testdata/rules/"}},
	{regexp.MustCompile(`\bheld usage\b|usage (that is )?held\b`), "usage of an unknown tenant", nil},
}

// TestWords: code, SQL, messages and pages keep to docs/reference/glossary.md.
func TestWords(t *testing.T) {
	root := filepath.Join("..", "..")
	list := exec.CommandContext(t.Context(), "git", "ls-files", "*.go", "*.sql", "*.md", "*.txtar", "*.yaml", "*.json")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if len(files) < 300 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		switch {
		case file == "cmd/apportion/words_test.go", file == "docs/reference/glossary.md",
			strings.HasPrefix(file, "cmd/apportion/testdata/cases/"), strings.HasPrefix(file, "cmd/apportion/month/"):
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, w := range words {
				if word := w.not.FindString(line); word != "" && !exempt(file, w.but) {
					t.Errorf("%s:%d: %q; the glossary has: %s", file, n+1, word, w.use)
				}
			}
		}
	}
}

func exempt(file string, but []string) bool {
	for _, prefix := range but {
		if strings.HasPrefix(file, prefix) {
			return true
		}
	}
	return false
}

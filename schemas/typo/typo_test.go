package typo_test

import (
	"slices"
	"testing"

	"apportion/schemas/typo"
)

func TestHint(t *testing.T) {
	known := []string{"terms", "versions", "currency", "to", "openSessionHours"}
	for name, want := range map[string]string{
		"curency":          "; did you mean currency?",
		"TERMS":            "; did you mean terms?",
		"trems":            "; did you mean terms?",
		"opensessionhour":  "; did you mean openSessionHours?",
		"form":             "",
		"colour":           "",
		"somethingelse":    "",
		"versionsversions": "",
	} {
		if got := typo.Hint(name, known); got != want {
			t.Errorf("Hint(%q) = %q, want %q", name, got, want)
		}
	}
	if got := typo.Hint("terms", nil); got != "" {
		t.Errorf("Hint with nothing known = %q", got)
	}
}

func TestNear(t *testing.T) {
	known := []string{"globex", "ACME", "acme-eu", "acne", "acme2"}
	for name, want := range map[string][]string{
		"acmee":  {"ACME", "acme2", "acme-eu"},
		"acme-e": {"acme-eu", "ACME", "acme2"},
		"nobody": nil,
	} {
		if got := typo.Near(name, known, 3); !slices.Equal(got, want) {
			t.Errorf("near %q are %q, want %q", name, got, want)
		}
	}
}

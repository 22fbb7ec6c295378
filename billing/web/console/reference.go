package console

import (
	_ "embed"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"apportion/schemas"
)

func (c *Console) referenceScreens() []screen {
	return []screen{
		{path: "/docs/reference/codes", needs: "getMe", show: c.codes},
		{path: "/docs/reference/rules", needs: "getMe", show: c.rules},
	}
}

// codeGroup is the codes of a kind, without those that are listed under one before.
type codeGroup struct {
	Title string
	Codes []codeEntry
}

// codeEntry is a code with all that is known of it.
type codeEntry struct {
	schemas.Reason
	// Status is that of the API's answer with it, "" where none has it.
	Status string
	// Also are the other kinds that it is of.
	Also []string
}

// answered are the kinds of codes that an answer of the API is for.
const answered = schemas.RefusesCommand | schemas.StopsTenant | schemas.RefusesIssue | schemas.LeavesOutFile |
	schemas.NotThere | schemas.RefusesRequest

// codes lists every code with what is the case and what to do, for the links that problems and findings have.
func (c *Console) codes(p *page) error {
	var groups []codeGroup
	listed := map[schemas.Code]bool{}
	for _, kind := range schemas.KindTitles {
		group := codeGroup{Title: kind.Title}
		for _, r := range schemas.Reasons {
			if r.Kinds&kind.Kind == 0 || listed[r.Code] || !matchesCode(r, p.Query("q")) {
				continue
			}
			listed[r.Code] = true
			entry := codeEntry{Reason: r}
			if r.Kinds&answered != 0 {
				entry.Status = strconv.Itoa(r.Code.Status())
			}
			for _, other := range schemas.KindTitles {
				if other.Kind != kind.Kind && r.Kinds&other.Kind != 0 {
					entry.Also = append(entry.Also, other.Title)
				}
			}
			group.Codes = append(group.Codes, entry)
		}
		if len(group.Codes) > 0 {
			groups = append(groups, group)
		}
	}
	return p.show("codes", "Codes", groups)
}

// matchesCode reports whether a code or what it says has a word.
func matchesCode(r schemas.Reason, word string) bool {
	text := strings.ToLower(strings.Join([]string{string(r.Code), r.Rule, r.Title, r.Advice}, " "))
	return strings.Contains(text, strings.ToLower(word))
}

// rulesText has the billing rules in short: the heading of each, and what it says. A test holds it to the reference.
//
//go:embed rules.txt
var rulesText string

// ruleEntry is a billing rule in short.
type ruleEntry struct {
	ID, Title, Text string
	// Codes are those that the rule gives.
	Codes []schemas.Code
}

// rulesInShort are the billing rules, by number.
var rulesInShort = func() (entries []ruleEntry) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(rulesText), "\n\n") {
		heading, text, _ := strings.Cut(paragraph, "\n")
		id, title, _ := strings.Cut(heading, " ")
		entries = append(entries, ruleEntry{ID: id, Title: title, Text: text})
	}
	return entries
}()

// Anchor is what links to the rule go to.
func (r ruleEntry) Anchor() string { return strings.ToLower(r.ID) }

// Words are what the rule says, with its names of code as such.
func (r ruleEntry) Words() template.HTML {
	var b strings.Builder
	for n, part := range strings.Split(strings.ReplaceAll(r.Text, "*", ""), "`") {
		if n%2 == 1 {
			part = "<code>" + template.HTMLEscapeString(part) + "</code>"
		} else {
			part = template.HTMLEscapeString(part)
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}

// rules lists the billing rules in short, for the links that cite them.
func (c *Console) rules(p *page) error {
	entries := slices.Clone(rulesInShort)
	for i := range entries {
		for _, r := range schemas.Reasons {
			if r.Rule == entries[i].ID {
				entries[i].Codes = append(entries[i].Codes, r.Code)
			}
		}
	}
	return p.show("rules", "Billing rules", entries)
}

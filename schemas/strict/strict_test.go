package strict_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"apportion/schemas"
	"apportion/schemas/strict"
)

// read reads documents that have a name and a list of parts, each with a name of its own.
func read(document string) (names []string, problems []string) {
	r, root := strict.Read([]byte(document))
	var name string
	var parts []string
	if root != nil && !strict.Null(root) {
		r.Object("", root, strict.Fields{
			"name": r.Text(&name),
			"parts": strict.List(r, "name", &parts, func(path string, n *strict.Node) (part string) {
				r.Object(path, n, strict.Fields{"name": r.Text(&part)})
				return part
			}),
		})
	}
	for _, p := range r.Problems {
		problems = append(problems, fmt.Sprintf("%d %s %s: %s", p.Line, p.Code, p.Path, p.Message))
	}
	return append([]string{name}, parts...), problems
}

func TestYAMLAndJSONReadTheSame(t *testing.T) {
	want := []string{"7", "a", "a"}
	for _, document := range []string{
		"name: 007\nparts: [&p {name: a}, *p]\n", "\ufeffname: !!str 007\nparts:\n- name: a\n- name: a\n  ",
		`{"name": "007", "parts": [{"name": "a"}, {"name": "\u0061"}]}`,
	} {
		names, problems := read(document)
		names[0] = strings.TrimLeft(names[0], "0")
		if !slices.Equal(names, want) || len(problems) > 0 {
			t.Errorf("%s: %q, %q", document, names, problems)
		}
	}
}

func TestNothingIsNoProblem(t *testing.T) {
	for _, document := range []string{"", "\n", "# only a comment\n", "~", "name: ~\nparts:\n", `{"name": null}`} {
		if names, problems := read(document); len(names) != 1 || names[0] != "" || len(problems) > 0 {
			t.Errorf("%q: %q, %q", document, names, problems)
		}
	}
}

// TestEveryProblemIsTold with its line, its path and what to do.
func TestEveryProblemIsTold(t *testing.T) {
	for document, want := range map[string][]string{
		"nam: a\n\nname: [b]\nzzz: 1": {
			"1 unknown_field nam: no such field here; did you mean name?", "3 invalid_field name: write text here, not a list",
			"4 unknown_field zzz: no such field here"},
		"parts:\n- name: a\n  name: b": {"3 invalid_field parts[b].name: repeated: it already stands on line 2; keep one of them"},
		"parts: {name: a}":             {"1 invalid_field parts: write a list here, not fields with names"},
		"{\n\"name\": 7,\n\"parts\": [true]}": {
			"2 invalid_field name: write text here, in quotes", "3 invalid_field parts[0]: write fields with names here, not a single value"},
		"[1]": {"1 invalid_field : write fields with names here, not a list"},
	} {
		if _, problems := read(document); !slices.Equal(problems, want) {
			t.Errorf("%s:\n got %q\nwant %q", document, problems, want)
		}
	}
	for document, line := range map[string]string{"name: ]": "1", "a: 1\n---\nb: 2": "", "{": "1", "{} {}": "1", "{\n\"name\": \"\\ud800\"}": "2"} {
		_, problems := read(document)
		if len(problems) != 1 || !strings.HasPrefix(problems[0], line) || !strings.Contains(problems[0], " malformed_document : not one ") {
			t.Errorf("%s: %q", document, problems)
		}
	}
}

// TestAliasesThatMultiply: a page of text cannot fill the memory.
func TestAliasesThatMultiply(t *testing.T) {
	r, root := strict.Read([]byte("a: &a [x, x]\n" + "b: &b [" + strings.Repeat("*a, ", 1000) + "]\n" + "c: [" + strings.Repeat("*b, ", 1000) + "]\n"))
	seen := 0
	var walk func(path string, n *strict.Node)
	walk = func(path string, n *strict.Node) {
		n, leave := r.Enter(n)
		defer leave()
		seen++
		for _, child := range n.Content {
			walk(path, child)
		}
	}
	walk("", root)
	if len(r.Problems) != 1 || r.Problems[0].Code != schemas.MalformedDocument || seen > 1_100_000 {
		t.Errorf("%d nodes and %v", seen, r.Problems)
	}
}

package schemas

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/reference/codes.md from the codes")

// namedByRules are the codes that the rules and the contracts of events and files name. Those of R25 come with it.
var namedByRules = strings.Fields(`
	too_large malformed_json not_cloudevents missing_field unknown_type invalid_field misspelt_field end_before_start
	implausible_duration
	invalid_currency duplicate_subscription immutable_field invalid_versions invalid_commitment mixed_licence_model
	telephony_mismatch stale_base
	missing_price as_of_future unbalanced
	refused_correction refused never_billed ahead unknown_tenant open_session unmapped unknown_subscription conflict
	open_peak same_person
	missing_bill_to unsupported_currency`)

func TestCodesAreListedOnce(t *testing.T) {
	seen := map[Code]bool{}
	for _, r := range Reasons {
		if seen[r.Code] || r.Kinds == 0 || r.Title == "" || r.Advice == "" {
			t.Errorf("%s is there twice, or lacks a kind, a title or an advice", r.Code)
		}
		seen[r.Code] = true
		if strings.Contains(r.Advice, "`") || strings.Contains(r.Advice, "apportion ") || strings.HasSuffix(r.Advice, ".") {
			t.Errorf("the advice on %s names a command, or does not go on after a semicolon: %s", r.Code, r.Advice)
		}
		if got := r.Code; got.Title() != r.Title || got.Rule() != r.Rule || got.Advice() != r.Advice {
			t.Errorf("%s says %q (%s) %q", got, got.Title(), got.Rule(), got.Advice())
		}
	}
	for _, name := range namedByRules {
		if !seen[Code(name)] {
			t.Errorf("the rules name %s, which is not listed", name)
		}
	}
	if unknown := Code("no_such_code"); unknown.Advice() != "" || unknown.Title() != "" || unknown.Rule() != "" {
		t.Error("something is known of a code that there is not")
	}
	if got := CodesOf(RefusesDelivery); len(got) != 9 || got[0] != TooLarge || got[8] != ImplausibleDuration {
		t.Errorf("deliveries are refused by %v", got)
	}
}

// otherWords are words that happen to be codes.
var otherWords = []string{
	"aggregate/clickhouse/query.go unknown_tenant", // a column
	"billing/service/rejected.go refused",          // what became of a delivery that was sent again
	"aggregate/clickhouse/notes.go refused",        // a query
	"billing/web/console/balance.go refused",       // a part of what was read
	"cmd/apportion/metrics.go refused",             // what became of a command
	"billing/web/console/periods.go held",          // how far a period is
}

// TestCodesAreGiven: each code that is listed is given somewhere, by its constant, and none that is not listed.
func TestCodesAreGiven(t *testing.T) {
	constants := constantsOfCodes(t)
	if len(constants) != len(Reasons) {
		t.Errorf("there are %d constants, and %d codes are listed", len(constants), len(Reasons))
	}
	given := map[string]bool{} // constants
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != ".." {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") ||
			filepath.ToSlash(path) == "../schemas/codes.go" {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if name := constantIn(file, n); name != "" {
				given[name] = true
			}
			if code := looseCode(filepath.ToSlash(path), n); code != "" {
				t.Errorf("%s: %q is no constant of the list of codes", files.Position(n.Pos()), code)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range constants {
		if !given[name] {
			t.Errorf("%s is listed, and nothing gives it", code)
		}
	}
}

// constantsOfCodes returns the codes of codes.go by the names of their constants.
func constantsOfCodes(t *testing.T) map[string]Code {
	list, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]Code{}
	ast.Inspect(list, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 {
			if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Code" {
				constants[spec.Names[0].Name] = Code(literal(spec.Values[0]))
			}
		}
		return true
	})
	return constants
}

// constantIn returns the name by which a node may mean a constant of this package.
func constantIn(file *ast.File, n ast.Node) string {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "schemas" {
			return n.Sel.Name
		}
	case *ast.Ident:
		if file.Name.Name == "schemas" {
			return n.Name
		}
	}
	return ""
}

// looseCode returns the code that a node gives by its text: one that is listed, or one that is not.
func looseCode(path string, n ast.Node) string {
	switch n := n.(type) {
	case *ast.BasicLit:
		word := literal(n)
		listed := slices.ContainsFunc(Reasons, func(r Reason) bool { return string(r.Code) == word })
		if listed && !slices.Contains(otherWords, strings.TrimPrefix(path, "../")+" "+word) {
			return word
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
			return literal(n.Value)
		}
	case *ast.CallExpr:
		if at := slices.IndexFunc(n.Args, isCode); at >= 0 && gives(n.Fun) {
			return literal(n.Args[at])
		}
	}
	return ""
}

// gives reports whether a function takes a code, or makes one.
func gives(function ast.Expr) bool {
	name := ""
	switch f := function.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	return slices.Contains([]string{"Code", "Refuse", "refuse", "refusal", "reject", "newStop", "warningOf", "add"}, name)
}

// isCode reports whether an argument is a literal that looks like a code.
func isCode(argument ast.Expr) bool {
	word := literal(argument)
	return strings.Contains(word, "_") && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func literal(n ast.Expr) string {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	word, _ := strconv.Unquote(lit.Value)
	return word
}

const codesIntro = `<!-- Written by: go test ./schemas -update. The text comes from schemas/codes.go. -->

# Codes

Whatever is refused, stopped or found has a code. It is the same in messages, in JSON, in files, tables and metrics, and
it does not change. Beside it are the [rule](rules.md), what is the case, and what to do.
`

// kindIntros say more of the kinds.
var kindIntros = map[CodeKind]string{
	RefusesDelivery: "The first that applies, in this order. " +
		"The [event contract](events.md#why-a-delivery-is-refused) has what each means.",
	RefusesCommand:  "[Nothing of a refused document](../how-to/change-the-registry.md) is applied.",
	WarnsOfDocument: "They refuse nothing.",
	StopsTenant:     "[The others go on](../how-to/when-a-tenant-is-stopped.md).",
	RefusesIssue:    "Of all tenants.",
	IsFinding:       "[They stop nothing](findings.md), and are shown in this order (R24).",
	LeavesOutFile:   "[The others are written](invoice-files.md).",
	NotThere:        "On a terminal and over HTTP, with the status that the [API](api.md) answers.",
	RefusesRequest: "By the [API](api.md), with its status. A command that a rule refuses has the " +
		"codes of documents and commands, with 409; `stale_base` has 412 and `reused_id` 422.",
}

// TestPageOfCodes holds docs/reference/codes.md to the codes.
func TestPageOfCodes(t *testing.T) {
	var page strings.Builder
	page.WriteString(codesIntro)
	text := strings.NewReplacer("<", `\<`, "|", `\|`)
	for _, k := range KindTitles {
		column := "rule"
		if k.Kind == NotThere || k.Kind == RefusesRequest {
			column = "status"
		}
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\n| code | %s | what | what to do |\n|---|---|---|---|\n", k.Title, kindIntros[k.Kind], column)
		for _, code := range CodesOf(k.Kind) {
			cell := code.Rule()
			if column == "status" {
				cell = strconv.Itoa(code.Status())
			}
			fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", code, cell, text.Replace(code.Title()), text.Replace(code.Advice()))
		}
	}
	path := filepath.Join("..", "docs", "reference", "codes.md")
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was, err := os.ReadFile(path); err != nil || string(was) != page.String() {
		t.Errorf("%s is not what the codes say (%v): go test ./schemas -run TestPageOfCodes -update", path, err)
	}
}

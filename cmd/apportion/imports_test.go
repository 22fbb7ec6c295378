package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "apportion/"

// layers is the import graph: which packages of ours each may import, and why no others. A package that is not
// here has no place yet, and one may always import what lies in its own row's folder when it ends in "...".
var layers = []struct {
	pkg string
	may []string
	why string
}{
	{"schemas/...", nil, "the contracts are the leaf that everybody may import"},
	{"ingest", []string{"ingest/kafka", "schemas/..."}, "ingest takes every delivery in, whatever billing makes of it later"},
	{"ingest/kafka", []string{"schemas/..."}, "the client of Kafka hands records on and knows no table"},
	{"ingest/kafka/kafkatest", []string{"ingest/kafka", "deploy/embedded/servicetest", "schemas/..."}, "tests of ingest and of its client share it"},
	{"aggregate", []string{"schemas/..."}, "usage is measured by what the timelines say, not by rules of its own"},
	{"aggregate/clickhouse", []string{"aggregate", "schemas/..."}, "SQL measures usage and knows nothing of invoices"},
	{"billing/registry", []string{"schemas/..."}, "the registry decides commands from commands alone"},
	{"billing", []string{"billing/registry", "aggregate", "schemas/..."}, "the rules are pure: stores and files come after them"},
	{"billing/clickhouse", []string{"billing", "billing/registry", "aggregate", "schemas/..."}, "a store keeps what billing decides and decides nothing"},
	{"billing/export", []string{"billing", "billing/registry", "billing/export/pdf", "aggregate", "schemas/..."}, "files show invoices and never read a store"},
	{"billing/export/pdf", []string{"billing", "billing/registry", "billing/export/pdf/fonts", "aggregate", "schemas/..."}, "a page shows one invoice, whatever other files there are of it"},
	{"billing/export/pdf/fonts", nil, "it sets any text for a page and knows nothing of invoices"},
	{"billing/service", []string{"billing", "billing/registry", "billing/export", "aggregate", "ingest", "ingest/kafka", "schemas/..."}, "a use case is the same on a terminal, in the API and on a page: it prints nothing and names no driver"},
	{"billing/web", []string{"billing/web/access", "billing/web/auth", "billing/web/console", "billing/service", "billing", "billing/registry", "billing/export", "aggregate", "schemas/..."}, "handlers call use cases and see no store"},
	{"billing/web/auth", []string{"billing/web/access", "schemas/..."}, "who asks does not depend on what for"},
	{"billing/web/console", []string{"billing/web/access", "schemas", "schemas/civil"}, "pages ask the API and nothing else, as any program"},
	{"billing/web/access", []string{"billing/registry"}, "who may do what is a table, and opens nothing"},
	{"deploy/embedded", nil, "the local servers are servers like any other and know nothing of us"},
	{"deploy/embedded/servicetest", []string{"deploy/embedded"}, "tests of every package share it"},
	{"schemas/tables/tablestest", []string{"schemas/tables", "deploy/embedded/servicetest"}, "tests of every package share it"},
	{"cmd/apportion/config", []string{"ingest/...", "billing", "billing/registry", "billing/export", "billing/web/access", "billing/web/auth", "schemas/..."}, "settings are checked by whoever they are for, and nothing is opened while they are read"},
	{"cmd/apportion", []string{"..."}, "main wires everything"},
}

// confined lists modules that only some packages may import, and why.
var confined = []struct {
	path string
	to   []string
	why  string
}{
	{"github.com/segmentio/kafka-go", []string{"ingest/kafka"}, "rules that know the broker cannot be tested without it"},
	{"github.com/ClickHouse/clickhouse-go", []string{"schemas/tables/tablestest", "ingest", "aggregate/clickhouse", "billing/clickhouse", "cmd/apportion"}, "rules that know the database cannot be tested without it"},
	{"github.com/twmb/franz-go", []string{"deploy/embedded", "ingest/kafka/kafkatest"}, "it serves the embedded broker; clients use kafka-go, as against any other, and tests what that lacks"},
	{"github.com/ebitengine/purego", []string{"deploy/embedded"}, "only the child process that is ClickHouse loads a library"},
	{"github.com/go-text/typesetting", []string{"billing/export/pdf/fonts"}, "a page asks for lines of text and does not care how glyphs are chosen"},
	{"github.com/robfig/cron", []string{"cmd/apportion/..."}, "a billing run is a plain function of a period; when it runs is the program's business"},
	{"github.com/parquet-go/parquet-go", []string{"cmd/apportion"}, "evidence streams from the database to a file, which only the program sees both of"},
	{"github.com/danielgtaylor/huma", []string{"billing/web"}, "use cases know no request; another framework would be one package's change"},
	{"github.com/arran4/golang-ical", []string{"billing/web"}, "dates on which access is lost are rules; a calendar is one form of them"},
	{"github.com/xuri/excelize", []string{"billing/export"}, "it takes floats for numbers; only the file that knows which are exact may hand it any"},
	{"go.opentelemetry.io/otel", []string{"schemas/traces", "cmd/apportion"}, "what is traced says no more than schemas/traces lets it, and where it goes is the program's business"},
	{module + "schemas/tables/tablestest", nil, "only tests make databases that go when they end"},
	{module + "ingest/kafka/kafkatest", nil, "only tests make topics of their own"},
	{"database/sql", []string{"schemas/tables/...", "cmd/apportion"}, "only migrations need it; everything else speaks the native protocol"},
	{"math/rand", []string{"schemas/retry"}, "the same events must give the same bytes (R23); only waiting is random"},
	{"os", []string{"billing/export", "deploy/embedded", "deploy/embedded/servicetest", "schemas/tables/tablestest", "cmd/apportion/..."}, "what a rule depends on comes in as a value"},
}

// A word of Go source that some packages may not use.
var banned = []struct {
	name *regexp.Regexp // an identifier, or a selector such as time.Now
	in   []string
	but  []string // files that may all the same
	why  string
}{
	{regexp.MustCompile(`(^|\.)(float(32|64)|(Parse|Append|Format)Float|NewFromFloat\w*|(Inexact)?Float64)$`),
		[]string{"schemas/...", "ingest/...", "aggregate/...", "billing/..."},
		[]string{"billing/export/workbook.go"}, // how wide columns are
		"quantities and money are exact"},
	{regexp.MustCompile(`^time\.(Now|Since|Until|Sleep|After|Tick|NewTimer|NewTicker|Local|LoadLocation)$`),
		[]string{"schemas", "schemas/civil", "aggregate", "billing", "billing/registry", "billing/export", "billing/export/pdf"},
		[]string{"aggregate/worker.go"}, // how long a look takes, and rests
		"time comes in as a value, and zones from the data that is embedded (R23)"},
}

// goPackage is what go list says of a package, as far as it ships: tests are left out.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func ourPackages(t *testing.T) []goPackage {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	list.Dir = filepath.Join("..", "..")
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 5 {
		t.Fatalf("go list names %d packages only: %v", len(packages), packages)
	}
	return packages
}

// matches reports whether a package, without the module's name, is one of those a pattern means.
func matches(pattern, pkg string) bool {
	folder, deep := strings.CutSuffix(pattern, "...")
	return pkg == pattern || deep && strings.HasPrefix(pkg+"/", folder)
}

func anyMatches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, pkg) })
}

func TestImportGraph(t *testing.T) {
	for _, p := range ourPackages(t) {
		row := -1
		for i := range layers {
			if matches(layers[i].pkg, p.name()) {
				row = i
			}
		}
		if row < 0 {
			t.Errorf("%s has no place in the import graph: it needs a row that says what it may import", p.name())
			continue
		}
		for _, imported := range p.Imports {
			if own, ok := strings.CutPrefix(imported, module); ok && !anyMatches(append(layers[row].may, layers[row].pkg), own) {
				t.Errorf("%s imports %s, but %s", p.name(), own, layers[row].why)
			}
			for _, c := range confined {
				if (imported == c.path || strings.HasPrefix(imported, c.path+"/")) && !anyMatches(c.to, p.name()) {
					t.Errorf("%s imports %s, but %s", p.name(), imported, c.why)
				}
			}
		}
	}
}

func TestBannedWords(t *testing.T) {
	for _, p := range ourPackages(t) {
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, ban := range banned {
				if !anyMatches(ban.in, p.name()) || slices.Contains(ban.but, p.name()+"/"+name) {
					continue
				}
				ast.Inspect(file, func(n ast.Node) bool {
					if word := wordOf(n); ban.name.MatchString(word) {
						at := files.Position(n.Pos())
						t.Errorf("%s/%s:%d uses %s, but %s", p.name(), name, at.Line, word, ban.why)
						return false
					}
					return true
				})
			}
		}
	}
}

// wordOf returns an identifier, a selector with the name before its point, or for a literal with a fraction the
// type that it has by itself.
func wordOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.Ident:
		return n.Name
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok {
			return x.Name + "." + n.Sel.Name
		}
	case *ast.BasicLit:
		if n.Kind == token.FLOAT && strings.ContainsAny(n.Value, ".-") { // 1e6 is a whole number
			return "float64"
		}
	}
	return ""
}

var sentenceEnd = regexp.MustCompile(`[.!?](\s|$)`)

// A package comment of two sentences can say where the data comes from and where it goes.
func TestPackageComments(t *testing.T) {
	for _, p := range ourPackages(t) {
		var comment string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if text := file.Doc.Text(); text != "" && comment != "" {
				t.Errorf("%s has more than one package comment, the second in %s", p.name(), name)
			} else if text != "" {
				comment = text
			}
		}
		if len(sentenceEnd.FindAllString(comment, -1)) < 2 {
			t.Errorf("%s: its package comment must say in two sentences or more what it is for and where its data comes from and goes, not %s", p.name(), strconv.Quote(comment))
		}
	}
}

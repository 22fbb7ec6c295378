package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
)

// demoed is what a test reads of `demo --json`.
type demoed struct {
	Files   string `json:"files"`
	Balance struct {
		Partitions []struct {
			Read     int64 `json:"read"`
			Accepted int64 `json:"accepted"`
		} `json:"partitions"`
		Rejected map[string]int64 `json:"rejected"`
		Total    map[string]int64 `json:"total"`
	} `json:"balance"`
}

// demo runs the program's demo, which must end with exit code 0, or with 3 where nothing is found but files that a
// tenant cannot have, and bills that are known to lack something (R24), and returns its result.
func demo(t *testing.T, args ...string) demoed {
	t.Helper()
	servicetest.ClickHouse(t) // or skip
	var stdout, stderr bytes.Buffer
	args = append([]string{"demo", "--json"}, args...)
	code := run(context.Background(), args, nil, nil, &stdout, &stderr)
	if code != exitDone && (code != exitFindings || !onlyKnown(stderr.String())) {
		t.Fatalf("apportion %s: exit code %d\n%s", strings.Join(args, " "), code, stderr.String())
	}
	var result demoed
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// wantLines compares lines.csv below a directory with the lines expected, in the columns that those have.
func wantLines(t *testing.T, dir, want string) {
	t.Helper()
	read := func(path string) [][]string {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	wanted, got := read(want), read(filepath.Join(dir, "lines.csv"))
	for i := range got {
		got[i] = got[i][:len(wanted[0])]
	}
	for i := 0; i < max(len(got), len(wanted)); i++ {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", strings.Join(wanted[i], ","))
		case i >= len(wanted):
			t.Errorf("too many: %s", strings.Join(got[i], ","))
		case !slices.Equal(got[i], wanted[i]):
			t.Errorf("row %d is  %s\n     want %s", i+1, strings.Join(got[i], ","), strings.Join(wanted[i], ","))
		}
		if t.Failed() && i > 20 {
			t.FailNow()
		}
	}
}

// TestRealMonth: the demo without flags gives the lines of the shipped month that were computed apart from this
// code.
func TestRealMonth(t *testing.T) {
	out := t.TempDir()
	result := demo(t, "--out", out)
	if want := filepath.Join(out, "1999-02"); result.Files != want {
		t.Errorf("the files are said to be in %s, want %s", result.Files, want)
	}
	wantLines(t, filepath.Join(out, "1999-02"), filepath.Join("testdata", "real-1999-02.lines.csv"))
	if counted, duplicate, superseded := result.Balance.Total["counted"], result.Balance.Total["duplicate"], result.Balance.Total["superseded"]; counted != 40050 || duplicate != 412 || superseded != 534 {
		t.Errorf("%d counted, %d duplicate, %d superseded; want 40050, 412, 534", counted, duplicate, superseded)
	}
}

// TestCases runs six made months through the program: a preview within the month, then a first issue, and what becomes
// of the deliveries must be as computed apart from this code. case.json says what is nasty in each.
func TestCases(t *testing.T) {
	servicetest.Heavy(t, "it bills six months")
	dirs, err := filepath.Glob(filepath.Join("testdata", "cases", "*"))
	if err != nil || len(dirs) != 6 {
		t.Fatalf("%d cases, %v; want 6", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			var about struct {
				Period string `json:"period"`
				AsOf   string `json:"preview_as_of"`
			}
			readJSON(t, filepath.Join(dir, "case.json"), &about)
			data, out := t.TempDir(), t.TempDir()

			drafted := demo(t, "--registry", filepath.Join(dir, "registry.json"), "--events", filepath.Join(dir, "events.ndjson.gz"),
				"--period", about.Period, "--as-of", about.AsOf, "--data", data, "--out", out)
			wantLines(t, filepath.Join(out, about.Period+".draft"), filepath.Join(dir, "preview.csv"))
			wantCounts(t, drafted, filepath.Join(dir, "counts.json"))

			issueDemo(t, data, about.Period, out)
			wantLines(t, filepath.Join(out, about.Period), filepath.Join(dir, "lines.csv"))

			for _, name := range []string{about.Period, about.Period + ".draft"} {
				wantVerified(t, filepath.Join(out, name))
			}
		})
	}
}

// issueDemo issues a period of what a demo has left in its data directory, to the same files as the demo.
func issueDemo(t *testing.T, data, period, out string) {
	t.Helper()
	servers, err := embedded.Start(t.Context(), embedded.Options{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Stop()
	args := []string{"bill", "issue", "--period", period, "--as-of", "2030-01-01T00:00:00Z", "--allow-future", "--out", out}
	seller := sampleSeller()
	for _, setting := range []string{"kafka.brokers=" + servers.Kafka, "clickhouse.addr=" + servers.ClickHouse,
		"seller.name=" + seller.Name, "seller.vatId=" + seller.VATID, "seller.address.country=" + seller.Address.Country} {
		args = append(args, "--set", setting)
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, nil, nil, &stdout, &stderr)
	if text := stderr.String(); code != exitDone && (code != exitFindings || !onlyKnown(text)) {
		t.Fatalf("apportion %s: exit code %d\n%s", strings.Join(args, " "), code, text)
	}
}

// onlyKnown reports whether what a program said at its end is that files are left out that a tenant cannot have, or
// that bills are known to lack something (R24), and nothing else.
func onlyKnown(stderr string) bool {
	_, said, ok := strings.Cut(stderr, "\napportion: ")
	for line := range strings.Lines(said) {
		ok = ok && (strings.HasPrefix(line, "not all files could be written: ") || strings.HasPrefix(line, "done, with findings (R24): "))
	}
	return ok
}

// wantVerified checks a directory of files as its user does, and what it has for programs by the schemas.
func wantVerified(t *testing.T, dir string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"verify", "--offline", dir}, nil, nil, &stdout, &stderr); code != exitDone {
		t.Errorf("apportion verify: exit code %d\n%s%s", code, stdout.String(), stderr.String())
	}
	for _, name := range []string{"invoices", "manifest"} {
		schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "billing", "export", name+".schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		var document any
		readJSON(t, filepath.Join(dir, name+".json"), &document)
		if err := schema.Validate(document); err != nil {
			t.Error(err)
		}
	}
}

// wantCounts compares what became of the deliveries with what counts.json says (R22).
func wantCounts(t *testing.T, result demoed, path string) {
	t.Helper()
	var want map[string]json.RawMessage
	readJSON(t, path, &want)
	var read, accepted int64
	for _, p := range result.Balance.Partitions {
		read += p.Read
		accepted += p.Accepted
	}
	got := map[string]any{"read": read, "rejected": result.Balance.Rejected}
	for name, n := range result.Balance.Total {
		got[name] = n
	}
	if accepted != result.Balance.Total["accepted"] {
		t.Errorf("the ledger has %d accepted deliveries, the tenants %d", accepted, result.Balance.Total["accepted"])
	}
	got["held"] = got["unknownTenant"] // as counts.json calls it
	for name, raw := range want {
		if name == "identities" { // which the balance does not have
			continue
		}
		var wanted any
		if err := json.Unmarshal(raw, &wanted); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if x, y := canonical(t, got[name]), canonical(t, wanted); x != y {
			t.Errorf("%s: %s, want %s", name, x, y)
		}
	}
}

func canonical(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"apportion/aggregate"
	"apportion/billing"
)

func manifestOf(t *testing.T, dir string) *Manifest {
	t.Helper()
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestManifest(t *testing.T) {
	made := write(t, t.TempDir(), taxedMonth())
	m := manifestOf(t, made)
	if got, err := json.Marshal(m.Totals); err != nil || string(got) != `[{"currency":"JPY","invoices":1,"lines":1,"net":"30000","tax":"0","gross":"0"},`+
		`{"currency":"KWD","invoices":1,"lines":1,"net":"2.259","tax":"0.565","gross":"2.824"},{"currency":"SEK","invoices":1,"lines":7,"net":"15003003.24","tax":"3750893.81","gross":"18753897.05"},`+
		`{"currency":"USD","invoices":2,"lines":2,"net":"0.00","tax":"0.00","gross":"0.00"}]` {
		t.Errorf("the totals are %s, %v", got, err)
	}
	// Two tenants were billed at one moment and the third later.
	if len(m.Basis) != 2 || strings.Join(m.Basis[0].Tenants, " ") != "acme gamma" || m.Basis[1].RegistryOffset != 5 {
		t.Errorf("it is based on %+v", m.Basis)
	}
	if got := m.Basis[0].Positions; len(got) != 3 || got[0] != (aggregate.Position{Topic: "usage.agent.v1", Partition: 0, LastOffset: 40}) {
		t.Errorf("the ledger is %v", got)
	}
	if len(m.Files) != 7+2*5 {
		t.Errorf("%d files", len(m.Files))
	}
	for _, f := range m.Files {
		content := read(t, filepath.Join(made, f.Path))
		if sum := sha256.Sum256([]byte(content)); int64(len(content)) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 {
			t.Errorf("%+v is not what is there", f)
		}
	}
}

func TestManifestSchema(t *testing.T) {
	plainly(t)
	schema, err := jsonschema.NewCompiler().Compile("manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	run := monthRun()
	run.Accounts["acme"].Tenant.BillTo = nil
	dir, refusals, err := Write(t.TempDir(), sentBy(run, billing.Seller{}))
	if err != nil || len(refusals) != 7 {
		t.Fatalf("%v, %v", refusals, err)
	}
	whole := read(t, filepath.Join(dir, ManifestName))
	if err := validate(t, schema, whole); err != nil {
		t.Error(err)
	}
	for what, change := range map[string][2]string{
		"an amount that is a number": {`"net": "30000"`, `"net": 30000`},
		"a hash of another kind":     {`"sha256": "`, `"sha256": "0`},
		"a refusal without a code":   {`"code": "missing_bill_to",`, ``},
		"no word on the draft":       {`"draft": false,`, ``},
	} {
		if !strings.Contains(whole, change[0]) {
			t.Errorf("%s: nothing to change", what)
		} else if err := validate(t, schema, strings.Replace(whole, change[0], change[1], 1)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// TestLeftOut: what one tenant cannot have is left out for it and named, and the others have theirs.
func TestLeftOut(t *testing.T) {
	plainly(t)
	run := monthRun()
	run.Accounts["acme"].Tenant.BillTo = nil
	made, refusals, err := Write(t.TempDir(), run)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range refusals {
		got = append(got, r.Tenant+" "+r.File+" "+string(r.Code))
	}
	want := []string{"acme pdf/INV-Sub1-202610.pdf missing_bill_to", "acme ubl/INV-Sub1-202610.xml missing_bill_to",
		"acme pdf/INV-Sub2-202610.pdf missing_bill_to", "acme ubl/INV-Sub2-202610.xml missing_bill_to"}
	if !slices.Equal(got, want) {
		t.Errorf("refused\n%q, want\n%q", got, want)
	}
	m := manifestOf(t, made)
	if len(m.LeftOut) != 4 || *m.LeftOut[0] != *refusals[0] {
		t.Errorf("the manifest leaves out %v", m.LeftOut)
	}
	wantEntries(t, filepath.Join(made, "pdf"), "INV-Named-202610.pdf", "INV-Prepaid-202610.pdf", "INV-Yen-202610.pdf")
	if found, err := m.Verify(made); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// TestLeftOutForAll: a folder that would be empty is not there.
func TestLeftOutForAll(t *testing.T) {
	plainly(t)
	run := monthRun()
	for _, a := range run.Accounts {
		a.Tenant.BillTo = nil
	}
	made, refusals, err := Write(t.TempDir(), sentBy(run, billing.Seller{}))
	if err != nil || len(refusals) != 13 {
		t.Fatalf("%d refusals, %v", len(refusals), err)
	}
	if got := refusals[0].Error(); !strings.HasPrefix(got, "focus.csv left out: missing_seller: seller.name is not there") {
		t.Errorf("it says %s", got)
	}
	wantEntries(t, made, "invoices.csv", "invoices.json", "invoices.xlsx", "lines.csv", "manifest.json")
}

// TestManifestGroups: a difference in any of what invoices are based on is another group.
func TestManifestGroups(t *testing.T) {
	run := monthRun()
	a := run.Accounts["gamma"]
	a.TZVersion = "2026a"
	run.Accounts["gamma"] = a
	run.Accounts["delta"] = run.Accounts["acme"]
	if got := bases(run); len(got) != 3 || strings.Join(got[0].Tenants, " ") != "acme delta" {
		t.Errorf("another edition of the zones is no other group: %+v", got)
	}
	a.TZVersion, a.Positions = "2025c", append([]aggregate.Position{}, a.Positions[:2]...)
	run.Accounts["gamma"] = a
	if got := bases(run); len(got) != 3 {
		t.Errorf("another ledger is no other group: %+v", got)
	}
}

func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   []string
	}{
		"nothing": {func(*testing.T, string) {}, nil},
		"a file less": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "pdf", "INV-Yen-202610.pdf")) },
			[]string{"pdf/INV-Yen-202610.pdf: missing"}},
		"a file more": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "ubl", "x.xml")) }, []string{"ubl/x.xml: not in the manifest"}},
		"another size": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "ubl", "INV-Yen-202610.xml")) },
			[]string{"ubl/INV-Yen-202610.xml: 11 bytes, and the manifest says 19"}},
		"another content": {func(t *testing.T, dir string) { edit(t, dir, "focus.csv", "Acme AB", "Acme BA") }, []string{"focus.csv: changed: its SHA-256 is "}},
		"an amount": {func(t *testing.T, dir string) { edit(t, dir, "lines.csv", ",30000,JPY", ",30001,JPY") },
			[]string{"lines.csv: changed", "lines.csv: adds up to net 30001 JPY (invoices: 1, lines: 1), and the manifest says net 30000 JPY (invoices: 1, lines: 1)"}},
		"a currency": {func(t *testing.T, dir string) { edit(t, dir, "lines.csv", ",30000,JPY", ",30000,ISK") },
			[]string{"lines.csv: changed", "lines.csv: adds up to net 30000 ISK (invoices: 1, lines: 1), and the manifest has nothing in ISK",
				"lines.csv: has nothing in JPY, and the manifest says net 30000 JPY (invoices: 1, lines: 1)"}},
		"a tax": {func(t *testing.T, dir string) { edit(t, dir, "invoices.csv", ",3750893.81,", ",3750893.80,") },
			[]string{"invoices.csv: changed", "invoices.csv: adds up to net 15003003.24 SEK, tax 3750893.80, gross 18753897.05 (invoices: 1, lines: 7), and the manifest says net 15003003.24 SEK, tax 3750893.81,"}},
		"a count": {func(t *testing.T, dir string) { edit(t, dir, "invoices.csv", ",7,2,2", ",8,2,2") }, []string{"invoices.csv: changed", "invoices.csv: adds up to net 15003003.24 SEK, tax 3750893.81, gross 18753897.05 (invoices: 1, lines: 8)"}},
		"no number": {func(t *testing.T, dir string) { edit(t, dir, "invoices.csv", ",18753897.05,", ",18 753 897.05,") },
			[]string{"invoices.csv: 7", "invoices.csv: cannot be read: row 2: the gross \"18 753 897.05\" is no number"}},
		"no lines": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "lines.csv")) }, []string{"lines.csv: 11 bytes", "lines.csv: cannot be read: the header is not "}},
		"a total":  {func(t *testing.T, dir string) { edit(t, dir, ManifestName, `"2.259"`, `"2.258"`) }, []string{"lines.csv: adds up to net 2.259 KWD (invoices: 1, lines: 1)", "invoices.csv: adds up to net 2.259 KWD, tax 0.565, gross 2.824 (invoices: 1, lines: 1), and the manifest says net 2.258 KWD"}},
		"a path that leads away": {func(t *testing.T, dir string) { edit(t, dir, ManifestName, `"focus.csv"`, `"../x"`) },
			[]string{"../x: missing", "focus.csv: not in the manifest"}},
	} {
		t.Run(name, func(t *testing.T) {
			made := write(t, t.TempDir(), taxedMonth())
			c.change(t, made)
			found, err := manifestOf(t, made).Verify(made)
			if err != nil {
				t.Fatal(err)
			}
			wantFound(t, found, c.want)
		})
	}
}

// TestVerifyIssued: what is issued is in the files, row by row and column by column.
func TestVerifyIssued(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		want     []string
	}{
		"nothing":    {"acme", "acme", nil},
		"an amount":  {",30000,JPY", ",30001,JPY", []string{`lines.csv: line INV-Yen-202610/1 has amount "30001", and issued is "30000"`}},
		"a line":     {"beta,Yen,2026-10,INV-Yen-202610,1,", "beta,Yen,2026-10,INV-Yen-202610,2,", []string{"lines.csv: line INV-Yen-202610/1 is issued and not in the file", "lines.csv: line INV-Yen-202610/2 is not issued"}},
		"a quote":    {`2026-10,INV-Yen`, `2026-10,"INV-Yen`, []string{"lines.csv: cannot be read: "}},
		"one, twice": {"beta,Yen,", "gamma,Prepaid,2026-10,INV-Prepaid-202610,1,usage,ivr_port,4,port,,0.00,USD,2026-10-01,2026-11-01,2026-10-14T08:31:07.000Z,,the rule and the figures,,,\nbeta,Yen,", []string{"lines.csv: 12 lines, and issued are 11"}},
	} {
		t.Run(name, func(t *testing.T) {
			made := write(t, t.TempDir(), monthRun())
			edit(t, made, "lines.csv", c.from, c.to)
			found, err := VerifyIssued(made, monthRun())
			if err != nil {
				t.Fatal(err)
			}
			wantFound(t, found, c.want)
		})
	}
}

func wantFound(t *testing.T, found []Difference, want []string) {
	t.Helper()
	for i := range max(len(found), len(want)) {
		switch {
		case i >= len(found):
			t.Errorf("not found: %s", want[i])
		case i >= len(want):
			t.Errorf("found besides: %s", found[i])
		case !strings.HasPrefix(found[i].String(), want[i]):
			t.Errorf("found %s, want %s", found[i], want[i])
		}
	}
}

// edit replaces a word in a file of a directory.
func edit(t *testing.T, dir, name, from, to string) {
	t.Helper()
	path := filepath.Join(dir, name)
	content := read(t, path)
	if !strings.Contains(content, from) {
		t.Fatalf("%s has no %q", name, from)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(content, from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadManifestRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadManifest(dir); err == nil || !strings.Contains(err.Error(), "has no manifest.json; name the directory of a period") {
		t.Errorf("of none: %v", err)
	}
	put(t, filepath.Join(dir, ManifestName))
	if _, err := ReadManifest(dir); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("of another file: %v", err)
	}
}

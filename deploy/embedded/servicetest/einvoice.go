package servicetest

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Finding is something that a rule of the validators has against a file.
type Finding struct {
	File, Rule, Severity, Text string
}

// EInvoice returns what the official validators find in invoices in UBL, warnings too: XML Schema and EN 16931 in all
// of them, Peppol BIS Billing or XRechnung in those that say they are that. It needs Java 17 or later and, to be
// fetched once into the user's cache, Maven.
func EInvoice(t testing.TB, files ...string) []Finding {
	t.Helper()
	Heavy(t, "it starts the validators of invoices")
	dir := einvoice.get(t, func() (string, error) { return jars("einvoice", einvoiceVersion, einvoiceProject) })
	program := filepath.Join(t.TempDir(), "EInvoice.java")
	if err := os.WriteFile(program, einvoiceProgram, 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-XX:TieredStopAtLevel=1", "-Xmx1g", "-XX:+UseSerialGC",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(dir, "*"), program}, files...)
	cmd := exec.CommandContext(t.Context(), "java", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("validate invoices: %v\n%s", err, &stderr)
	}
	var findings []Finding
	validated := 0
	for line := range strings.Lines(string(out)) {
		switch f := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); len(f) {
		case 2:
			validated++
		case 4:
			findings = append(findings, Finding{f[0], f[1], f[2], f[3]})
		default:
			t.Fatalf("validate invoices: cannot read %q", line)
		}
	}
	if validated != len(files) {
		t.Fatalf("%d of %d invoices were validated\n%s", validated, len(files), &stderr)
	}
	return findings
}

var einvoice shared[string]

// einvoiceVersion is pinned here and in the project that Maven reads: phive's rules, and those of XRechnung.
const einvoiceVersion = "4.3.7-xrechnung-4.2.3"

var (
	//go:embed einvoice.xml
	einvoiceProject []byte
	//go:embed EInvoice.java
	einvoiceProgram []byte
)

// String returns the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s): %s", filepath.Base(f.File), f.Rule, f.Severity, f.Text)
}

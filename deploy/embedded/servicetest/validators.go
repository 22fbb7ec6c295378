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
	// Where is the severity in an invoice, the place in a PDF file.
	File, Rule, Where, Text string
}

// EInvoice returns what the official validators find in invoices in UBL, warnings too: XML Schema and EN 16931 in all
// of them, Peppol BIS Billing or XRechnung in those that say they are that. It needs Java 17 or later and, to be
// fetched once into the user's cache, Maven.
func EInvoice(t testing.TB, files ...string) []Finding {
	t.Helper()
	return einvoice.check(t, files)
}

// PDFA returns what veraPDF finds in PDF files against PDF/A-3a and PDF/UA-1. It needs what EInvoice needs.
func PDFA(t testing.TB, files ...string) []Finding {
	t.Helper()
	return pdfa.check(t, files)
}

// validator is a program in Java that checks files; it prints what it finds and, of each file, that it has checked it.
type validator struct {
	name, version    string // the version is pinned here and in the project that Maven reads
	project, program []byte
	jars             shared[string]
}

var (
	//go:embed einvoice.xml
	einvoiceProject []byte
	//go:embed EInvoice.java
	einvoiceProgram []byte
	//go:embed pdfa.xml
	pdfaProject []byte
	//go:embed PDFA.java
	pdfaProgram []byte

	// einvoice has phive's rules, and those of XRechnung.
	einvoice = validator{
		name: "EInvoice", version: "4.3.7-xrechnung-4.2.3", project: einvoiceProject, program: einvoiceProgram}
	pdfa = validator{name: "PDFA", version: "1.30.2", project: pdfaProject, program: pdfaProgram}
)

func (v *validator) check(t testing.TB, files []string) []Finding {
	t.Helper()
	Heavy(t, "it starts the validators of files")
	dir := v.jars.get(t, func() (string, error) { return jars(strings.ToLower(v.name), v.version, v.project) })
	program := filepath.Join(t.TempDir(), v.name+".java")
	if err := os.WriteFile(program, v.program, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "java", append([]string{"-XX:TieredStopAtLevel=1", "-Xmx1g",
		"-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(dir, "*"), program},
		files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("validate files: %v\n%s", err, &stderr)
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
			t.Fatalf("validate files: cannot read %q", line)
		}
	}
	if validated != len(files) {
		t.Fatalf("%d of %d files were validated\n%s", validated, len(files), &stderr)
	}
	return findings
}

// String returns the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s): %s", filepath.Base(f.File), f.Rule, f.Where, f.Text)
}

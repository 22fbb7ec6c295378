package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// What a generator makes from the OpenAPI document, right and wrong, is answered as the document has it: no answer has
// another status, type, header or member, what is right is not refused for its form, what is wrong is, nothing is
// answered without a token, and nothing fails. testdata/schemathesis has what is left out, and why.
func TestAPISchemathesis(t *testing.T) {
	servicetest.Heavy(t, "it bills a month, and asks the API some thousand times")
	t.Parallel()
	path := servicetest.Python(t)
	s := startAPI(t)   // it publishes and issues
	dir := t.TempDir() // it leaves a cache where it runs
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "schemathesis"))); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(dir, "report.json")
	phases := "examples,fuzzing"
	if servicetest.Draws(0, 1) > 0 {
		phases += ",coverage"
	}
	ask := exec.CommandContext(t.Context(), "python3", "-m", "schemathesis.cli",
		"run", s.url+"/api/v1/openapi.json", "--header", "Authorization: Bearer "+s.tokens["all"], "--no-color",
		"--phases", phases, "--max-examples", fmt.Sprint(servicetest.Draws(2, 20)),
		"--report", "json", "--report-json-path", report)
	ask.Dir = dir
	ask.Env = append(os.Environ(), "PYTHONPATH="+path, "PYTHONDONTWRITEBYTECODE=1")
	out, err := ask.CombinedOutput()
	var made struct {
		Complete   bool
		Operations struct{ Total, Tested int }
		Cases      struct{ Generated int } `json:"test_cases"`
		Failures   []struct{ Title string }
		Errors     []any
	}
	content, missing := os.ReadFile(report)
	if missing != nil || json.Unmarshal(content, &made) != nil {
		t.Fatalf("%v, %v\n%s", err, missing, out)
	}
	_, operations, _ := apiDocument(t)
	t.Logf("%d operations, %d cases, %d kinds of failures", made.Operations.Tested, made.Cases.Generated, len(made.Failures))
	if err != nil || !made.Complete || len(made.Failures)+len(made.Errors) > 0 {
		t.Errorf("%v\n%s", err, strings.ReplaceAll(string(out), s.tokens["all"], "TOKEN"))
	}
	if made.Operations.Tested != len(operations) || made.Cases.Generated < 5*len(operations) {
		t.Errorf("it asked for %d of %d operations by %d cases", made.Operations.Tested, len(operations), made.Cases.Generated)
	}
}

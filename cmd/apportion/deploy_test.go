package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"apportion/deploy/embedded/servicetest"
)

// deployed returns the text of a file below deploy/.
func deployed(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alert is a rule of deploy/prometheus/rules.yaml.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t testing.TB) (all []alert) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Load([]byte(deployed(t, "prometheus/rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

var (
	measuredRE = regexp.MustCompile(`\b(?:apportion|go|process)_[a-z_]+\b`)
	toldRE     = regexp.MustCompile("`apportion ([^`]+)`")
)

// knownMetric reports whether the program has a metric, or one of the series that a histogram consists of.
func knownMetric(names map[string][]string, name string) bool {
	for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && names[base] != nil {
			return true
		}
	}
	return false
}

// Each alert asks for metrics that there are, says how bad it is and what it means, and leads to a section that says what
// to do by commands that there are; and there is no section without an alert.
func TestAlertsHaveRunbooks(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "how-to", "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for line := range strings.Lines(string(page)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			sections = append(sections, strings.TrimSpace(title))
		}
	}
	names := metricNames()
	var told []string
	for _, a := range alerts(t) {
		told = append(told, a.Alert)
		if want := "docs/how-to/runbooks.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: the runbook is %s, want %s", a.Alert, a.Annotations["runbook_url"], want)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) ||
			a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s lacks a severity, a summary or a description", a.Alert)
		}
		for _, name := range measuredRE.FindAllString(a.Expr, -1) {
			if !knownMetric(names, name) {
				t.Errorf("%s asks for %s, which there is not", a.Alert, name)
			}
		}
	}
	if !slices.Equal(told, sections) {
		t.Errorf("the alerts are\n%q, and the runbooks\n%q", told, sections)
	}
	for _, name := range measuredRE.FindAllString(string(page), -1) {
		if !knownMetric(names, name) {
			t.Errorf("runbooks.md names %s, which there is not", name)
		}
	}
	for _, found := range toldRE.FindAllStringSubmatch(string(page), -1) {
		words := strings.Fields(found[1])
		cmd, _, err := newRoot(&app{}).Find(words)
		if err != nil || !cmd.Runnable() {
			t.Errorf("runbooks.md: there is no command apportion %s", found[1])
			continue
		}
		for _, flag := range flagRE.FindAllString(found[1], -1) {
			if cmd.Flags().Lookup(strings.TrimPrefix(flag, "--")) == nil {
				t.Errorf("runbooks.md: apportion %s: there is no %s", found[1], flag)
			}
		}
	}
}

// Each alert fires when its test says, and not before.
func TestAlertsFire(t *testing.T) {
	servicetest.Heavy(t, "it evaluates the rules over days")
	promtool := servicetest.Promtool(t)
	cmd := exec.CommandContext(t.Context(), promtool, "test", "rules", "rules.test.yaml")
	cmd.Dir = filepath.Join("..", "..", "deploy", "prometheus")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	cases := deployed(t, "prometheus/rules.test.yaml")
	for _, a := range alerts(t) {
		if !regexp.MustCompile(`alertname: ` + a.Alert + `\n\s+eval_time: \S+\n\s+exp_alerts:\n`).MatchString(cases) {
			t.Errorf("no test has %s fire", a.Alert)
		}
	}
}

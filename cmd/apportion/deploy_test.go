package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/shopspring/decimal"
	"go.yaml.in/yaml/v4"

	"apportion/cmd/apportion/config"
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

// schemaOf returns the JSON Schema of a part of the configuration as the chart takes it: every key, without secrets, which
// do not belong into a ConfigMap.
func schemaOf(of reflect.Type) map[string]any {
	switch of.Kind() {
	case reflect.Struct:
		properties := map[string]any{}
		for i := range of.NumField() {
			f := of.Field(i)
			if f.Tag.Get("secret") == "" {
				key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				properties[key] = schemaOf(f.Type)
			}
		}
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(of.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(of.Elem())}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	return map[string]any{"type": "string"}
}

const chart = "helm/apportion/"

// The chart's schema has the keys of the configuration, and the files that it has of its own are those of deploy/. With
// -update they become so.
func TestChartFollows(t *testing.T) {
	follow := func(path, want string) {
		if deployed(t, path) == want {
			return
		}
		if !*update {
			t.Errorf("deploy/%s is not what it comes from: go test ./cmd/apportion -run TestChartFollows -update", path)
			return
		}
		if err := os.WriteFile(filepath.Join("..", "..", "deploy", path), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := json.Marshal(schemaOf(reflect.TypeFor[config.Config]()))
	if err != nil {
		t.Fatal(err)
	}
	schema := regexp.MustCompile(`(?m)^    "config": \{.*\}$`).ReplaceAllLiteralString(deployed(t, chart+"values.schema.json"), `    "config": `+string(keys))
	follow(chart+"values.schema.json", schema)
	follow(chart+"files/rules.yaml", deployed(t, "prometheus/rules.yaml"))
	for _, name := range dashboards {
		follow(chart+"files/"+name, deployed(t, "grafana/"+name))
	}
}

// values returns the chart's own values with those of a file over them, as Helm merges them.
func values(t testing.TB, text string) any {
	t.Helper()
	var merged, over map[string]any
	for text, into := range map[string]*map[string]any{deployed(t, chart+"values.yaml"): &merged, text: &over} {
		if err := yaml.Load([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	var merge func(into, over map[string]any)
	merge = func(into, over map[string]any) {
		for key, value := range over {
			section, isSection := value.(map[string]any)
			if old, was := into[key].(map[string]any); was && isSection {
				merge(old, section)
				continue
			}
			into[key] = value
		}
	}
	merge(merged, over)
	asJSON, err := json.Marshal(merged)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(asJSON)))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// The chart's schema takes the values that are shown, with a golden file each, and refuses a typo wherever it is.
func TestChartValues(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(deployed(t, chart+"values.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("values.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("values.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", "helm", "values", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("there are no values", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if err := schema.Validate(values(t, deployed(t, "helm/values/"+name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		deployed(t, "helm/golden/"+name)
	}
	for wrong, want := range map[string]string{
		"replica: 2":                                  "'replica'",
		"parts: {ingest: {replica: 2}}":               "'replica'",
		"parts: {ingest: {replicas: two}}":            "want integer",
		"config: {kafka: {broker: [a:9092]}}":         "'broker'",
		"config: {clickhouse: {password: secret}}":    "'password'",
		"config: {auth: {tokens: [{nam: a}]}}":        "'nam'",
		"config: {schedule: {catchUp: 'yes'}}":        "want boolean",
		"mode: everything":                            "must be one of",
		"image: {digest: sha256:12}":                  "does not match pattern",
		"networkPolicy: {enabled: true, apiForm: []}": "'apiForm'",
	} {
		if err := schema.Validate(values(t, wrong)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not refused with %s: %v", wrong, want, err)
		}
	}
}

// What the chart and the units give the program is a configuration that it takes.
func TestDeployedConfigurations(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", "helm", "golden", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("there are no golden files", err)
	}
	for _, file := range files {
		found := false
		for _, object := range strings.Split(deployed(t, "helm/golden/"+filepath.Base(file)), "\n---\n") {
			var of struct{ Data map[string]string }
			if err := yaml.Load([]byte(object), &of); err != nil || of.Data["apportion.yaml"] == "" {
				continue
			}
			found = true
			written := filepath.Join(t.TempDir(), "apportion.yaml")
			if err := os.WriteFile(written, []byte(of.Data["apportion.yaml"]), 0o600); err != nil {
				t.Fatal(err)
			}
			secrets := []string{"APPORTION_AUTH_SESSION_KEYS=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
			if strings.Contains(of.Data["apportion.yaml"], "sasl:") {
				secrets = append(secrets, "APPORTION_KAFKA_SASL_PASSWORD=x")
			}
			if _, _, err := config.Load(written, secrets, nil); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
		if !found {
			t.Errorf("%s has no configuration", filepath.Base(file))
		}
	}
}

// dashboards are the files of deploy/grafana.
var dashboards = []string{"money.json", "pipeline.json"}

// dashboard is what is looked at of one.
type dashboard struct {
	UID        string
	Templating struct{ List []struct{ Name, Type string } }
	Panels     []struct {
		Title, Description string
		Datasource         struct{ UID string }
		Links              []struct{ URL string }
		FieldConfig        struct{ Defaults struct{ Unit string } }
		GridPos            struct{ X, Y, W, H int }
		Targets            []struct {
			Datasource struct{ UID string }
			Expr       string
		}
	}
}

// A dashboard is for any data source and process, each of its panels says what it shows and in which unit, its queries are
// of metrics that there are and Prometheus reads them, and its links lead to runbooks.
func TestDashboards(t *testing.T) {
	names, rules := metricNames(), "groups:\n- name: dashboards\n  rules:\n"
	var runbooks []string
	for _, a := range alerts(t) {
		runbooks = append(runbooks, "${docs}how-to/runbooks.md#"+strings.ToLower(a.Alert))
	}
	for _, file := range dashboards {
		var d dashboard
		if err := json.Unmarshal([]byte(deployed(t, "grafana/"+file)), &d); err != nil {
			t.Fatal(err)
		}
		var variables []string
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
		}
		if !slices.Equal(variables, []string{"datasource", "job", "instance", "docs"}) || d.UID != "" {
			t.Errorf("%s has the variables %q and the uid %q", file, variables, d.UID)
		}
		for i, p := range d.Panels {
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %q lacks a title, a description, a unit or the chosen data source", file, p.Title)
			}
			for _, other := range d.Panels[:i] {
				a, b := p.GridPos, other.GridPos
				if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("%s: %q lies over %q", file, p.Title, other.Title)
				}
			}
			for _, l := range p.Links {
				if !slices.Contains(runbooks, l.URL) {
					t.Errorf("%s: %q leads to %s, which is no runbook", file, p.Title, l.URL)
				}
			}
			for _, target := range p.Targets {
				if !strings.Contains(target.Expr, `job=~"$job", instance=~"$instance"`) || target.Datasource.UID != "${datasource}" {
					t.Errorf("%s: %q is not of the chosen processes: %s", file, p.Title, target.Expr)
				}
				for _, name := range measuredRE.FindAllString(target.Expr, -1) {
					if !knownMetric(names, name) {
						t.Errorf("%s: %q asks for %s, which there is not", file, p.Title, name)
					}
				}
				rules += "  - record: query\n    expr: " + strings.NewReplacer("$job", ".+", "$instance", ".+").Replace(target.Expr) +
					"\n    labels: {of: '" + file + " " + p.Title + "'}\n"
			}
		}
	}
	written := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(written, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), servicetest.Promtool(t), "check", "rules", written).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// mostExposed is the most that systemd may find a unit to be exposed, of 10.
var mostExposed = decimal.RequireFromString("1.5")

// systemd takes the units, and finds that each leaves little to reach from it.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: nothing else knows what a unit may have")
	}
	dir := t.TempDir()
	for _, name := range []string{"apportion@.service", "apportion-migrate.service"} {
		text := deployed(t, "systemd/"+name)
		if strings.Count(text, "ExecStart=/usr/bin/apportion ") != 1 {
			t.Errorf("%s does not start the program", name)
		}
		// The program is not installed on the machine that checks.
		text = strings.Replace(text, "ExecStart=/usr/bin/apportion ", "ExecStart=/bin/true ", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	units := []string{filepath.Join(dir, "apportion-migrate.service")}
	for _, part := range runParts {
		units = append(units, filepath.Join(dir, "apportion@"+part+".service"))
	}
	if out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify"}, units...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, name := range []string{"apportion@.service", "apportion-migrate.service"} {
		out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", filepath.Join(dir, name)).CombinedOutput()
		found := regexp.MustCompile(`exposure level for .*: ([0-9.]+) `).FindSubmatch(out)
		if err != nil || found == nil {
			t.Errorf("systemd-analyze security %s: %v\n%s", name, err, out)
			continue
		}
		if exposure, err := decimal.NewFromString(string(found[1])); err != nil || exposure.GreaterThan(mostExposed) {
			t.Errorf("%s is exposed by %s of 10, which is more than %v\n%s", name, found[1], mostExposed, out)
		}
	}
}

// Every service that stays up says whether it is well, and what the program is called with is what it takes.
func TestCompose(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Command     []string
			Healthcheck struct {
				Test    []string
				Disable bool
			}
		}
	}
	if err := yaml.Load([]byte(deployed(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for name, s := range file.Services {
		if len(s.Healthcheck.Test) == 0 && !s.Healthcheck.Disable {
			t.Errorf("%s has no health check", name)
		}
		for _, call := range [][]string{s.Command, s.Healthcheck.Test[min(2, len(s.Healthcheck.Test)):]} {
			if len(call) == 0 || name == "kafka" || name == "clickhouse" {
				continue
			}
			if cmd, rest, err := newRoot(&app{}).Find(call); err != nil || !cmd.Runnable() || cmd.ParseFlags(rest) != nil {
				t.Errorf("%s calls apportion %q, which is no command", name, call)
			}
		}
	}
}

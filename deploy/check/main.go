// Command check holds deploy/ to programs that take minutes to build, so they are in a module of their own: the packages
// of Helm lint the chart strictly and render it by each of deploy/helm/values, which must give deploy/helm/golden;
// kubeconform holds what is rendered to the schemas of Kubernetes, made from those in its own module; and compose.yaml is
// held to the schema of the compose specification. It says what it found, and exits 1 where that is anything.
//
//	go run . [-update] DEPLOY
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/yannh/kubeconform/pkg/resource"
	"github.com/yannh/kubeconform/pkg/validator"
	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

// kubernetes is the module whose API the chart is held to.
const kubernetes = "k8s.io/kubernetes@v1.37.2"

// foreign are the kinds that Kubernetes itself does not have.
var foreign = []string{"ServiceMonitor", "PrometheusRule", "ScaledObject"}

func main() {
	update := flag.Bool("update", false, "rewrite the golden files")
	flag.Parse()
	if err := check(flag.Arg(0), *update); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func check(deploy string, update bool) error {
	schemas, err := os.MkdirTemp("", "check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(schemas)
	if err := writeSchemas(schemas); err != nil {
		return err
	}
	validate, err := validator.New([]string{filepath.Join(schemas, "{{ .ResourceKind }}.json")},
		validator.Opts{Strict: true, SkipKinds: skipped(), RejectKinds: map[string]struct{}{}})
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(deploy, "helm", "values", "*.yaml"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("there are no values"))
	}
	var found []error
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if err := render(deploy, file, filepath.Join(deploy, "helm", "golden", name+".yaml"), update, validate); err != nil {
			found = append(found, fmt.Errorf("%s: %w", name, err))
			continue
		}
		fmt.Printf("%s: linted, rendered and valid\n", name)
	}
	if err := compose(filepath.Join(deploy, "compose.yaml")); err != nil {
		found = append(found, fmt.Errorf("compose.yaml: %w", err))
	} else {
		fmt.Println("compose.yaml: valid")
	}
	return errors.Join(found...)
}

// render lints the chart by some values, renders it, holds it to the golden file, and each object to its schema.
func render(deploy, valuesFile, golden string, update bool, validate validator.Validator) error {
	directory := filepath.Join(deploy, "helm", "apportion")
	values, err := chartutil.ReadValuesFile(valuesFile)
	if err != nil {
		return err
	}
	const namespace = "billing"
	for _, m := range lint.All(directory, values, namespace, true).Messages {
		if m.Severity >= support.WarningSev {
			err = errors.Join(err, fmt.Errorf("lint: %s: %w", m.Path, m.Err))
		}
	}
	if err != nil {
		return err
	}
	c, err := loader.Load(directory)
	if err != nil {
		return err
	}
	text, err := template(c, values, namespace)
	if err != nil {
		return err
	}
	if update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(golden, text, 0o644); err != nil {
			return err
		}
	}
	if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(want, text) {
		return errors.Join(err, fmt.Errorf("%s is not what the chart gives: run make check-deploy-update and read what changed", golden))
	}
	resources, faults := resource.FromStream(context.Background(), golden, bytes.NewReader(text))
	for r := range resources {
		if result := validate.ValidateResource(r); result.Status != validator.Valid && result.Status != validator.Skipped &&
			result.Status != validator.Empty {
			signature, _ := r.Signature()
			err = errors.Join(err, fmt.Errorf("%s: %w", signature.QualifiedName(), result.Err))
		}
	}
	for fault := range faults {
		err = errors.Join(err, fault)
	}
	return err
}

// template returns what the chart gives, each file after a line with its name.
func template(c *chart.Chart, values chartutil.Values, namespace string) ([]byte, error) {
	options := chartutil.ReleaseOptions{Name: "apportion", Namespace: namespace, Revision: 1, IsInstall: true}
	merged, err := chartutil.ToRenderValues(c, values, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(c, merged)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	var names []string
	for name := range rendered {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text := strings.TrimSpace(rendered[name])
		if text == "" || strings.HasSuffix(name, ".txt") {
			continue
		}
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", name, strings.TrimPrefix(text, "---\n"))
	}
	return out.Bytes(), nil
}

func skipped() map[string]struct{} {
	kinds := map[string]struct{}{}
	for _, kind := range foreign {
		kinds[kind] = struct{}{}
	}
	return kinds
}

// writeSchemas writes the schema of each kind, which refuses members that it does not know, from Kubernetes's own
// document.
func writeSchemas(directory string) error {
	out, err := exec.Command("go", "mod", "download", "-json", kubernetes).Output()
	if err != nil {
		return fmt.Errorf("go mod download %s: %w", kubernetes, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return err
	}
	var document struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	for name, definition := range document.Definitions {
		if _, has := definition["properties"]; has && definition["additionalProperties"] == nil {
			definition["additionalProperties"] = false
		}
		if strings.HasSuffix(name, ".IntOrString") {
			definition["type"] = []string{"string", "integer"}
		}
		if strings.HasSuffix(name, ".Quantity") {
			definition["type"] = []string{"string", "number"}
		}
	}
	for name, definition := range document.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue
		}
		kind := strings.ToLower(kinds[0].(map[string]any)["kind"].(string))
		if !slices.Contains(wanted, kind) || strings.Contains(name, "beta") || strings.Contains(name, "alpha") {
			continue
		}
		schema, err := json.Marshal(map[string]any{
			"$ref": "#/definitions/" + name, "definitions": document.Definitions,
		})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(directory, kind+".json"), schema, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the kinds that the chart has, in small letters.
var wanted = []string{"configmap", "deployment", "ingress", "job", "networkpolicy", "persistentvolumeclaim", "pod",
	"poddisruptionbudget", "service"}

// compose holds a file to the schema of the compose specification.
func compose(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var content map[string]any
	if err := yaml.Unmarshal(text, &content); err != nil {
		return err
	}
	return schema.Validate(content)
}

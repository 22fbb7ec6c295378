package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"apportion/deploy/embedded/servicetest"
)

// What follows holds the contracts to what producers read them with, which other languages have.

// reader is the path of a program of testdata/readers.
func reader(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "readers", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// contractFile is the path of a file of the contract.
func contractFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// inNode copies programs of testdata/readers to where they can import their packages.
func inNode(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = servicetest.Node(t)
	for _, name := range names {
		text, err := os.ReadFile(reader(t, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// output runs a program and returns what it writes to stdout.
func output(t *testing.T, stdin io.Reader, dir, path string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Stdin = dir, stdin
	cmd.Env = append(os.Environ(), "PYTHONPATH="+path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", command, err, out, &stderr)
	}
	return string(out)
}

// Other validators take every schema, ajv in its strict mode, and give the verdicts that ours gives, and so those of
// TestSchemasAgreeWithDecoder.
func TestSchemasElsewhere(t *testing.T) {
	validators := map[string]func(t *testing.T, deliveries io.Reader) string{
		"ajv": func(t *testing.T, deliveries io.Reader) string {
			dir := inNode(t, "validate.mjs")
			return output(t, deliveries, dir, "", "node", "validate.mjs", contractFile(t, "jsonschema"))
		},
		"python": func(t *testing.T, deliveries io.Reader) string {
			path := servicetest.Python(t)
			return output(t, deliveries, "", path, "python3", reader(t, "validate.py"), contractFile(t, "jsonschema"))
		},
	}
	var deliveries bytes.Buffer
	var names, want []string
	add := func(schema, name string, value []byte) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
		if err != nil {
			return // no JSON, for which there is no schema
		}
		line, err := json.Marshal(map[string]string{"schema": schema, "value": string(value)})
		if err != nil {
			t.Fatal(err)
		}
		deliveries.Write(append(line, '\n'))
		names = append(names, schema+": "+name)
		want = append(want, fmt.Sprint(schemaOf(t, schema).Validate(doc) == nil))
	}
	for _, f := range fixtures(t) {
		add(f.topic.String(), f.name, f.value)
		add(f.topic.String()+".producer", f.name, f.value)
	}
	add("registry", "a document", []byte(registryDocument))
	add("registry", "a document without a zone", []byte(strings.Replace(registryDocument, "timeZone", "zone", 1)))
	tax := `"tax": {"category": "S", "rate": "25"}`
	for name, history := range map[string]string{
		"a history of tax":                             `[{"category": "S", "rate": "24"}, {"from": "2024-09-01", "category": "S", "rate": "25.5"}]`,
		"a history of tax, each from a date":           `[{"from": "2024-09-01", "category": "S", "rate": "25.5"}]`,
		"a history of tax with two that are the first": `[{"category": "S", "rate": "24"}, {"category": "S", "rate": "25.5"}]`,
	} {
		add("registry", name, []byte(strings.Replace(registryDocument, tax, `"tax": `+history, 1)))
	}
	command := marshal(t, schemaFile(t, "registry.command")["examples"].([]any)[0])
	add("registry.command", "its example", command)
	add("registry.command", "its example without a reason", bytes.Replace(command, []byte(`"reason"`), []byte(`"why"`), 1))
	for name, validate := range validators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Fields(validate(t, bytes.NewReader(deliveries.Bytes())))
			if len(got) != len(want) {
				t.Fatalf("%d verdicts on %d deliveries", len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: %s, want %s", names[i], got[i], want[i])
				}
			}
		})
	}
}

// The types that json-schema-to-typescript makes of the producers' schemas need what is needed.
func TestTypeScript(t *testing.T) {
	dir := inNode(t, "types.mjs", "events.ts")
	command := []string{"node", "types.mjs"}
	for _, kind := range Types {
		command = append(command, contractFile(t, "jsonschema/"+kind.String()+".producer.json"))
	}
	output(t, nil, dir, "", command...)
	output(t, nil, dir, "", "node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "events.ts")
}

// AsyncAPI's own parser reads both documents, and has nothing against them but that there is a later edition.
func TestAsyncAPIParser(t *testing.T) {
	dir := inNode(t, "asyncapi.mjs")
	out := output(t, nil, dir, "", "node", "asyncapi.mjs", contractFile(t, "asyncapi.yaml"), contractFile(t, "asyncapi.producer.yaml"))
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(out), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "information asyncapi-latest-version ")
	})
	want := []string{"servers 2, sends 1, receives 4", "servers 2, sends 3, receives 1"}
	if !slices.Equal(lines, want) {
		t.Errorf("the parser says\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
}

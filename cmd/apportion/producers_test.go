package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
)

// programRE finds a program that the reader is told to save.
var programRE = regexp.MustCompile("(?s)Save this as `([a-z]+)\\.([a-z]+)`.*?\n```[a-z]+\n(.*?)```\n")

// TestProducerPages runs the programs of the pages for producers, publish and refused, against the embedded broker: what
// they publish is accepted, and what was refused they can read.
func TestProducerPages(t *testing.T) {
	servicetest.Heavy(t, "it runs programs of other languages")
	t.Parallel()
	clickHouse := servicetest.ClickHouse(t)
	for language, start := range map[string]func(t *testing.T) producerPage{
		"python": func(t *testing.T) producerPage {
			return producerPage{t.TempDir(), []string{"PYTHONPATH=" + servicetest.Python(t)},
				func(file string) *exec.Cmd { return exec.CommandContext(t.Context(), "python3", file) }}
		},
		"node": func(t *testing.T) producerPage {
			return producerPage{servicetest.Node(t), nil,
				func(file string) *exec.Cmd { return exec.CommandContext(t.Context(), "node", file) }}
		},
		"go": func(t *testing.T) producerPage { // it is built in this module, which requires the client too
			return producerPage{t.TempDir(), nil, func(file string) *exec.Cmd {
				out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file+".exe", file).CombinedOutput()
				if err != nil {
					t.Fatalf("building %s: %v\n%s", file, err, out)
				}
				return exec.CommandContext(t.Context(), file+".exe")
			}}
		},
	} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			broker, err := embedded.StartKafka(embedded.Options{}) // of its own: the pages name topics without a prefix
			if err != nil {
				t.Fatal(err)
			}
			defer broker.Stop()
			programs := p.save(t, language, broker.Addr, clickHouse)
			p.publishes(t, programs["publish"], "KAFKA="+broker.Addr)
			p.readsRefused(t, programs["refused"], "KAFKA="+broker.Addr)
		})
	}
}

// producerPage is where the programs of a page are saved and run.
type producerPage struct {
	dir         string
	environment []string
	program     func(file string) *exec.Cmd
}

const producersLine = `{"specversion":"1.0","id":"late","source":"/desk","type":"agent.session","time":"2026-10-14T16:00:00Z",` +
	`"tenantid":"acme","data":{"agentId":"a","startTime":"2026-10-14T16:00:00Z","endTime":"2026-10-14T07:00:00Z"}}`

// save writes the programs of a page, by name, with the schema and the configuration beside them.
func (p producerPage) save(t *testing.T, language, broker, clickHouse string) (programs map[string]string) {
	t.Helper()
	write := func(name string, content []byte) string {
		path := filepath.Join(p.dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(path string) []byte {
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	programs = map[string]string{}
	for _, m := range programRE.FindAllSubmatch(read("docs/how-to/publish-from-"+language+".md"), -1) {
		programs[string(m[1])] = write(string(m[1])+"."+string(m[2]), m[3])
	}
	if programs["publish"] == "" || programs["refused"] == "" {
		t.Fatalf("the page has the programs %v", programs)
	}
	const schema = "agent.session.producer.json"
	write(schema, read("schemas/jsonschema/"+schema))
	write("refused.ndjson", []byte(producersLine))
	write("apportion.yaml", fmt.Appendf(nil, "kafka: {brokers: ['%s']}\nclickhouse: {addr: ['%s'], database: producers_%s}\n",
		broker, clickHouse, language))
	p.apportion(t, "migrate")
	return programs
}

// apportion runs the program.
func (p producerPage) apportion(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "apportion", append(args, "--config", filepath.Join(p.dir, "apportion.yaml"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("apportion %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// publishes runs what publishes a session and its end.
func (p producerPage) publishes(t *testing.T, file, kafka string) {
	t.Helper()
	cmd := p.program(file)
	cmd.Dir, cmd.Env = p.dir, append(append(os.Environ(), kafka), p.environment...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(file), err, out, &stderr)
	}
	if records := strings.Fields(string(out)); len(records) != 2 || !strings.HasPrefix(records[0], "usage.agent.v1/") ||
		strings.TrimSuffix(records[0], "/0")+"/1" != records[1] {
		t.Errorf("it says that it published %q", records)
	}
	taken := strings.Join(strings.Fields(p.apportion(t, "ingest", "--until-caught-up")), " ")
	if !strings.Contains(taken, "usage.agent.v1 2 0") {
		t.Errorf("taken in: %s", taken)
	}
	balance := strings.Join(strings.Fields(p.apportion(t, "rejected", "list", "--unknown-tenant", "--summary")), " ")
	if !strings.Contains(balance, "acme 2 ") {
		t.Errorf("accepted for acme: %s", balance)
	}
}

// readsRefused runs what prints refused deliveries until it has printed one.
func (p producerPage) readsRefused(t *testing.T, file, kafka string) {
	t.Helper()
	p.apportion(t, "publish", filepath.Join(p.dir, "refused.ndjson"))
	p.apportion(t, "ingest", "--until-caught-up")
	cmd := p.program(file)
	cmd.Dir, cmd.Env = p.dir, append(append(os.Environ(), kafka), p.environment...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if !strings.HasPrefix(line, "end_before_start endTime is 32400000 ms before startTime; ") || !strings.Contains(line, `"id":"late"`) {
		t.Errorf("it prints %q, %v\n%s", line, err, &stderr)
	}
}

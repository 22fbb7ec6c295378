package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

var (
	// pageFileRE finds a file that the reader is told to save.
	pageFileRE = regexp.MustCompile("(?s)Save this as `([a-z.]+)`.*?\n```[a-z]*\n(.*?)```\n")
	// pageBlockRE finds a block that begins with a command.
	pageBlockRE = regexp.MustCompile("(?s)\n```[a-z]*\n(\\$ .*?)```\n")
	// progressRE finds progress, which is there while a command runs, and on a terminal is written over.
	progressRE = regexp.MustCompile(`(?m)^[a-z ]+: \d+ in [0-9.]+[a-zµ]+\n`)
	// arrivalRE finds a time of the day on which the test runs.
	arrivalRE = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
)

// TestPagesDoAsTheySay runs what the tutorial shows, and then what the pages for publishers and for finance do
// with it, and compares what comes out. For what a page leaves out it has …, in a line or as a line of its own.
func TestPagesDoAsTheySay(t *testing.T) {
	servicetest.Heavy(t, "it runs what four pages show")
	t.Parallel()
	brokers, clickHouse := servicetest.Kafka(t), servicetest.ClickHouse(t)
	const prefix = "pages."
	dir := t.TempDir()
	config := fmt.Sprintf("kafka: {brokers: ['%s'], topicPrefix: %s, group: pages}\nclickhouse: {addr: ['%s'], database: pages}\n",
		brokers, prefix, clickHouse)
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pages.yaml", config)

	script := "export APPORTION_CONFIG=pages.yaml\n" // what is exported holds for later commands
	execute := func(command string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script+command)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return strings.ReplaceAll(progressRE.ReplaceAllString(string(out), ""), prefix, ""), err
	}
	if out, err := execute("apportion migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	for _, page := range []string{"tutorial.md", "how-to/publish-events.md", "how-to/import-invoices.md",
		"how-to/close-a-month.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range pageFileRE.FindAllStringSubmatch(string(text), -1) {
			write(file[1], file[2])
		}
		commands := 0
		for _, block := range pageBlockRE.FindAllStringSubmatch(string(text), -1) {
			for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
				command, want, _ := strings.Cut(part, "\n")
				if strings.HasPrefix(command, "curl ") { // the port is of the reader's server
					continue
				}
				commands++
				got, err := execute(command)
				if failed := strings.Contains(want, "\napportion: "); failed != (err != nil) {
					t.Errorf("%s: %s: %v\n%s", page, command, err, got)
				}
				if strings.HasPrefix(command, "export ") {
					script += command + "\n"
				}
				if strings.HasPrefix(command, "apportion rejected ") {
					got, want = arrivalRE.ReplaceAllString(got, "T"), arrivalRE.ReplaceAllString(want, "T")
				}
				if want = strings.TrimSpace(want); want != "" {
					if line := differs(got, want); line != "" {
						t.Errorf("%s: %s gives no line\n%s\nbut\n%s", page, command, line, got)
					}
				}
			}
		}
		if commands < 5 {
			t.Errorf("%s: only %d commands were found", page, commands)
		}
	}
}

// TestDemoDoesAsItSays runs the demo on the shipped month, and holds what it prints to the tutorial's first block.
func TestDemoDoesAsItSays(t *testing.T) {
	servicetest.Heavy(t, "it runs the demo")
	t.Parallel()
	servicetest.Kafka(t) // skips where no server can be had
	servicetest.ClickHouse(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "make demo\n```\n\n```\n")
	want, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("the tutorial does not show what make demo prints")
	}
	cmd := exec.CommandContext(t.Context(), "apportion", "demo")
	cmd.Dir = t.TempDir()
	got, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if line := differs(progressRE.ReplaceAllString(string(got), ""), progressRE.ReplaceAllString(want, "")); line != "" {
		t.Errorf("the tutorial shows\n%s\nand the demo\n%s", line, got)
	}
}

// differs returns the first line of what a page shows that does not come next in the output; "" when all do. Runs of
// spaces are one, since the names of topics, and so the widths of columns, depend on the prefix.
func differs(got, want string) string {
	var lines []string
	for line := range strings.Lines(got) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	skip := false
	for line := range strings.Lines(want) {
		if line = strings.Join(strings.Fields(line), " "); line == "" {
			continue
		}
		if line == "…" {
			skip = true
			continue
		}
		shown := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
		for skip && len(lines) > 0 && !shown.MatchString(lines[0]) {
			lines = lines[1:]
		}
		if len(lines) == 0 || !shown.MatchString(lines[0]) {
			return line
		}
		lines, skip = lines[1:], false
	}
	if len(lines) > 0 && !skip {
		return "… (the page ends before " + lines[0] + ")"
	}
	return ""
}

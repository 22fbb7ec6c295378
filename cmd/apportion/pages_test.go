package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

var update = flag.Bool("update", false, "rewrite what pages show by what the program gives")

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
// with it, and compares what comes out. For what a page leaves out it has …, in a line or as a line of its own. The
// topics have no prefix, as the reader's have none. With -update it writes what comes out.
func TestPagesDoAsTheySay(t *testing.T) {
	servicetest.Heavy(t, "it runs what five pages show")
	t.Parallel()
	brokers, clickHouse := servicetest.Kafka(t), servicetest.ClickHouse(t)
	dir := t.TempDir()
	config := fmt.Sprintf("kafka: {brokers: ['%s'], group: pages}\nclickhouse: {addr: ['%s'], database: pages}\n",
		brokers, clickHouse)
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
		return progressRE.ReplaceAllString(string(out), ""), err
	}
	if out, err := execute("apportion migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	for _, page := range []string{"tutorial.md", "how-to/publish-events.md", "how-to/import-invoices.md",
		"how-to/close-a-month.md", "how-to/upgrade.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range pageFileRE.FindAllStringSubmatch(string(text), -1) {
			write(file[1], file[2])
		}
		commands := 0
		made := pageBlockRE.ReplaceAllStringFunc(string(text), func(block string) string {
			fence, shown, _ := strings.Cut(strings.TrimPrefix(block, "\n"), "\n")
			shown, _ = strings.CutSuffix(shown, "```\n")
			for _, part := range strings.Split("\n"+shown, "\n$ ")[1:] {
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
				normal := asItIs
				if strings.HasPrefix(command, "apportion rejected ") {
					normal = func(line string) string { return arrivalRE.ReplaceAllString(line, "T") }
				}
				if strings.TrimSpace(want) == "" {
					continue
				}
				made, line := remade(got, want, normal)
				if line != "" && !*update {
					t.Errorf("%s: %s gives no line\n%s\nbut\n%s", page, command, line, got)
				}
				shown = strings.Replace(shown, part, command+"\n"+made, 1)
			}
			return "\n" + fence + "\n" + shown + "```\n"
		})
		if commands < 5 {
			t.Errorf("%s: only %d commands were found", page, commands)
		}
		keepPage(t, page, string(text), made)
	}
}

// keepPage compares a page with what it is made as, or with -update writes that.
func keepPage(t *testing.T, page, text, made string) {
	t.Helper()
	switch {
	case text == made:
	case *update:
		if err := os.WriteFile(filepath.Join("..", "..", "docs", page), []byte(made), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s shows columns otherwise than the program; -update writes them", page)
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
	made, line := remade(progressRE.ReplaceAllString(string(got), ""), progressRE.ReplaceAllString(want, ""), asItIs)
	if line != "" && !*update {
		t.Errorf("the tutorial shows\n%s\nand the demo\n%s", line, got)
	}
	if progressRE.ReplaceAllString(want, "") != made {
		keepPage(t, "tutorial.md", string(text), strings.Replace(string(text), want, made, 1))
	}
}

func asItIs(line string) string { return line }

// remade returns what a page shows of a command as the command gives it: the lines that the page has, and for what it
// leaves out …, in a line or as a line of its own; and the first line of the page that does not come next, "" when all do.
// Then it is the whole output, for somebody to shorten. Lines are equal whose normal forms are.
func remade(got, want string, normal func(string) string) (made, missing string) {
	squeezed := func(line string) string { return strings.Join(strings.Fields(normal(line)), " ") }
	var lines, page []string
	for line := range strings.Lines(got) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	skip := false
	for line := range strings.Lines(want) {
		line = strings.TrimRight(line, "\n")
		if strings.TrimSpace(line) == "" || line == "…" {
			skip = skip || line == "…"
			page = append(page, line)
			continue
		}
		shown := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(squeezed(line)), "…", ".*") + "$")
		for skip && len(lines) > 0 && !shown.MatchString(squeezed(lines[0])) {
			lines = lines[1:]
		}
		if len(lines) == 0 || !shown.MatchString(squeezed(lines[0])) {
			return strings.TrimRight(got, "\n") + "\n", line
		}
		if !strings.Contains(line, "…") && strings.Join(strings.Fields(line), " ") == strings.Join(strings.Fields(lines[0]), " ") {
			line = lines[0]
		}
		page, lines, skip = append(page, line), lines[1:], false
	}
	made = strings.Join(page, "\n") + "\n"
	if !strings.HasSuffix(want, "\n") {
		made = strings.TrimSuffix(made, "\n")
	}
	if len(lines) > 0 && !skip {
		return strings.TrimRight(got, "\n") + "\n", "… (the page ends before " + lines[0] + ")"
	}
	return made, ""
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// TestEstimatesDoAsTheySay runs what the page on estimates shows, on the shipped month.
func TestEstimatesDoAsTheySay(t *testing.T) {
	servicetest.Heavy(t, "it takes in the shipped month")
	t.Parallel()
	config := filepath.Join(t.TempDir(), "estimates.yaml")
	settings := fmt.Sprintf("kafka: {brokers: ['%s'], topicPrefix: estimates-page., group: estimates}\n"+
		"clickhouse: {addr: ['%s'], database: estimates_page}\n", servicetest.Kafka(t), servicetest.ClickHouse(t))
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	execute := func(command string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Env = append(os.Environ(), "APPORTION_CONFIG="+config)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return progressRE.ReplaceAllString(string(out), "")
	}
	execute("apportion migrate")
	execute("apportion registry apply -f month/registry.json")
	execute("apportion publish month/events.ndjson.gz")
	execute("apportion ingest --until-caught-up")
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "explanation", "estimates.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := pageBlockRE.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("the page shows %d commands", len(blocks))
	}
	for _, block := range blocks {
		command, want, _ := strings.Cut(strings.TrimPrefix(block[1], "$ "), "\n")
		got := execute(command)
		if _, line := remade(got, want, asItIs); line != "" {
			t.Errorf("%s gives no line\n%s\nbut\n%s", command, line, got)
		}
	}
}

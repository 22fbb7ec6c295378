package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables"
)

// hostile is a profile that makes other questions of our queries, or cuts their answers.
var hostile = map[string]string{
	"join_use_nulls": "1", "group_by_use_nulls": "1", "transform_null_in": "1", "cast_keep_nullable": "1", "data_type_default_nullable": "1",
	"aggregate_functions_null_for_empty": "1", "async_insert": "1", "wait_for_async_insert": "0", "limit": "3", "offset": "1", "final": "1",
	"join_default_strictness": "ANY", "union_default_mode": "DISTINCT", "prefer_column_name_to_alias": "1", "extremes": "1",
	"max_rows_to_group_by": "5", "group_by_overflow_mode": "any", "max_rows_to_read": "100", "read_overflow_mode": "break",
	"max_result_rows": "2", "result_overflow_mode": "break", "max_rows_in_set": "1", "set_overflow_mode": "break",
	"max_rows_in_join": "1", "join_overflow_mode": "break", "max_partitions_per_insert_block": "1", "session_timezone": "Asia/Kolkata",
	"mutations_sync": "0", "compatibility": "22.3",
}

// TestHostileProfile bills a made month on a server whose profile means something else by every query: the lines are
// the same.
func TestHostileProfile(t *testing.T) {
	servicetest.Heavy(t, "it bills a month on a server of its own")
	t.Parallel()
	brokers := servicetest.Kafka(t)
	addr := hostileServer(t, profileXML(hostile))
	dir, out := filepath.Join("testdata", "cases", "revisions"), t.TempDir()
	var about struct {
		Period string `json:"period"`
	}
	readJSON(t, filepath.Join(dir, "case.json"), &about)
	config := filepath.Join(t.TempDir(), "apportion.yaml")
	if err := os.WriteFile(config, []byte("kafka: {brokers: ['"+brokers+"'], topicPrefix: hostile., group: hostile, partitions: 2}\n"+
		"clickhouse: {addr: ['"+addr+"'], database: hostile, user: hostile}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"migrate"},
		{"registry", "apply", "-f", filepath.Join(dir, "registry.json")},
		{"publish", filepath.Join(dir, "events.ndjson.gz")},
		{"ingest", "--until-caught-up"},
		{"reconcile", "--period", about.Period},
		{"bill", "issue", "--period", about.Period, "--out", out},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append(args, "--config", config), nil, nil, &stdout, &stderr); code != exitDone && code != exitFindings {
			t.Fatalf("apportion %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout.String(), stderr.String())
		}
	}
	wantLines(t, filepath.Join(out, about.Period), filepath.Join(dir, "lines.csv"))
}

// TestPinnedSettingsStand: a connection has every pinned setting, whatever the profile says.
func TestPinnedSettingsStand(t *testing.T) {
	a := &app{connections: connections{cfg: config.Default()}}
	a.cfg.ClickHouse.Addr, a.cfg.ClickHouse.Database, a.cfg.ClickHouse.User = []string{hostileServer(t, profileXML(hostile))}, "", "hostile"
	options, err := a.clickhouseOptions()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := tables.Settings()
	rows, err := conn.Query(t.Context(), `SELECT name, value FROM system.settings ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			t.Fatal(err)
		}
		if pinned, ok := want[name]; ok && fmt.Sprint(pinned) != value {
			t.Errorf("%s is %q, pinned to %q", name, value, pinned)
		}
		delete(want, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for name := range want {
		t.Errorf("ClickHouse has no setting %s", name)
	}
}

// TestSettingThatMayNotBeChanged: a profile that fixes a setting otherwise is an error that names it.
func TestSettingThatMayNotBeChanged(t *testing.T) {
	addr := hostileServer(t, `<join_use_nulls>1</join_use_nulls><constraints><join_use_nulls><const/></join_use_nulls></constraints>`)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"bill", "preview", "--period", "2026-07", "--set", "clickhouse.addr=" + addr,
		"--set", "clickhouse.user=hostile", "--set", "kafka.brokers=" + servicetest.Kafka(t)}, nil, nil, &stdout, &stderr)
	if said := stderr.String(); code != exitFailed || !strings.Contains(said, "join_use_nulls") || !strings.Contains(said, "set clickhouse.user to another") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func profileXML(settings map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "<%[1]s>%[2]s</%[1]s>", name, settings[name])
	}
	return b.String()
}

// hostileServer returns the address of a ClickHouse of its own whose user "hostile" has a profile.
func hostileServer(t *testing.T, profile string) string {
	t.Helper()
	servicetest.ClickHouse(t) // or skip
	server, err := embedded.StartClickHouse(t.Context(), embedded.Options{
		Data: t.TempDir(), ClickHouseConfig: "<profiles><default/><hostile>" + profile + "</hostile></profiles><users>" +
			"<default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>" +
			"<hostile><password/><networks><ip>127.0.0.1</ip></networks><profile>hostile</profile></hostile></users>"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	return server.Addr
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/billing"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
)

// TestCluster runs a made month through the program over a cluster of two shards: it gives the lines that were worked
// out apart from this code, as one server does.
func TestCluster(t *testing.T) {
	servicetest.Heavy(t, "it bills a month over two servers")
	t.Parallel()
	addr, database := servicetest.Cluster(t)
	kafka := servicetest.Kafka(t)
	month := filepath.Join("testdata", "cases", "revisions")
	out := t.TempDir()
	program := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var o, e bytes.Buffer
		args = append(args, "--set", "kafka.brokers="+kafka, "--set", "kafka.topicPrefix="+database+".", "--set", "kafka.group="+database,
			"--set", "kafka.partitions=2", "--set", "clickhouse.addr="+addr, "--set", "clickhouse.database="+database)
		if code := run(context.Background(), args, nil, nil, &o, &e); code != want {
			t.Fatalf("apportion %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, o.String(), e.String())
		}
		return o.String(), e.String()
	}
	over := func(args ...string) string {
		t.Helper()
		stdout, _ := program(exitDone, append(args, "--set", "clickhouse.cluster="+servicetest.ClusterName)...)
		return stdout
	}

	bill := func(args ...string) {
		t.Helper()
		// Some tenants cannot have every file, which is all that is found.
		args = append(args, "--period", "2026-10", "--out", out, "--set", "clickhouse.cluster="+servicetest.ClusterName)
		if _, stderr := program(exitFindings, append([]string{"bill"}, args...)...); !strings.Contains(stderr, "\napportion: not all files could be written: ") {
			t.Errorf("bill: %s", stderr)
		}
	}

	if _, stderr := program(exitFailed, "migrate", "--cluster", "other"); !strings.Contains(stderr, "ClickHouse knows no cluster other") {
		t.Errorf("migrate over an unknown cluster: %s", stderr)
	}
	check := []string{"migrate", "--check", "--cluster", servicetest.ClusterName}
	if stdout, _ := program(exitFindings, check...); strings.Count(stdout, "apply "+database+"_shard on ") != 2 || strings.Count(stdout, "apply 006_views.sql on ") != 2 {
		t.Errorf("migrate --check of nothing: %s", stdout)
	}
	for range 2 {
		if stdout, _ := program(exitDone, "migrate", "--cluster", servicetest.ClusterName); !strings.Contains(stdout, "of every node of the cluster "+servicetest.ClusterName) {
			t.Errorf("migrate: %s", stdout)
		}
	}
	if stdout, _ := program(exitDone, check...); strings.Count(stdout, "are of version 6 of the schema") != 2 || !strings.HasSuffix(stdout, "nothing to do\n") {
		t.Errorf("migrate --check of a migrated cluster: %s", stdout)
	}
	// What takes them for tables of one server is refused.
	for _, command := range []string{"migrate", "aggregate --until-caught-up"} {
		if _, stderr := program(exitUsage, strings.Fields(command)...); !strings.Contains(stderr, "are over the cluster pair; set clickhouse.cluster to it") {
			t.Errorf("%s without the cluster: %s", command, stderr)
		}
	}

	over("registry", "apply", "-f", filepath.Join(month, "registry.json"))
	over("publish", filepath.Join(month, "events.ndjson.gz"))
	over("ingest", "--until-caught-up")
	bill("preview", "--as-of", "2026-10-16T05:27:45.665Z")
	wantLines(t, filepath.Join(out, "2026-10.draft"), filepath.Join(month, "preview.csv"))
	over("aggregate", "--until-caught-up")
	if stdout := over("aggregate", "--until-caught-up"); !strings.Contains(stdout, "days computed: 0") {
		t.Errorf("a second pass: %s", stdout)
	}
	for range 2 {
		bill("issue", "--as-of", "2027-11-01T00:00:00Z", "--allow-future")
		wantLines(t, filepath.Join(out, "2026-10"), filepath.Join(month, "lines.csv"))
	}

	var balance struct {
		Rejected map[string]int    `json:"rejected"`
		Findings []billing.Finding `json:"findings"`
		Total    map[string]int    `json:"total"`
	}
	if err := json.Unmarshal([]byte(over("reconcile", "--period", "2026-10", "--json")), &balance); err != nil {
		t.Fatal(err)
	}
	var counts struct {
		Rejected map[string]int `json:"rejected"`
	}
	readJSON(t, filepath.Join(month, "counts.json"), &counts)
	if got, want := canonical(t, balance.Rejected), canonical(t, counts.Rejected); got != want {
		t.Errorf("rejected: %s, want %s", got, want)
	}
	found := map[schemas.Code]int64{}
	for _, f := range balance.Findings {
		found[f.Code] += f.Count
	}
	if got := fmt.Sprint(found); got != "map[conflict:138 never_billed:23 open_peak:3 open_session:21 refused:64 refused_correction:67 unknown_subscription:35 unknown_tenant:6 unmapped:71]" {
		t.Errorf("found %s, and not what is found on one server", got)
	}
	if stdout := over("rejected", "list", "--code", "too_large"); strings.Count(stdout, "too_large") < counts.Rejected["too_large"] {
		t.Errorf("rejected list: %s", stdout)
	}

	// Lines of tenants of either kind are computed again from their deliveries, which one shard has.
	for _, line := range []string{"INV-Sub100044-202610/15", "INV-Sub100046-202610/10"} {
		if stdout := over("explain", line, "--verify"); !strings.Contains(stdout, "Verified: recomputed") {
			t.Errorf("explain %s: %s", line, stdout)
		}
	}
	if stdout := over("bill", "evidence", "INV-Sub100046-202610", "--out", out); strings.Contains(stdout, ": 0 ") {
		t.Errorf("evidence: %s", stdout)
	}

	// People see the usage of all tenants by the names that they have on one server, and each shard has some.
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var tenants, both, here, deliveries, counted uint64
	if err := conn.QueryRow(t.Context(), `SELECT uniqExact(tenant), (SELECT uniqExact(tenant) FROM v_usage_balance),
		(SELECT uniqExact(tenant) FROM `+database+`_shard.v_usage_daily), (SELECT uniqExact(topic, partition, offset) FROM usage_events),
		(SELECT toUInt64(sum(accepted)) FROM v_usage_balance) FROM usage_events`).Scan(&tenants, &both, &here, &deliveries, &counted); err != nil {
		t.Fatal(err)
	}
	if tenants != both || here == 0 || here >= both || deliveries != counted || counted == 0 {
		t.Errorf("events of %d tenants, usage of %d, of which %d on the first shard; %d deliveries, %d in the balance", tenants, both, here, deliveries, counted)
	}

	// Events that SQL looks up one by one are those that usage counts, of every tenant on every shard.
	const byEvent = `SELECT tenant, toString(date), meter, subscription, department, count() FROM v_events WHERE subscription != '' GROUP BY ALL`
	const byDay = `SELECT tenant, toString(date), meter, subscription, department, events FROM v_usage_daily WHERE subscription != '' AND events > 0`
	var days, otherEvents, otherDays, unnamed uint64
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count() FROM (`+byDay+`)), (SELECT count() FROM (`+byEvent+` EXCEPT `+byDay+`)),
		(SELECT count() FROM (`+byDay+` EXCEPT `+byEvent+`)), (SELECT count() FROM v_invoice_lines WHERE department = '')`).
		Scan(&days, &otherEvents, &otherDays, &unnamed); err != nil {
		t.Fatal(err)
	}
	if days == 0 || otherEvents > 0 || otherDays > 0 || unnamed > 0 {
		t.Errorf("of %d days of usage %d have other events, and %d of what events add up to is not there; %d lines have no department", days, otherDays, otherEvents, unnamed)
	}

	// A row that is lost on a shard is missed.
	shard, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database + "_shard"}})
	if err != nil {
		t.Fatal(err)
	}
	defer shard.Close()
	var record schemas.RecordID
	if err := shard.QueryRow(t.Context(), `SELECT topic, partition, offset FROM usage_events ORDER BY ALL LIMIT 1`).Scan(&record.Topic, &record.Partition, &record.Offset); err != nil {
		t.Fatal(err)
	}
	if err := shard.Exec(t.Context(), `DELETE FROM usage_events WHERE topic = ? AND partition = ? AND offset = ?`, record.Topic, record.Partition, record.Offset); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := program(exitFindings, "reconcile", "--period", "2026-10", "--set", "clickhouse.cluster="+servicetest.ClusterName); !strings.Contains(stdout, fmt.Sprintf("%s/%d: ", record.Topic, record.Partition)) {
		t.Errorf("reconcile without %v: %s", record, stdout)
	} else {
		t.Log(stdout[strings.Index(stdout, "unbalanced"):])
	}

	// So is one of whose shards one is of another schema.
	if err := shard.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, 1)`); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"aggregate --until-caught-up", "ingest --until-caught-up", "migrate"} {
		args := append(strings.Fields(command), "--set", "clickhouse.cluster="+servicetest.ClusterName)
		if _, stderr := program(exitFailed, args...); !strings.Contains(stderr, "the tables are of version 9 of the schema") || !strings.Contains(stderr, "shard 1") {
			t.Errorf("%s over a shard of another schema: %s", command, stderr)
		}
	}

	// A cluster that has become another would put a tenant's rows on two shards.
	if err := conn.Exec(t.Context(), "ALTER DATABASE "+database+"_shard MODIFY COMMENT 'shard 1 of 3, of the weights 1, 1, 1'"); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"migrate", "ingest --until-caught-up", "aggregate --until-caught-up"} {
		args := append(strings.Fields(command), "--set", "clickhouse.cluster="+servicetest.ClusterName)
		want := exitUsage
		if command == "migrate" {
			want = exitFailed
		}
		if _, stderr := program(want, args...); !strings.Contains(stderr, "tenants would have rows on two shards") {
			t.Errorf("%s over another cluster: %s", command, stderr)
		}
	}
}

// TestClusterTakesNoTablesOver: the tables of one server are not replaced by others over a cluster.
func TestClusterTakesNoTablesOver(t *testing.T) {
	addr, database := servicetest.Cluster(t)
	set := []string{"--set", "kafka.brokers=" + servicetest.Kafka(t), "--set", "kafka.topicPrefix=" + database + ".",
		"--set", "clickhouse.addr=" + addr, "--set", "clickhouse.database=" + database}
	for _, step := range []struct {
		code int
		says string
		args []string
	}{
		{exitDone, "", []string{"migrate"}},
		{exitFailed, "has tables that are not over the cluster", []string{"migrate", "--cluster", servicetest.ClusterName}},
		{exitUsage, "are of one server", []string{"aggregate", "--until-caught-up", "--set", "clickhouse.cluster=" + servicetest.ClusterName}},
		{exitDone, "", []string{"aggregate", "--until-caught-up"}},
	} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), append(step.args, set...), nil, nil, &stdout, &stderr)
		if code != step.code || !strings.Contains(stderr.String(), step.says) {
			t.Errorf("apportion %s: exit code %d, want %d with %q\n%s", strings.Join(step.args, " "), code, step.code, step.says, stderr.String())
		}
	}
}

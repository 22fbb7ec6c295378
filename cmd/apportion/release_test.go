package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/tables/tablestest"
)

var releasing = flag.String("release", "", "keep the tables of this `release`, such as 0.1.0, with rows, for the tests of later ones")

// releases is where the tables of each release are kept, and with them topics.ndjson, what Kafka had; the lines that were
// issued of each month, in MONTH.csv, and that the first one had computed again by all that came, in MONTH.draft.csv; and
// the balance of all months, in balance.csv.
var releases = filepath.Join("..", "..", "schemas", "tables", "released")

// releasedTenants are those of the made month "lifecycle" that are kept with a release. They have commitments, overage and
// prepaid subscriptions, one licence model after another, agents by name, and a zone that is hours from UTC.
var releasedTenants = []string{"tenant-003", "T7", "tenant-023", "11"}

// released is the program over the servers of the binary, in a database and with topics of its own.
type released struct {
	t        *testing.T
	database string
	prefix   string
	set      []string
}

func newReleased(t *testing.T, addr, database, version string) *released {
	r := &released{t: t, database: database, prefix: "released-" + version + "."}
	r.set = []string{
		"--set", "kafka.brokers=" + servicetest.Kafka(t), "--set", "kafka.topicPrefix=" + r.prefix, "--set", "kafka.group=" + database,
		"--set", "kafka.partitions=2", "--set", "clickhouse.addr=" + addr, "--set", "clickhouse.database=" + database,
	}
	return r
}

// apportion runs a command, which must end with one of the exit codes, and returns what it prints.
func (r *released) apportion(codes []int, args ...string) string {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), append(args, r.set...), nil, nil, &stdout, &stderr); !slices.Contains(codes, code) {
		r.t.Fatalf("apportion %s: exit code %d\n%s%s", strings.Join(args, " "), code, &stdout, &stderr)
	}
	return stdout.String()
}

// How a command may end: well, or also with what is to be looked at.
var wellDone, orFindings = []int{exitDone}, []int{exitDone, exitFindings}

// releasedMonths are the months that are issued in what is kept.
var releasedMonths = []string{"2026-05", "2026-06"}

// TestKeepRelease keeps the tables as they are in a release, when it is asked to: two months of which the second has
// adjustments of the first, and a third that is open.
func TestKeepRelease(t *testing.T) {
	if *releasing == "" {
		t.Skip("it is for a release: see CONTRIBUTING.md")
	}
	if *releasing != release {
		t.Fatalf("the program is release %s; set it in version.go first", release)
	}
	dir := filepath.Join(releases, *releasing)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	database := "released_" + strings.ReplaceAll(*releasing, ".", "_")
	r := newReleased(t, servicetest.DatabaseCalled(t, database), database, *releasing)
	document, first, rest := releasedInput(t)
	r.apportion(wellDone, "migrate")
	r.apportion(wellDone, "registry", "apply", "-f", document)
	for i, events := range []string{first, rest} {
		r.apportion(wellDone, "publish", events)
		r.apportion(wellDone, "ingest", "--until-caught-up")
		asOf := []string{"2026-06-10T00:00:00Z", "2026-07-10T00:00:00Z"}[i]
		r.apportion(orFindings, "bill", "issue", "--period", releasedMonths[i], "--as-of", asOf, "--allow-future")
	}
	r.apportion(wellDone, "bill", "hold", "--period", "2026-07", "--tenant", "T7", "--reason", "to be looked at")
	if issued := r.issued("2026-06"); !bytes.Contains(issued, []byte(",adjustment,")) {
		t.Errorf("nothing is adjusted:\n%s", issued)
	}
	for name, content := range r.bills() {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tablestest.DumpReleased(t, database, filepath.Join(releases, ".."), dir)
	r.keepTopics(filepath.Join(dir, "topics.ndjson"))
}

// releasedInput writes the registry and the deliveries of the tenants, and of none that could be read, to files: most
// of the deliveries, and those that come after the first month is issued.
func releasedInput(t *testing.T) (document, first, rest string) {
	month, dir := filepath.Join("testdata", "cases", "lifecycle"), t.TempDir()
	var registry struct {
		Tenants []map[string]any `json:"tenants"`
	}
	readJSON(t, filepath.Join(month, "registry.json"), &registry)
	registry.Tenants = slices.DeleteFunc(registry.Tenants, func(tenant map[string]any) bool {
		return !slices.Contains(releasedTenants, tenant["id"].(string))
	})
	content, err := json.Marshal(registry)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.Open(filepath.Join(month, "events.ndjson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	events, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var parts [2]bytes.Buffer
	n := 0
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			TenantID string `json:"tenantid"`
		}
		err := json.Unmarshal(lines.Bytes(), &event)
		if err == nil && !slices.Contains(releasedTenants, event.TenantID) && event.TenantID != "globex-unknown" || len(lines.Bytes()) > 10_000 {
			continue
		}
		n++
		part := &parts[0]
		if n%3 == 0 {
			part = &parts[1]
		}
		part.Write(lines.Bytes())
		part.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	document, first, rest = filepath.Join(dir, "registry.json"), filepath.Join(dir, "first.ndjson"), filepath.Join(dir, "rest.ndjson")
	for file, content := range map[string][]byte{document: content, first: parts[0].Bytes(), rest: parts[1].Bytes()} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return document, first, rest
}

// bills returns what must not change, by the names of the files that keep it.
func (r *released) bills() map[string][]byte {
	r.t.Helper()
	out := r.t.TempDir()
	first := releasedMonths[0]
	r.apportion(orFindings, "bill", "preview", "--period", first, "--as-of", "2026-06-10T00:00:00Z", "--out", out)
	bills := map[string][]byte{
		first + ".draft.csv": readFile(r.t, filepath.Join(out, first+".draft", "lines.csv")),
		"balance.csv":        []byte(r.apportion(orFindings, "reconcile", "--csv")),
	}
	for _, month := range releasedMonths {
		bills[month+".csv"] = r.issued(month)
	}
	return bills
}

// issued returns the lines that are issued of a month.
func (r *released) issued(month string) []byte {
	r.t.Helper()
	out := r.t.TempDir()
	r.apportion(orFindings, "bill", "export", "--period", month, "--out", out)
	return readFile(r.t, filepath.Join(out, month, "lines.csv"))
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// wantKept compares bills with those that are kept, in the columns that those have: figures, but not the words that
// explain them, which may be put better.
func (r *released) wantKept(dir string) {
	r.t.Helper()
	for name, content := range r.bills() {
		if got, want := figures(r.t, content), figures(r.t, readFile(r.t, filepath.Join(dir, name))); got != want {
			r.t.Errorf("%s is\n%s\nand was in the release\n%s", name, got, want)
		}
	}
}

// figures returns CSV without the columns of words.
func figures(t *testing.T, content []byte) string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("%v in\n%s", err, content)
	}
	var b strings.Builder
	for _, row := range rows {
		for i, name := range rows[0] {
			if name != "note" && name != "findings" {
				b.WriteString(name + "=" + row[i] + " ")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// keptRecord is a record on Kafka as it is kept.
type keptRecord struct {
	Topic     string
	Partition int
	kafka.Record
}

// keepTopics writes all that is on Kafka, a record a line, each partition in its order.
func (r *released) keepTopics(file string) {
	r.t.Helper()
	client := kafka.NewClient(kafka.Brokers{Addrs: []string{servicetest.Kafka(r.t)}}, slog.New(slog.DiscardHandler))
	defer client.Close()
	topics := []string{r.prefix + schemas.TopicRegistry, r.prefix + schemas.TopicRejected}
	for _, typ := range schemas.Types {
		topics = append(topics, r.prefix+typ.Topic())
	}
	partitions, err := client.Partitions(r.t.Context(), topics...)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(partitions, kafka.TopicPartition.Compare)
	ends, err := client.Bounds(r.t.Context(), partitions...)
	if err != nil {
		r.t.Fatal(err)
	}
	var all bytes.Buffer
	lines := json.NewEncoder(&all)
	for _, p := range partitions {
		for next := int64(0); next < ends[p].End && err == nil; {
			next, err = client.Visit(r.t.Context(), p, next, 1<<20, time.Second, func(k *kafka.Record) error {
				return lines.Encode(keptRecord{p.Topic, p.Partition, *k})
			})
		}
	}
	if err == nil {
		err = os.WriteFile(file, all.Bytes(), 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// fillTopics publishes what was kept, each record at its place.
func (r *released) fillTopics(file string) {
	r.t.Helper()
	kept, err := os.Open(file)
	if err != nil {
		r.t.Fatal(err)
	}
	defer kept.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(servicetest.Kafka(r.t)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	var offsets []int64
	for lines := json.NewDecoder(kept); lines.More(); {
		var k keptRecord
		if err := lines.Decode(&k); err != nil {
			r.t.Fatal(err)
		}
		record := &kgo.Record{Topic: k.Topic, Partition: int32(k.Partition), Timestamp: time.UnixMilli(k.TimeMS), Key: k.Key, Value: k.Value}
		for _, h := range k.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		records = append(records, record)
		offsets = append(offsets, k.Offset)
	}
	if err := client.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	for i, record := range records {
		if record.Offset != offsets[i] {
			r.t.Fatalf("%s/%d has at offset %d what was at %d", record.Topic, record.Partition, record.Offset, offsets[i])
		}
	}
}

// TestReleasedUpgraded: the tables of each release, brought to those of today, have the same bills. They are issued as they
// were to the cent, computed again they come to the same, and the balance holds (R20, R22). That goes on over the tables of
// the release to come, which this one may be put back to, or run beside.
func TestReleasedUpgraded(t *testing.T) {
	servicetest.Heavy(t, "it bills some months")
	dirs, err := filepath.Glob(filepath.Join(releases, "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no release is kept in %s (%v)", releases, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			addr, database := tablestest.LoadReleased(t, dir)
			r := newReleased(t, addr, database, filepath.Base(dir))
			r.apportion(wellDone, "migrate")
			r.apportion(wellDone, "migrate", "--check")
			r.fillTopics(filepath.Join(dir, "topics.ndjson"))

			r.wantKept(dir)
			expand(t, addr, database)
			r.apportion(wellDone, "aggregate", "--rebuild")
			r.wantKept(dir)
		})
	}
}

// expand brings tables to the schema of a release to come.
func expand(t *testing.T, addr, database string) {
	t.Helper()
	conn := tablestest.Connect(t, addr, database)
	next := string(readFile(t, filepath.Join(releases, "..", "testdata", "next", "007_next.sql")))
	for statement := range strings.SplitSeq(next+"\nINSERT INTO goose_db_version (version_id, is_applied) VALUES (7, 1);\n", ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%v in\n%s", err, statement)
		}
	}
}

// TestReleaseIsNamedAlike: the image, the changelog, the page of the upgrade and the kept tables are of the release.
func TestReleaseIsNamedAlike(t *testing.T) {
	for file, want := range map[string]string{
		"deploy/Dockerfile":      `org.opencontainers.image.version="` + release + `"`,
		"CHANGELOG.md":           "\n## [" + release + "] - ",
		"README.md":              "this is release " + release + ";",
		"docs/how-to/upgrade.md": "\n| " + release + " | ",
		"schemas/tables/released/" + release + "/" + tablestest.FrozenFile: "  006_views.sql\n",
	} {
		if text := string(readFile(t, filepath.Join("..", "..", file))); !strings.Contains(text, want) {
			t.Errorf("%s does not have %q", file, want)
		}
	}
}

package clickhouse_test

import (
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas/tables/tablestest"
)

// TestLaggingSince: what no pass is based on yet is as old as its entry in the ledger, or as its command.
func TestLaggingSince(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	want := func(when string, since int64) {
		t.Helper()
		got, lagging, err := store.LaggingSince(t.Context())
		if err != nil || lagging != (since >= 0) || lagging && got != since {
			t.Errorf("%s: %d, %t, %v; want %d", when, got, lagging, err, since)
		}
	}
	batch := func(partition, first, last int, writtenMS int64) {
		t.Helper()
		if err := conn.Exec(t.Context(), `INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, written_at)
			SELECT 'usage', ?, ?, ?, fromUnixTimestamp64Milli(toInt64(?), 'UTC')`, partition, first, last, writtenMS); err != nil {
			t.Fatal(err)
		}
	}
	pass := func(number uint64, registry int64, positions ...aggregate.Position) {
		t.Helper()
		if err := store.Finish(t.Context(), aggregate.Pass{Basis: aggregate.Basis{Pass: number, RegistryOffset: registry, Positions: positions}}); err != nil {
			t.Fatal(err)
		}
	}
	want("nothing has happened", -1)
	batch(0, 0, 9, 5000)
	batch(0, 10, 19, 6000)
	batch(1, 0, 4, 7000)
	want("before the first pass", 5000)
	pass(1, 0, aggregate.Position{Topic: "usage", Partition: 0, LastOffset: 9})
	want("a batch of a partition that the pass knows, and a partition that it does not", 6000)
	pass(2, 0, aggregate.Position{Topic: "usage", Partition: 0, LastOffset: 19})
	want("only the other partition", 7000)
	pass(3, 0, aggregate.Position{Topic: "usage", Partition: 0, LastOffset: 19}, aggregate.Position{Topic: "usage", Partition: 1, LastOffset: 4})
	want("all are current", -1)
	if err := conn.Exec(t.Context(), `INSERT INTO registry_log (offset, arrived_ms, command, accepted) VALUES (0, 8000, 'put_tenant', true), (1, 9000, 'set_licences', true), (2, 7000, 'claim_issue', true), (3, 7000, 'put_tenant', false)`); err != nil {
		t.Fatal(err)
	}
	want("two commands", 8000)
	batch(1, 5, 5, 8500)
	want("and a batch between them", 8000)
	pass(4, 1, aggregate.Position{Topic: "usage", Partition: 0, LastOffset: 19}, aggregate.Position{Topic: "usage", Partition: 1, LastOffset: 4})
	want("the first command is current", 8500)
	pass(5, 1, aggregate.Position{Topic: "usage", Partition: 0, LastOffset: 19}, aggregate.Position{Topic: "usage", Partition: 1, LastOffset: 5})
	want("the batch, too, and not the licences that are set", 9000)
}

// TestLaggingSinceReadsLittle: what the last pass has seen of a long ledger is not read.
func TestLaggingSinceReadsLittle(t *testing.T) {
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	if err := conn.Exec(t.Context(), `INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, written_at)
		SELECT 'usage', number % 4, intDiv(number, 4), intDiv(number, 4), fromUnixTimestamp64Milli(toInt64(number), 'UTC') FROM numbers(1000000)`); err != nil {
		t.Fatal(err)
	}
	pass := aggregate.Pass{Basis: aggregate.Basis{Pass: 1}}
	for partition := range int32(4) {
		pass.Positions = append(pass.Positions, aggregate.Position{Topic: "usage", Partition: partition, LastOffset: 249_989})
	}
	if err := store.Finish(t.Context(), pass); err != nil {
		t.Fatal(err)
	}
	var read uint64
	ctx := ch.Context(t.Context(), ch.WithProgress(func(p *ch.Progress) { read += p.Rows }))
	since, found, err := store.LaggingSince(ctx)
	if err != nil || !found || since != 999_960 {
		t.Errorf("%d, %t, %v; want 999960", since, found, err)
	}
	if read > 200_000 {
		t.Errorf("%d rows are read of a million, of which 40 are new", read)
	}
}

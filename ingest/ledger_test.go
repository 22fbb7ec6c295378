package ingest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
	"apportion/schemas/tables/tablestest"
)

// TestLedgerIsReadByItsHeads: what a batch, a pass and a balance ask reads a row a partition of each part, however
// many entries there are.
func TestLedgerIsReadByItsHeads(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnv(t, 1)
	ledgerOf(e, 3_000_000)
	s := storeOf(e.conn)
	p := partition(e.Prefix+"usage.agent.v1", 0)
	for _, step := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"positions", func(ctx context.Context) error {
			positions, err := s.positions(ctx, []string{p.Topic})
			if len(positions) != 12 || positions[p] != 15_000_000 {
				err = fmt.Errorf("the positions are %v, %w", positions, err)
			}
			return err
		}},
		{"enter", func(ctx context.Context) error {
			return s.enter(ctx, []ledgerRow{{TopicPartition: p, first: 15_000_000, last: 15_000_000, read: 1, accepted: 1}}, uuid.New())
		}},
		{"ledger", func(ctx context.Context) error {
			all, err := ledger(ctx, e.conn)
			if b := all[p]; b.Read < 15_000_000 || len(b.Holes)+len(b.Overlaps) > 0 {
				err = fmt.Errorf("the balance is %+v, %w", b, err)
			}
			return err
		}},
	} {
		var read uint64
		ctx := clickhouse.Context(t.Context(), clickhouse.WithProgress(func(p *clickhouse.Progress) { read += p.Rows }))
		if err := step.ask(ctx); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if t.Logf("%s reads %d rows", step.name, read); read > 10_000 {
			t.Errorf("%s reads %d rows of a ledger of 3 million", step.name, read)
		}
	}
}

// TestLedgerThatIsAlwaysAhead has something else write to the ledger whatever a consumer is about to enter.
func TestLedgerThatIsAlwaysAhead(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	t.Parallel() // most of it is waiting
	e := newEnv(t, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(100)...)...)
	var inserts atomic.Int64
	deps := e.deps()
	deps.ClickHouse = failing{e.conn, func(query string) error {
		if strings.HasPrefix(query, "INSERT INTO usage_events") {
			inserts.Add(1)
		}
		if strings.HasPrefix(query, "INSERT INTO ingest_batches") {
			e.exec(`INSERT INTO ingest_batches (topic, partition, first_offset, last_offset) SELECT '` + e.Prefix + schemas.TopicAgent + `' AS t, 0,
				if(count() = 0, 0, max(last_offset) + 1) AS next, next FROM ingest_batches WHERE topic = t`)
		}
		return nil
	}}
	cfg := e.config()
	cfg.BatchRows = 1000
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Patience)
	defer cancel()
	err := New(cfg, deps).Run(ctx)
	if said := regexp.MustCompile(`10 times in a row .*usage.agent.v1/0 up to offset 9, and takes no entry of 9-99; .*find out what inserts into ingest_batches`); err == nil || !said.MatchString(err.Error()) {
		t.Errorf("the error is %v; the log has\n%s", err, e.log)
	}
	if n := inserts.Load(); n != mostRefused {
		t.Errorf("%d inserts, not %d", n, mostRefused)
	}
	if n := strings.Count(e.log.String(), "level=WARN msg=\"resuming from the ledger\""); n != mostRefused-1 {
		t.Errorf("%d warnings, not %d", n, mostRefused-1)
	}
}

// TestPauseOfFences: pauses double up to a bound, and an entry in between ends the row. A broker that refuses is
// waited for without end.
func TestPauseOfFences(t *testing.T) {
	var f fences
	refused := fmt.Errorf("entering: %w", refusedEntry{})
	want := firstPause
	for i := 1; i < mostRefused; i++ {
		if pause, err := f.fenced(refused); err != nil || pause != want {
			t.Errorf("after %d: %v, %v; want %v", i, pause, err, want)
		}
		want = min(2*want, lastPause)
	}
	f.entered()
	for range 100 * mostRefused {
		if pause, err := f.fenced(errors.Join(errFenced, errors.New("the broker says no"))); err != nil || pause > lastPause || pause < firstPause {
			t.Fatal(pause, err)
		}
	}
	if _, err := f.fenced(refused); err != nil {
		t.Error(err)
	}
}

// TestMergesOfTheLedger: batches of a run become one row, and the balance, the holes and the overlaps stay what they
// were, on a server and over a cluster.
func TestMergesOfTheLedger(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	t.Run("server", func(t *testing.T) {
		e := newEnv(t, 1)
		mergesOfTheLedger(t, e.conn, e.conn)
	})
	t.Run("cluster", func(t *testing.T) {
		conn, shards := tablestest.OpenCluster(t)
		mergesOfTheLedger(t, conn, shards[0])
	})
}

func mergesOfTheLedger(t *testing.T, conn, owner driver.Conn) {
	exec := func(conn driver.Conn, query string) {
		t.Helper()
		ctx := t.Context()
		if err := conn.Exec(ctx, query); err != nil {
			t.Fatal(err)
		}
	}
	rowsOf := func(topic string) (n uint64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), `SELECT count() FROM ingest_batches WHERE topic = ?`, topic).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	balances := func() map[string]*PartitionBalance {
		t.Helper()
		all, err := ledger(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		byTopic := map[string]*PartitionBalance{}
		for _, b := range all {
			byTopic[b.Topic] = b
		}
		return byTopic
	}
	exec(owner, "SYSTEM STOP MERGES ingest_batches")
	for _, row := range []string{
		"'whole', 0, 4, 4, 3, 1, 0", "'whole', 5, 9, 5, 5, 0, 0", "'whole', 10, 14, 5, 5, 0, 0",
		"'hole', 0, 4, 5, 5, 0, 0", "'hole', 7, 7, 1, 1, 0, 7", "'hole', 8, 9, 2, 2, 0, 7",
		"'overlap', 0, 4, 5, 5, 0, 0", "'overlap', 2, 2, 1, 1, 0, 2", "'overlap', 4, 8, 5, 5, 0, 4",
		// What lies between would hide a hole of the same size from a sum.
		"'both', 0, 4, 5, 5, 0, 0", "'both', 3, 4, 2, 2, 0, 3", "'both', 7, 9, 3, 3, 0, 7",
		"'twice', 0, 4, 5, 5, 0, 0", "'twice', 0, 4, 5, 5, 0, 0",
		"'torn', 0, 4, 5, 5, 0, 0", "'torn', 10, 14, 5, 5, 0, 0",
	} {
		exec(conn, `INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected, run_offset, written_at)
			SELECT r.1, 0, r.2, r.3, r.4, r.5, r.6, r.7, toDateTime64('2026-10-14 09:00:00', 3, 'UTC') FROM (SELECT tuple(`+row+`) AS r)`)
	}
	want := map[string]*PartitionBalance{
		"whole":   {Offsets: OffsetRange{0, 14}, Read: 14, Accepted: 13, Rejected: 1, Skipped: 1},
		"hole":    {Offsets: OffsetRange{0, 9}, Read: 8, Accepted: 8, Holes: []OffsetRange{{5, 6}}},
		"overlap": {Offsets: OffsetRange{0, 8}, Read: 11, Accepted: 11, Overlaps: []OffsetRange{{2, 2}, {4, 4}}},
		"both":    {Offsets: OffsetRange{0, 9}, Read: 10, Accepted: 10, Holes: []OffsetRange{{5, 6}}, Overlaps: []OffsetRange{{3, 4}}},
		"twice":   {Offsets: OffsetRange{0, 4}, Read: 10, Accepted: 10, Overlaps: []OffsetRange{{0, 4}}},
		"torn":    {Offsets: OffsetRange{0, 14}, Read: 10, Accepted: 10, Holes: []OffsetRange{{5, 9}}},
	}
	compare := func(when string) {
		t.Helper()
		got := balances()
		for topic, b := range want {
			if b.Topic = topic; !reflect.DeepEqual(got[topic], b) {
				t.Errorf("%s: the balance is %+v, not %+v", when, got[topic], b)
			}
		}
	}
	compare("before")
	if n := rowsOf("whole"); n != 3 {
		t.Errorf("%d rows before", n)
	}
	exec(owner, "SYSTEM START MERGES ingest_batches")
	exec(owner, "OPTIMIZE TABLE ingest_batches FINAL")
	// A row of a run that has lost one in the midst of it cannot say where.
	want["torn"].Holes = []OffsetRange{{0, 14}}
	compare("after")
	for topic, rows := range map[string]uint64{"whole": 1, "hole": 2, "overlap": 3, "both": 3, "twice": 1, "torn": 1} {
		if n := rowsOf(topic); n != rows {
			t.Errorf("%d rows of %s after, not %d", n, topic, rows)
		}
	}
	// The next batch goes on where the row ends, and a batch of before is refused.
	s := storeOf(conn)
	p := partition("whole", 0)
	if err := s.enter(t.Context(), []ledgerRow{{p, 15, 19, 5, 5, 0, 0}}, uuid.New()); err != nil {
		t.Error(err)
	}
	for _, r := range []ledgerRow{{p, 10, 17, 5, 5, 0, 0}, {p, 10, 24, 5, 5, 0, 10}} {
		if err := s.enter(t.Context(), []ledgerRow{r}, uuid.New()); !errors.As(err, new(refusedEntry)) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if next, err := s.positions(t.Context(), []string{"whole"}); err != nil || next[p] != 20 {
		t.Errorf("positions: %v, %v", next, err)
	}
}

// TestRowsOfTheLedgerDeleted: what is read of the ledger goes with its rows, however they are deleted.
func TestRowsOfTheLedgerDeleted(t *testing.T) {
	e := newEnv(t, 1)
	e.exec("INSERT INTO ingest_batches (topic, partition, first_offset, last_offset) SELECT 'a', 0, 10 * number, 10 * number + 9 FROM numbers(5)")
	p := partition("a", 0)
	for _, step := range []struct {
		statement string
		next      int64
		holes     []OffsetRange
	}{
		{"SELECT 1", 50, nil},
		{"DELETE FROM ingest_batches WHERE first_offset = 10", 50, []OffsetRange{{10, 19}}},
		{"ALTER TABLE ingest_batches DELETE WHERE first_offset = 30", 50, []OffsetRange{{10, 19}, {30, 39}}},
		{"DELETE FROM ingest_batches WHERE first_offset = 40", 30, []OffsetRange{{10, 19}}},
		{"OPTIMIZE TABLE ingest_batches FINAL", 30, []OffsetRange{{10, 19}}},
	} {
		e.exec(step.statement)
		next, err := storeOf(e.conn).positions(t.Context(), []string{"a"})
		if err != nil || next[p] != step.next {
			t.Errorf("%s: positions %v, %v; want %d", step.statement, next, err, step.next)
		}
		all, err := ledger(t.Context(), e.conn)
		if err != nil || !slices.Equal(all[p].Holes, step.holes) || len(all[p].Overlaps) > 0 {
			t.Errorf("%s: the balance is %+v, %v; want the holes %v", step.statement, all[p], err, step.holes)
		}
	}
}

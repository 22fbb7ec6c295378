package ingest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
)

// ledgerOf fills the ledger with entries of 12 partitions of 60 offsets each, as a trickle leaves them.
func ledgerOf(e *env, entries int) {
	e.t.Helper()
	const piece = 20_000_000
	for done := 0; done < entries; done += piece {
		e.exec(fmt.Sprintf(`INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected)
			SELECT '%[1]susage.agent.v1', number %% 12, intDiv(number, 12) * 60, intDiv(number, 12) * 60 + 59, 60, 60, 0
			FROM numbers(%[2]d, %[3]d)`, e.Prefix, done, min(piece, entries-done)))
	}
}

// BenchmarkLedger measures what each batch, each pass and each balance ask of a ledger of a million and of 100
// million entries.
func BenchmarkLedger(b *testing.B) {
	for _, entries := range []int{1_000_000, 100_000_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) { benchmarkLedger(b, entries) })
	}
}

func benchmarkLedger(b *testing.B, entries int) {
	e := newEnv(b, 1)
	began := time.Now()
	ledgerOf(e, entries)
	b.Logf("%d entries in %v, %s", entries, time.Since(began), e.rows(`SELECT count(), sum(rows), formatReadableSize(sum(bytes_on_disk))
		FROM system.parts WHERE active AND database = currentDatabase() AND table = 'ingest_batches'`))
	s := storeOf(e.conn)
	p := partition(e.Prefix+"usage.agent.v1", 0)
	next := int64(0)
	steps := map[string]func(context.Context) error{
		"positions": func(ctx context.Context) error {
			positions, err := s.positions(ctx, []string{p.Topic})
			next = positions[p]
			return err
		},
		"enter": func(ctx context.Context) error {
			next += 60
			return s.enter(ctx, []ledgerRow{{TopicPartition: p, first: next - 60, last: next - 1, read: 60, accepted: 60}}, uuid.New())
		},
		"balance": func(ctx context.Context) error {
			_, err := Balance(ctx, e.conn, nil)
			return err
		},
	}
	for _, name := range []string{"positions", "enter", "balance"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := steps[name](b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms")
		})
	}
}

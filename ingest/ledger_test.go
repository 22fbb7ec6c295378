package ingest

import (
	"context"
	"fmt"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// TestLedgerIsReadByItsHeads: what a block, a pass and a balance ask reads a row a partition of each part, however
// many entries there are.
func TestLedgerIsReadByItsHeads(t *testing.T) {
	e := newEnv(t, 1)
	ledgerOf(e, 3_000_000)
	s := store{e.conn}
	p := place{e.prefix + "usage.agent.v1", 0}
	for _, step := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"positions", func(ctx context.Context) error {
			positions, err := s.positions(ctx, []string{p.topic})
			if len(positions) != 12 || positions[p] != 15_000_000 {
				err = fmt.Errorf("the positions are %v, %w", positions, err)
			}
			return err
		}},
		{"enter", func(ctx context.Context) error {
			return s.enter(ctx, []ledgerRow{{place: p, first: 15_000_000, last: 15_000_000, read: 1, accepted: 1}})
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

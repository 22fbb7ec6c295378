package clickhouse_test

import (
	"testing"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas/tables/tablestest"
)

// TestPassesOfADay: one pass a day is kept, the highest, whichever of them finished last.
func TestPassesOfADay(t *testing.T) {
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	if err := conn.Exec(t.Context(), `INSERT INTO usage_passes (pass, finished_at) VALUES (1, '2026-01-01 10:00:00'), (2, '2026-01-01 11:00:00'), (3, '2026-01-02 10:00:00')`); err != nil {
		t.Fatal(err)
	}
	for _, number := range []uint64{5, 7, 6} {
		pass := aggregate.Pass{Basis: aggregate.Basis{Pass: number, Positions: []aggregate.Position{{Topic: "usage", LastOffset: int64(number)}}}}
		if err := store.Finish(t.Context(), pass); err != nil {
			t.Fatal(err)
		}
		// Passes of two days if midnight comes in between.
		if err := conn.Exec(t.Context(), `OPTIMIZE TABLE usage_passes FINAL`); err != nil {
			t.Fatal(err)
		}
	}
	last, err := store.LastPass(t.Context())
	if err != nil || last.Pass != 7 || len(last.Positions) != 1 || last.Positions[0].LastOffset != 7 {
		t.Errorf("the last pass is %+v, %v", last, err)
	}
	var kept, days uint64
	if err := conn.QueryRow(t.Context(), `SELECT count(), uniqExact(toDate(finished_at)) FROM usage_passes`).Scan(&kept, &days); err != nil || kept != days {
		t.Errorf("%d passes of %d days are kept, %v", kept, days, err)
	}
}

package clickhouse_test

import (
	"reflect"
	"testing"

	"apportion/aggregate/clickhouse"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// TestMonthsChangedSince: by tenant the months with a day that is current by a later pass, with the last such pass.
func TestMonthsChangedSince(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	if err := conn.Exec(t.Context(), `INSERT INTO usage_days (tenant, date, pass, attempt)
		SELECT c1, toDate32(c2), c3, generateUUIDv4() FROM VALUES(
			('acme', '2026-09-30', 7), ('acme', '2026-09-30', 9), ('acme', '2026-09-01', 8), ('acme', '2026-10-01', 7),
			('beta', '2026-10-01', 8), ('gamma', '2026-10-01', 9))`); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[uint64]map[string]map[civil.Month]uint64{
		6: {"acme": {civil.NewMonth(2026, 9): 9, civil.NewMonth(2026, 10): 7}, "beta": {civil.NewMonth(2026, 10): 8}},
		7: {"acme": {civil.NewMonth(2026, 9): 9}, "beta": {civil.NewMonth(2026, 10): 8}},
		8: {"acme": {civil.NewMonth(2026, 9): 9}},
		9: {},
	} {
		if got, err := store.MonthsChangedSince(t.Context(), []string{"acme", "beta", "nobody"}, after); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after %d: %v, %v; want %v", after, got, err, want)
		}
	}
	all := map[string]map[civil.Month]uint64{"acme": {civil.NewMonth(2026, 9): 9}, "gamma": {civil.NewMonth(2026, 10): 9}}
	if got, err := store.MonthsChangedSince(t.Context(), nil, 8); err != nil || !reflect.DeepEqual(got, all) {
		t.Errorf("of all: %v, %v; want %v", got, err, all)
	}
}

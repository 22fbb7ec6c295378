package clickhouse_test

import (
	"testing"

	"apportion/billing/registry"
	"apportion/deploy/embedded/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

// The log is written by whoever folds the topic, so the same commands come again and change nothing (R23).
func TestRegistryLog(t *testing.T) {
	w := newWorld(t)
	conn, log := w.conn, w.table

	last := func(want int64) {
		t.Helper()
		if got, err := log.LastOffset(t.Context()); err != nil || got != want {
			t.Fatalf("LastOffset = %d, %v; want %d", got, err, want)
		}
	}
	last(-1)

	// A command, the same delivered again, and one that is none: its bytes are kept as they are.
	var state registry.State
	var decided []registry.Decided
	change := `{"specversion":"1.0","type":"registry.command","source":"support","id":"c1","time":"2026-10-14T08:00:00Z",` +
		`"authtype":"user","authid":"anna@host","tenantid":"acme","data":{"command":"change_telephony","telephony":"vpop","reason":"moved"}}`
	for offset, payload := range []string{change, change, "\xff\x00 not JSON"} {
		var d registry.Decided
		state, d = state.Take(registry.Record{Offset: int64(offset), ArrivedMS: 1000 + int64(offset), Payload: []byte(payload)})
		decided = append(decided, d)
	}
	for _, batch := range [][]registry.Decided{decided[:1], decided, nil, decided[1:]} {
		if err := log.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	last(2)

	rows, err := conn.Query(t.Context(), `SELECT offset, arrived_ms, tenant, source, command_id, command, given_by, accepted,
		arrayMap(r -> r.code, refusals), payload FROM registry_log FINAL ORDER BY offset`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	type row struct {
		offset, arrived                       int64
		tenant, source, id, command, by, code string
		accepted                              bool
		payload                               string
	}
	var got []row
	for rows.Next() {
		var r row
		var codes []string
		if err := rows.Scan(&r.offset, &r.arrived, &r.tenant, &r.source, &r.id, &r.command, &r.by, &r.accepted, &codes, &r.payload); err != nil {
			t.Fatal(err)
		}
		if len(codes) > 0 {
			r.code = codes[0]
		}
		got = append(got, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	want := []row{
		{0, 1000, "acme", "support", "c1", "change_telephony", "user anna@host", "unknown_tenant", false, change},
		{1, 1001, "acme", "support", "c1", "change_telephony", "user anna@host", "unknown_tenant", false, change},
		{2, 1002, "", "", "", "", "", "malformed_command", false, "\xff\x00 not JSON"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d: %v", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("row %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

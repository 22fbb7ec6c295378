package clickhouse_test

import (
	"context"
	"reflect"
	"testing"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas"
	"apportion/schemas/tables/tablestest"
)

// TestRefused: refused deliveries behind some positions, each once, with what was accepted of their events; those of
// events without an accepted one are counted (R24).
func TestRefused(t *testing.T) {
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	event := func(id string, revision int32, timeMS int64) schemas.Event {
		return schemas.Event{Tenant: "acme", Source: "/s", ID: id, Type: schemas.ConnectUsage, Channel: "sms", Quantity: 1, Revision: revision, TimeMS: timeMS, StartMS: schemas.Absent, EndMS: schemas.Absent}
	}
	insert(t, conn, 0, []schemas.Event{event("corrected", 2, 5000), event("corrected", 1, 7000), event("later", 0, 1), event("other", 0, 1)})
	for range 2 { // a batch that was inserted again
		if err := conn.Exec(t.Context(), `INSERT INTO rejected (topic, partition, offset, code, field, tenant, source, id, payload, headers) VALUES
			('usage', 0, 10, 'invalid_field', 'endTime', 'acme', '/s', 'corrected', '{"x":1}', [('ce_id', 'corrected')]),
			('usage', 0, 11, 'invalid_field', 'quantity', 'acme', '/s', 'corrected', 'y', []),
			('usage', 0, 12, 'missing_field', 'channel', 'acme', '/s', 'never-b', 'y', []),
			('usage', 0, 13, 'missing_field', 'channel', 'acme', '/s', 'never-a', 'y', []),
			('usage', 0, 14, 'missing_field', 'channel', 'acme', '/s', 'never-a', 'y', []),
			('usage', 0, 15, 'missing_field', 'id', 'acme', '/s', '', 'y', []),
			('usage', 0, 16, 'missing_field', 'channel', 'beta', '/s', 'other', 'y', []),
			('usage', 0, 30, 'missing_field', 'channel', 'acme', '/s', 'other', 'y', [])`); err != nil {
			t.Fatal(err)
		}
	}
	upTo := func(offset int64) []aggregate.Position {
		return []aggregate.Position{{Topic: "usage", LastOffset: offset}}
	}
	corrections, others, err := store.Refused(context.Background(), []string{"acme"}, nil, upTo(20))
	if err != nil {
		t.Fatal(err)
	}
	want := []aggregate.Refused{
		{Tenant: "acme", EventName: aggregate.EventName{Source: "/s", ID: "corrected"}, Revision: 2, TimeMS: 7000, TimeRevision: 1, Headers: []schemas.Header{{Key: "ce_id", Value: []byte("corrected")}},
			Value: []byte(`{"x":1}`), RecordID: schemas.RecordID{Topic: "usage", Offset: 10}, Code: "invalid_field", Field: "endTime"},
		{Tenant: "acme", EventName: aggregate.EventName{Source: "/s", ID: "corrected"}, Revision: 2, TimeMS: 7000, TimeRevision: 1,
			Value: []byte(`y`), RecordID: schemas.RecordID{Topic: "usage", Offset: 11}, Code: "invalid_field", Field: "quantity"},
	}
	if !reflect.DeepEqual(corrections, want) {
		t.Errorf("corrections %+v, want %+v", corrections, want)
	}
	never := []aggregate.Noted{{Tenant: "acme", Count: 2, Events: []aggregate.EventName{{Source: "/s", ID: "never-a"}, {Source: "/s", ID: "never-b"}}}}
	if !reflect.DeepEqual(others, never) {
		t.Errorf("others %+v, want %+v", others, never)
	}
	if corrections, others, err = store.Refused(context.Background(), []string{"acme", "beta"}, upTo(10), upTo(40)); err != nil || len(corrections) != 2 || corrections[1].ID != "other" ||
		len(others) != 2 || others[1].Tenant != "beta" {
		t.Errorf("behind offset 10: %+v, %+v, %v", corrections, others, err)
	}
}

// TestReaching: what has come behind some positions of events that have a delivery before the tenant's instant, those
// that a revision has moved across it among them (R25).
func TestReaching(t *testing.T) {
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	const day = 86_400_000
	event := func(tenant, id string, timeMS int64) schemas.Event {
		return schemas.Event{Tenant: tenant, Source: "/s", ID: id, Type: schemas.ConnectUsage, Channel: "sms", Quantity: 1, TimeMS: timeMS, StartMS: schemas.Absent, EndMS: schemas.Absent}
	}
	// Known before, then behind offset 2: late, late again, moved out, moved in, in time; and of another tenant, and instant.
	insert(t, conn, 0, []schemas.Event{event("acme", "known", day), event("acme", "out", day), event("acme", "in", 20*day),
		event("acme", "late", 10*day-1), event("acme", "late", day), event("acme", "out", 30*day), event("acme", "in", 9*day), event("acme", "in time", 10*day),
		event("beta", "early", 10*day-1)})
	if err := conn.Exec(t.Context(), `INSERT INTO events_on_several_days SELECT tenant, identity, intDiv(occurred_ms, 86400000) FROM usage_events WHERE id IN ('out', 'in')`); err != nil {
		t.Fatal(err)
	}
	upTo := func(offset int64) []aggregate.Position {
		return []aggregate.Position{{Topic: "usage", LastOffset: offset}}
	}
	name := func(id string) aggregate.EventName { return aggregate.EventName{Source: "/s", ID: id} }
	got, err := store.Reaching(t.Context(), map[string]int64{"acme": 10 * day, "beta": 5 * day}, upTo(2), upTo(99))
	want := []aggregate.Noted{{Tenant: "acme", Code: schemas.Sealed, Count: 3, Events: []aggregate.EventName{name("in"), name("late"), name("out")}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got, err = store.Reaching(t.Context(), map[string]int64{"acme": 10 * day, "beta": 10 * day}, upTo(7), upTo(99)); err != nil || len(got) != 1 || got[0].Events[0] != name("early") {
		t.Errorf("behind offset 7: %+v, %v", got, err)
	}
}

package clickhouse_test

import (
	"slices"
	"strings"
	"testing"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// TestExportDeliveries: what touches the period is there with all of its event, in the order of records, as far as the
// positions go; a row that came twice is there once.
func TestExportDeliveries(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	from, to := civil.UTC.Start(civil.NewDate(2026, 10, 1)), civil.UTC.Start(civil.NewDate(2026, 11, 1))
	const hour = 3600_000
	session := func(tenant, id string, start, end int64) schemas.Event {
		return schemas.Event{Tenant: tenant, Source: "/s", ID: id, Type: schemas.AgentSession, Agent: "x", TimeMS: start, StartMS: start, EndMS: end}
	}
	connect := func(id string, at int64) schemas.Event {
		return schemas.Event{Tenant: "a", Source: "/s", ID: id, Type: schemas.ConnectUsage, Channel: "sms", Quantity: 1_500_000, TimeMS: at, StartMS: schemas.Absent, EndMS: schemas.Absent}
	}
	moved := session("a", "moved away", to+hour, to+2*hour)
	moved.Revision = 1
	void := session("a", "started then", schemas.Absent, schemas.Absent)
	void.Revision, void.Voided, void.TimeMS = 2, true, to+5*hour
	insert(t, conn, 0, []schemas.Event{
		session("a", "before", from-2*hour, from),            // 0: it ends as the period begins
		session("a", "into it", from-2*hour, from+1),         // 1
		session("a", "open, too long ago", from-25*hour, -1), // 2
		session("a", "open, into it", from-23*hour, -1),      // 3
		session("a", "moved away", from+hour, from+2*hour),   // 4
		moved, // 5
		session("a", "started then", to-1, to+hour), // 6
		void,                                // 7
		session("a", "after", to, to+hour),  // 8
		session("b", "another's", from, to), // 9
		connect("the day before", from-1),   // 10
		connect("first", from),              // 11
		connect("after", to),                // 12
		connect("first", from),              // 13: a duplicate
		connect("came later", from),         // 14: beyond the positions
	})
	insert(t, conn, 11, []schemas.Event{connect("first", from)})
	positions := []aggregate.Position{{Topic: "usage", Partition: 0, LastOffset: 13}}
	var got []clickhouse.DeliveryRow
	if err := store.ExportDeliveries(t.Context(), "a", from, to, positions, aggregate.DefaultRules(), func(d clickhouse.DeliveryRow) error {
		got = append(got, d)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	for _, d := range got {
		offsets = append(offsets, d.Offset)
	}
	if want := []int64{1, 3, 4, 5, 6, 7, 11, 13}; !slices.Equal(offsets, want) {
		t.Fatalf("offsets %d, want %d", offsets, want)
	}
	if d := got[1]; d.ID != "open, into it" || *d.StartMS != from-23*hour || d.EndMS != nil || d.Quantity != nil || d.Agent != "x" || d.Type != "agent.session" {
		t.Errorf("an open session is %+v", d)
	}
	if d := got[5]; d.StartMS != nil || !d.Voided || d.Revision != 2 || d.TimeMS != to+5*hour {
		t.Errorf("a void is %+v", d)
	}
	if d := got[6]; d.Channel != "sms" || d.Quantity == nil || strings.TrimLeft(string(d.Quantity[:]), "\x00") != "\x16\xe3\x60" {
		t.Errorf("1.5 units are %+v", d)
	}
}

// TestExportDaily: the current figures, with the tenant as a whole before its subscriptions.
func TestExportDaily(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	day := civil.NewDate(2026, 10, 14)
	start := civil.UTC.Start(day)
	registry := registryAt(1, "S1")
	insert(t, conn, 0, []schemas.Event{
		{Tenant: "a", Source: "/s", ID: "1", Type: schemas.AgentSession, Agent: "x", TimeMS: start, StartMS: start + 5, EndMS: start + 1005},
		{Tenant: "a", Source: "/s", ID: "2", Type: schemas.ConnectUsage, Channel: "sms", Quantity: 2_000_000, TimeMS: start, StartMS: schemas.Absent, EndMS: schemas.Absent},
	})
	if _, err := aggregate.Refresh(t.Context(), store, registry, aggregate.DefaultRules(), func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	var got []clickhouse.DailyRow
	read := func(from, to civil.Date) {
		got = nil
		if err := store.ExportDaily(t.Context(), "a", from, to, func(d clickhouse.DailyRow) error {
			got = append(got, d)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	read(day, day+1)
	if len(got) != 4 {
		t.Fatalf("%d rows: %+v", len(got), got)
	}
	if d := got[0]; d.Date != int32(day) || d.Meter != "agent_standard" || d.Subscription != "" || d.Peak != 1 || *d.PeakMS != start+5 || d.Events != 1 || d.Milliseconds != 1000 || d.Agents != 1 {
		t.Errorf("the tenant as a whole: %+v", d)
	}
	if d := got[3]; d.Meter != "connect.sms" || d.Subscription != "S1" || d.PeakMS != nil || strings.TrimLeft(string(d.Units[:]), "\x00") != "\x1e\x84\x80" {
		t.Errorf("Connect: %+v", d)
	}
	if read(day+1, day+2); len(got) != 0 {
		t.Errorf("the date after has %+v", got)
	}
}

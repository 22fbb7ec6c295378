package ingest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

func TestAcceptedAfter(t *testing.T) {
	l := &DeadLetter{RecordID: recordID("usage.agent.v1", 0, 5), ArrivedMS: 1000}
	for _, test := range []struct {
		name string
		a    Acceptance
		want bool
	}{
		{"further on in its partition, whatever the clock of the sender", Acceptance{RecordID: recordID("usage.agent.v1", 0, 6), ArrivedMS: 900}, true},
		{"before it in its partition", Acceptance{RecordID: recordID("usage.agent.v1", 0, 4), ArrivedMS: 1100}, false},
		{"later in another partition", Acceptance{RecordID: recordID("usage.agent.v1", 1, 0), ArrivedMS: 1001}, true},
		{"earlier on another topic", Acceptance{RecordID: recordID("usage.ivr.v1", 0, 6), ArrivedMS: 999}, false},
	} {
		if got := test.a.After(l); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func recordID(topic string, partition int32, offset int64) schemas.RecordID {
	return schemas.RecordID{Topic: topic, Partition: partition, Offset: offset}
}

// rejected lists the records of dead letters, without the prefix.
func (e *env) rejected(f RejectedFilter, limit int) (records []string) {
	e.t.Helper()
	letters, err := e.deadLetters().List(e.t.Context(), f, limit)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, l := range letters {
		records = append(records, strings.TrimPrefix(l.RecordID.String(), e.Prefix))
	}
	slices.Sort(records)
	return records
}

// whole reads every dead letter.
func (e *env) whole() []DeadLetter {
	e.t.Helper()
	listed, err := e.deadLetters().List(e.t.Context(), RejectedFilter{}, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	var records []schemas.RecordID
	for _, l := range listed {
		records = append(records, l.RecordID)
	}
	letters, err := e.deadLetters().Read(e.t.Context(), records)
	if err != nil {
		e.t.Fatal(err)
	}
	return letters
}

func TestRejected(t *testing.T) { eachKafka(t, testRejected) }

func testRejected(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 2)
	binary := header("ce_specversion", "1.0", "ce_id", "b-1", "ce_source", "/test", "ce_type", "agent.session",
		"ce_time", "2026-10-14T09:00:00Z", "ce_tenantid", "o'brien \\ co", "trace", "\x00\xff")
	e.Produce(schemas.TopicAgent, 0,
		kafka.Message{Key: []byte("acme"), Value: []byte("not\nJSON \xff\x00")},
		kafka.Message{Key: []byte("acme"), Value: []byte(strings.Replace(session("acme", "s-1", 0), "T09:00:00Z", "", 1))},
		kafka.Message{Key: []byte("k\xff"), Value: []byte(`{"agentId":"a","startTime":"2026-10-14T09:00:00Z","endTime":"2026-10-14T08:00:00Z"}`), Headers: binary},
		kafka.Message{Key: []byte("acme"), Value: []byte(session("acme", "s-2", 0))})
	e.Produce(schemas.TopicIVR, 1, kafka.Message{Value: []byte(session("acme", "s-3", 0))})
	e.ingest(e.config(), e.deps())

	letters := e.whole()
	var now int64
	for i := range letters {
		l := &letters[i]
		if l.ArrivedMS < epoch {
			t.Errorf("%v arrived at %d", l.RecordID, l.ArrivedMS)
		}
		now = max(now, l.ArrivedMS)
		l.ArrivedMS = 0
		if l.Why.Message == "" {
			t.Errorf("%v does not say what is wrong", l.RecordID)
		}
		l.Why.Message = ""
	}
	agent, ivr := e.Prefix+schemas.TopicAgent, e.Prefix+schemas.TopicIVR
	want := []DeadLetter{
		{RecordID: recordID(agent, 0, 0), Key: []byte("acme"), Value: []byte("not\nJSON \xff\x00"),
			Why: schemas.Rejection{Code: schemas.MalformedJSON}},
		{RecordID: recordID(agent, 0, 1), Key: []byte("acme"), Value: []byte(strings.Replace(session("acme", "s-1", 0), "T09:00:00Z", "", 1)),
			Why: schemas.Rejection{Code: schemas.InvalidField, Field: "time", Value: `"2026-10-14"`, Tenant: "acme", Source: "/test", ID: "s-1"}},
		{RecordID: recordID(agent, 0, 2), Key: []byte("k\xff"), Value: []byte(`{"agentId":"a","startTime":"2026-10-14T09:00:00Z","endTime":"2026-10-14T08:00:00Z"}`),
			Why: schemas.Rejection{Code: schemas.EndBeforeStart, Field: "endTime", Value: `"2026-10-14T08:00:00Z"`, Tenant: `o'brien \ co`, Source: "/test", ID: "b-1"}},
		{RecordID: recordID(ivr, 1, 0), Key: []byte{}, Value: []byte(session("acme", "s-3", 0)),
			Why: schemas.Rejection{Code: schemas.UnknownType, Field: "type", Value: `"agent.session"`, Tenant: "acme", Source: "/test", ID: "s-3"}},
	}
	for _, h := range binary {
		want[2].Headers = append(want[2].Headers, schemas.Header(h))
	}
	if !reflect.DeepEqual(letters, want) {
		t.Fatalf("the dead letters are\n%+v\nnot\n%+v", letters, want)
	}

	for _, test := range []struct {
		name   string
		filter RejectedFilter
		limit  int
		want   string
	}{
		{"all", RejectedFilter{}, 0, "usage.agent.v1/0/0 usage.agent.v1/0/1 usage.agent.v1/0/2 usage.ivr.v1/1/0"},
		{"one code", RejectedFilter{Codes: []schemas.Code{schemas.InvalidField}}, 0, "usage.agent.v1/0/1"},
		{"two codes", RejectedFilter{Codes: []schemas.Code{schemas.InvalidField, schemas.UnknownType}}, 0, "usage.agent.v1/0/1 usage.ivr.v1/1/0"},
		{"a topic", RejectedFilter{Topics: []string{ivr}}, 0, "usage.ivr.v1/1/0"},
		{"a tenant", RejectedFilter{Tenants: []string{"acme"}}, 0, "usage.agent.v1/0/1 usage.ivr.v1/1/0"},
		{"a tenant that needs quoting", RejectedFilter{Tenants: []string{`o'brien \ co`}}, 0, "usage.agent.v1/0/2"},
		{"no tenant", RejectedFilter{Tenants: []string{""}}, 0, "usage.agent.v1/0/0"},
		{"all at once", RejectedFilter{Codes: []schemas.Code{schemas.InvalidField}, Topics: []string{agent}, Tenants: []string{"acme"}, SinceMS: 1, UntilMS: now + 1}, 0, "usage.agent.v1/0/1"},
		{"which have nothing in common", RejectedFilter{Codes: []schemas.Code{schemas.InvalidField}, Topics: []string{ivr}}, 0, ""},
		{"records", RejectedFilter{Records: []schemas.RecordID{recordID(agent, 0, 2), recordID(ivr, 1, 0), recordID(ivr, 0, 0)}}, 0, "usage.agent.v1/0/2 usage.ivr.v1/1/0"},
		{"since after all", RejectedFilter{SinceMS: now + 1}, 0, ""},
		{"until before all", RejectedFilter{UntilMS: 1}, 0, ""},
		{"the newest", RejectedFilter{Topics: []string{agent}}, 2, "usage.agent.v1/0/1 usage.agent.v1/0/2"},
	} {
		if got := strings.Join(e.rejected(test.filter, test.limit), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}

	read, err := e.deadLetters().Read(t.Context(), []schemas.RecordID{recordID(agent, 0, 0), recordID(agent, 0, 99)})
	if err != nil || len(read) != 1 || string(read[0].Value) != "not\nJSON \xff\x00" {
		t.Errorf("of two records, one of which was not refused, are read %+v, %v", read, err)
	}
}

// A batch that is inserted again, as after a crash, has no dead letter twice; where another version decided it
// differently the second time, the later verdict counts, also when it is what a filter looks for.
func TestRejectedIsOneRowARecord(t *testing.T) { eachKafka(t, testRejectedIsOneRowARecord) }

func testRejectedIsOneRowARecord(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf("one", "two")...)
	e.ingest(e.config(), e.deps())
	e.exec("SYSTEM STOP MERGES rejected")
	e.exec("INSERT INTO rejected SELECT * REPLACE ('too_large' AS code, 'acme' AS tenant) FROM rejected WHERE offset = 1")
	e.exec("INSERT INTO rejected SELECT * FROM rejected WHERE offset = 0")
	if n := e.rows("SELECT count() FROM rejected")[0]; n != "(4)" {
		t.Fatalf("the table has %s rows, and the test is of 4", n)
	}

	if got := e.rejected(RejectedFilter{}, 0); !slices.Equal(got, []string{"usage.agent.v1/0/0", "usage.agent.v1/0/1"}) {
		t.Errorf("listed: %q", got)
	}
	if got := e.rejected(RejectedFilter{Codes: []schemas.Code{schemas.MalformedJSON}}, 0); !slices.Equal(got, []string{"usage.agent.v1/0/0"}) {
		t.Errorf("malformed: %q", got)
	}
	if letters := e.whole(); len(letters) != 2 || letters[1].Why.Code != schemas.TooLarge {
		t.Errorf("read: %+v", letters)
	}
	counts, err := e.deadLetters().Count(t.Context(), RejectedFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range counts {
		if n := &counts[i]; n.FirstMS < epoch || n.LastMS < n.FirstMS {
			t.Errorf("%s came from %d to %d", n.Code, n.FirstMS, n.LastMS)
		}
		counts[i].FirstMS, counts[i].LastMS = 0, 0
	}
	if want := []RejectedCount{
		{Code: schemas.MalformedJSON, Deliveries: 1},
		{Code: schemas.TooLarge, Tenant: "acme", Deliveries: 1},
	}; !slices.Equal(counts, want) {
		t.Errorf("counts: %+v, want %+v", counts, want)
	}
}

func TestAccepted(t *testing.T) { eachKafka(t, testAccepted) }

func testAccepted(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Publish(session("acme", "s-1", 0), session("acme", "s-1", 1), session("other", "s-1", 7), session("acme", "s-2", 0))
	e.ingest(e.config(), e.deps())
	e.exec("SYSTEM STOP MERGES usage_events")
	e.exec("INSERT INTO usage_events SELECT * FROM usage_events")

	got, err := e.deadLetters().Accepted(t.Context(), Identity{"acme", "/test", "s-1"}, Identity{"acme", "/test", "s-9"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, a := range got {
		lines = append(lines, fmt.Sprint(a.Identity, " ", a.Offset, " ", a.Revision))
	}
	if want := []string{"{acme /test s-1} 1 1", "{acme /test s-1} 0 0"}; !slices.Equal(lines, want) {
		t.Errorf("accepted: %q, want %q", lines, want)
	}
	if none, err := e.deadLetters().Accepted(t.Context()); err != nil || none != nil {
		t.Errorf("of no events: %v, %v", none, err)
	}
}

// What answers a letter is read from its value, wherever the accepted delivery lies on Kafka (R24).
func TestAnswer(t *testing.T) {
	const noon = 1_791_979_200_000 // 2026-10-14T12:00:00Z
	letter := func(revision string) DeadLetter {
		value := `{"specversion":"1.0","id":"s-1","source":"/test","type":"agent.session","time":"2026-10-14T12:00:00Z",` +
			`"tenantid":"acme","data":{"agentId":"a","startTime":0,"revision":` + revision + `}}`
		return DeadLetter{RecordID: recordID("usage.agent.v1", 0, 5), Value: []byte(value)}
	}
	at := func(offset int64, revision int32, timeMS int64) []Acceptance {
		return []Acceptance{{RecordID: recordID("usage.agent.v1", 0, offset), Revision: revision, TimeMS: timeMS}}
	}
	for _, c := range []struct {
		name     string
		letter   DeadLetter
		accepted []Acceptance
		want     bool
	}{
		{"nothing was accepted", letter("0"), nil, false},
		{"sent again as it was meant", letter("0"), at(9, 0, noon), true},
		{"a correction, and what it corrects", letter("1"), at(4, 0, noon), false},
		{"a correction, and what it corrects once more", letter("1"), at(9, 0, noon), false},
		{"a correction that was sent again", letter("1"), at(9, 1, noon), true},
		{"a later one that came first", letter("1"), at(4, 2, noon), true},
		{"no revision to be read, and what it may correct", letter(`"1"`), at(4, 0, noon), false},
		{"no revision to be read, and what it may correct once more", letter(`"1"`), at(9, 0, noon), false},
		{"no revision to be read, and a correction", letter(`"1"`), at(4, 1, noon), true},
		{"nothing to be read of it", DeadLetter{Value: []byte("{")}, at(9, 3, noon), false},
		{"no revision to be read, and one of before was sent again", letter(`"1"`), at(9, 0, noon-1), false},
		{"no revision to be read, and a later time", letter(`"1"`), at(4, 0, noon+1), true},
	} {
		if got := c.letter.Answer(c.accepted) != nil; got != c.want {
			t.Errorf("%s: answered is %v", c.name, got)
		}
	}
}

func TestOpen(t *testing.T) { eachKafka(t, testOpen) }

func testOpen(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	refused := func(id string, revision int) string {
		return strings.Replace(session("acme", id, revision), `"data":{`, `"data":{"licenceClass":"Premium",`, 1)
	}
	e.Publish(
		refused("fixed", 0), session("acme", "fixed", 0), // 0
		refused("new", 0),                                        // 2
		session("acme", "corrected", 0), refused("corrected", 1), // 4
		"no event", // 5
	)
	e.ingest(e.config(), e.deps())
	open := RejectedFilter{Open: true}
	if got, want := strings.Join(e.rejected(open, 0), " "), "usage.agent.v1/0/2 usage.agent.v1/0/4 usage.agent.v1/0/5"; got != want {
		t.Errorf("open are %s, want %s", got, want)
	}
	if got := strings.Join(e.rejected(open, 2), " "); got != "usage.agent.v1/0/4 usage.agent.v1/0/5" {
		t.Errorf("the newest two that are open are %s", got)
	}
	open.Tenants = []string{"acme"}
	counts, err := e.deadLetters().Count(t.Context(), open)
	if err != nil || len(counts) != 1 || counts[0].Deliveries != 2 || counts[0].FirstMS > counts[0].LastMS || counts[0].FirstMS < epoch {
		t.Errorf("counted as %+v, %v", counts, err)
	}
}

// What is open is found by one query, however many were refused and whatever the limit.
func TestOpenIsOneQuery(t *testing.T) {
	e := newEnv(t, 1)
	e.exec(`INSERT INTO rejected (topic, partition, offset, arrived_ms, tenant, source, id, payload, headers)
		SELECT 'a', 0, number, intDiv(number, 2), if(number % 7 = 0, '', 'acme') AS tenant, '/test' AS source, toString(number) AS id, '{"revision":1}',
			[('ce_specversion', '1.0'), ('ce_id', id), ('ce_source', source), ('ce_type', 'agent.session'),
				('ce_time', '2026-10-14T09:00:00Z'), ('ce_tenantid', tenant)]
		FROM numbers(3000)`)
	e.exec(`INSERT INTO usage_events (tenant, type, source, id, revision, topic, partition, offset)
		SELECT 'acme', 'agent.session', '/test', toString(number), r, 'a', 0, 10000 + 10 * number + r
		FROM numbers(0, 3000, 2) ARRAY JOIN range(toInt32(number % 3 != 0) + 1) AS r`)
	// Of those with an even offset that is no multiple of 3, a revision of 1 was accepted, and it answers those with a tenant.
	open := func(offset int64) bool { return offset%7 == 0 || offset%2 != 0 || offset%3 == 0 }
	var queries int
	letters := DeadLetters{ClickHouse: asked{e.conn, &queries}}
	for _, limit := range []int{1, 1000, 0} {
		var want, got []int64
		for arrived := int64(1499); arrived >= 0; arrived-- {
			for _, offset := range []int64{2*arrived + 1, 2 * arrived} {
				if open(offset) && (limit == 0 || len(want) < limit) {
					want = append(want, offset)
				}
			}
		}
		queries = 0
		listed, err := letters.List(t.Context(), RejectedFilter{Open: true}, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range listed {
			got = append(got, l.Offset)
		}
		if !slices.Equal(got, want) || queries != 1 {
			t.Errorf("a limit of %d: %d queries list %d: %d…, want %d: %d…",
				limit, queries, len(got), got[:min(9, len(got))], len(want), want[:min(9, len(want))])
		}
	}
}

// asked counts the queries on a connection.
type asked struct {
	driver.Conn
	queries *int
}

func (a asked) Query(ctx context.Context, query string, args ...any) (driver.Rows, error) {
	*a.queries++
	return a.Conn.Query(ctx, query, args...)
}

// What is replayed is what the sender sent, at offsets of its own, in its old order.
func TestReplay(t *testing.T) { eachKafka(t, testReplay) }

func testReplay(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	sent := []kafka.Message{
		{Key: []byte("k\xff"), Value: []byte("a\xff"), Headers: header("ce_id", "1", "trace", "\x00\xff", "trace", "")},
		{Value: []byte("b"), Headers: header("apportion-code", "malformed_json", "x", "y")},
		{Key: []byte("acme"), Value: []byte("c")},
	}
	e.Produce(schemas.TopicAgent, 0, sent...)
	e.ingest(e.config(), e.deps())
	if err := e.deadLetters().Publish(t.Context(), e.whole()); err != nil {
		t.Fatal(err)
	}
	all := e.Read(schemas.TopicAgent)
	if len(all) != 6 {
		t.Fatalf("there are %d records, want 6", len(all))
	}
	for i := range 3 {
		old, again := all[i], all[i+3]
		if i == 1 {
			old.Headers = header("x", "y")
		}
		if again.Offset != int64(i+3) {
			t.Errorf("record %d is at %d", i, again.Offset)
		}
		again.Offset, again.TimeMS = old.Offset, old.TimeMS
		if !reflect.DeepEqual(again, old) {
			t.Errorf("record %d was replayed as\n%+v, and sent as\n%+v", i, again, old)
		}
	}
}

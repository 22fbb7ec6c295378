package ingest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

// Identity is what makes deliveries those of one event (R8).
type Identity struct{ Tenant, Source, ID string }

// DeadLetter is a delivery that was refused, and why.
type DeadLetter struct {
	schemas.RecordID
	// ArrivedMS is its Kafka timestamp in UTC epoch milliseconds.
	ArrivedMS int64
	// Why has the identity, too, as far as it could be read.
	Why schemas.Rejection
	// Key, Value and Headers are those that it came with. A null key or value
	// is an empty one here.
	Key, Value []byte
	Headers    []schemas.Header
}

// Identity returns the identity; ok is false when some of it could not be read.
func (l *DeadLetter) Identity() (id Identity, ok bool) {
	id = Identity{l.Why.Tenant, l.Why.Source, l.Why.ID}
	return id, id.Tenant != "" && id.Source != "" && id.ID != ""
}

// RejectedFilter chooses dead letters. What is zero chooses all.
type RejectedFilter struct {
	Codes  []schemas.Code
	Topics []string // prefix included
	// Tenants may have "", for deliveries whose tenant could not be read.
	Tenants []string
	Sources []string
	// SinceMS and UntilMS bound the Kafka timestamp: [SinceMS, UntilMS), in UTC
	// epoch milliseconds.
	SinceMS, UntilMS int64
	Records          []schemas.RecordID
	// Open leaves out those that an accepted delivery answers.
	Open bool
	// After, if not nil, leaves out those that come before this one in the list, and the one itself.
	After *RejectedPlace
}

// RejectedPlace is where a dead letter is in the list of them, the latest first.
type RejectedPlace struct {
	ArrivedMS int64
	schemas.RecordID
}

// Has reports whether the filter chooses a dead letter, open or not, wherever it is in the list.
func (f *RejectedFilter) Has(l *DeadLetter) bool {
	return (len(f.Codes) == 0 || slices.Contains(f.Codes, l.Why.Code)) &&
		(len(f.Topics) == 0 || slices.Contains(f.Topics, l.Topic)) &&
		(len(f.Tenants) == 0 || slices.Contains(f.Tenants, l.Why.Tenant)) &&
		(len(f.Sources) == 0 || slices.Contains(f.Sources, l.Why.Source)) &&
		f.SinceMS <= l.ArrivedMS && (f.UntilMS <= 0 || l.ArrivedMS < f.UntilMS) &&
		(len(f.Records) == 0 || slices.Contains(f.Records, l.RecordID))
}

// where returns the filter as a condition of SQL, and its arguments.
func (f *RejectedFilter) where() (condition string, args []any) {
	terms := []string{"true"}
	add := func(use bool, term string, arg any) {
		if use {
			terms = append(terms, term)
			args = append(args, arg)
		}
	}
	codes := make([]string, len(f.Codes))
	for i, c := range f.Codes {
		codes[i] = string(c)
	}
	add(len(codes) > 0, "code IN (?)", codes)
	add(len(f.Topics) > 0, "topic IN (?)", f.Topics)
	add(len(f.Tenants) > 0, "tenant IN (?)", f.Tenants)
	add(len(f.Sources) > 0, "source IN (?)", f.Sources)
	add(f.SinceMS > 0, "arrived_ms >= ?", f.SinceMS)
	add(f.UntilMS > 0, "arrived_ms < ?", f.UntilMS)
	add(len(f.Records) > 0, "(topic, partition, offset) IN (?)", recordSet(f.Records))
	if a := f.After; a != nil {
		terms = append(terms, "(-arrived_ms, topic, partition, -offset) > (?, ?, ?, ?)")
		args = append(args, -a.ArrivedMS, a.Topic, a.Partition, -a.Offset)
	}
	return strings.Join(terms, " AND "), args
}

// recordSet returns the records as what SQL calls a set.
func recordSet(records []schemas.RecordID) []clickhouse.GroupSet {
	set := make([]clickhouse.GroupSet, len(records))
	for i, r := range records {
		set[i] = clickhouse.GroupSet{Value: []any{r.Topic, r.Partition, r.Offset}}
	}
	return set
}

// A batch that was inserted again after a crash has its dead letters in the
// table twice until rows are merged, and a newer version may have decided them
// again; so everything below reads FINAL, the row of each record that came last.

// DeadLetters are the refused deliveries.
type DeadLetters struct {
	ClickHouse driver.Conn
	// Kafka is needed to publish alone.
	Kafka *kafka.Client
}

// List returns the dead letters that the filter chooses, newest first,
// at most limit of them unless that is 0. It leaves out their key, value and
// headers, which Read reads.
func (d DeadLetters) List(ctx context.Context, f RejectedFilter, limit int) ([]DeadLetter, error) {
	if f.Open {
		var letters []DeadLetter
		err := d.eachOpen(ctx, f, func(l *DeadLetter) (more bool) {
			letters = append(letters, *l)
			return len(letters) != limit
		})
		return letters, err
	}
	where, args := f.where()
	query := `SELECT topic, partition, offset, arrived_ms, code, field, value, message, tenant, source, id
		FROM rejected FINAL WHERE ` + where + ` ORDER BY arrived_ms DESC, topic, partition, offset DESC`
	if limit > 0 {
		query += " LIMIT " + strconv.Itoa(limit)
	}
	return collect(ctx, d.ClickHouse, func(rows driver.Rows) (l DeadLetter, err error) {
		return l, rows.Scan(l.reason()...)
	}, query, args...)
}

// eachOpen has a function take the dead letters that the filter chooses and no accepted delivery answers, newest first,
// without their values, for as long as it wants more.
func (d DeadLetters) eachOpen(ctx context.Context, f RejectedFilter, take func(*DeadLetter) (more bool)) error {
	ctx, cancel := context.WithCancel(ctx) // rows that are not taken are not sent
	defer cancel()
	where, args := f.where()
	rows, err := d.ClickHouse.Query(readOnly(ctx), `
		WITH
			refused AS (SELECT * FROM rejected FINAL WHERE `+where+`),
			accepted AS (
				SELECT tenant, source, id, max(e.revision) AS revision, max((e.time_ms, e.revision)) AS latest
				FROM usage_events AS e
				WHERE tenant IN (SELECT tenant FROM refused)
					AND identity IN (SELECT cityHash64(tenant, source, id) FROM refused)
				GROUP BY tenant, source, id)
		SELECT r.topic, r.partition, r.offset, r.arrived_ms, r.code, r.field, r.value, r.message, r.tenant, r.source, r.id,
			a.id != '' AS known, a.revision, a.latest.1, a.latest.2,
			if(known, r.payload, ''), if(known, r.headers.name, []), if(known, r.headers.value, [])
		FROM refused AS r
		LEFT JOIN accepted AS a ON r.tenant = a.tenant AND r.source = a.source AND r.id = a.id
		ORDER BY r.arrived_ms DESC, r.topic, r.partition, r.offset DESC`, args...)
	if err != nil {
		return schemaError(err)
	}
	defer func() {
		cancel()
		rows.Close()
	}()
	var decoder schemas.Decoder
	for rows.Next() {
		var l DeadLetter
		var known bool
		var revision, timeRevision int32
		var timeMS int64
		var value string
		var names, values []string
		err := rows.Scan(append(l.reason(), &known, &revision, &timeMS, &timeRevision, &value, &names, &values)...)
		if err != nil {
			return err
		}
		answered := known && decoder.Order(schemas.AnyType, headersOf(names, values), []byte(value)).
			Answered(revision, timeMS, timeRevision)
		if !answered && !take(&l) {
			return nil
		}
	}
	return rows.Err()
}

func headersOf(names, values []string) (headers []schemas.Header) {
	for i, name := range names {
		headers = append(headers, schemas.Header{Key: name, Value: []byte(values[i])})
	}
	return headers
}

// Answers returns, for each of some dead letters that have their values, an accepted delivery that answers it, or nil.
func (d DeadLetters) Answers(ctx context.Context, letters []DeadLetter) ([]*Acceptance, error) {
	var ids []Identity
	for i := range letters {
		if id, ok := letters[i].Identity(); ok {
			ids = append(ids, id)
		}
	}
	accepted, err := d.Accepted(ctx, ids...)
	if err != nil {
		return nil, err
	}
	of := make(map[Identity][]Acceptance)
	for _, a := range accepted {
		of[a.Identity] = append(of[a.Identity], a)
	}
	answers := make([]*Acceptance, len(letters))
	for i := range letters {
		id, _ := letters[i].Identity()
		answers[i] = letters[i].Answer(of[id])
	}
	return answers, nil
}

// reason returns where to put the columns that say what was refused and why.
func (l *DeadLetter) reason() []any {
	w := &l.Why
	return []any{&l.Topic, &l.Partition, &l.Offset, &l.ArrivedMS,
		(*string)(&w.Code), &w.Field, &w.Value, &w.Message, &w.Tenant, &w.Source, &w.ID}
}

// Read returns the dead letters of some records, whole. They come in the order of the records; those that do not exist
// are left out.
func (d DeadLetters) Read(ctx context.Context, records []schemas.RecordID) ([]DeadLetter, error) {
	return collect(ctx, d.ClickHouse, func(rows driver.Rows) (l DeadLetter, err error) {
		var key, value string
		var names, values []string
		err = rows.Scan(append(l.reason(), &key, &value, &names, &values)...)
		l.Key, l.Value = []byte(key), []byte(value)
		l.Headers = headersOf(names, values)
		return l, err
	}, `SELECT topic, partition, offset, arrived_ms, code, field, value, message, tenant, source, id,
			key, payload, headers.name, headers.value
		FROM rejected FINAL WHERE (topic, partition, offset) IN (?) ORDER BY topic, partition, offset`,
		recordSet(records))
}

// RejectedCount is how many deliveries of a tenant were refused for a reason.
type RejectedCount struct {
	Code schemas.Code
	// Tenant is "" for deliveries whose tenant could not be read.
	Tenant string
	// Source is "" where it could not be read, and where sources are counted together.
	Source     string
	Deliveries uint64
	// FirstMS and LastMS are the least and greatest Kafka timestamp, in UTC
	// epoch milliseconds.
	FirstMS, LastMS int64
}

// Count counts the dead letters that the filter chooses by code and
// tenant, the most first.
func (d DeadLetters) Count(ctx context.Context, f RejectedFilter) ([]RejectedCount, error) {
	return d.count(ctx, f, false)
}

// CountBySource counts them by source besides.
func (d DeadLetters) CountBySource(ctx context.Context, f RejectedFilter) ([]RejectedCount, error) {
	return d.count(ctx, f, true)
}

func (d DeadLetters) count(ctx context.Context, f RejectedFilter, bySource bool) ([]RejectedCount, error) {
	if f.Open {
		return d.countOpen(ctx, f, bySource)
	}
	where, args := f.where()
	source := "''"
	if bySource {
		source = "source"
	}
	return collect(ctx, d.ClickHouse, func(rows driver.Rows) (n RejectedCount, err error) {
		return n, rows.Scan((*string)(&n.Code), &n.Tenant, &n.Source, &n.Deliveries, &n.FirstMS, &n.LastMS)
	}, `SELECT code, tenant, `+source+` AS of, count() AS deliveries, min(arrived_ms), max(arrived_ms)
		FROM rejected FINAL WHERE `+where+` GROUP BY code, tenant, of ORDER BY deliveries DESC, code, tenant, of`, args...)
}

// countOpen is count of those that are open.
func (d DeadLetters) countOpen(ctx context.Context, f RejectedFilter, bySource bool) ([]RejectedCount, error) {
	type kind struct {
		code           schemas.Code
		tenant, source string
	}
	counts := make(map[kind]*RejectedCount)
	err := d.eachOpen(ctx, f, func(l *DeadLetter) (more bool) {
		k := kind{code: l.Why.Code, tenant: l.Why.Tenant}
		if bySource {
			k.source = l.Why.Source
		}
		if counts[k] == nil { // the newest comes first
			counts[k] = &RejectedCount{Code: k.code, Tenant: k.tenant, Source: k.source, LastMS: l.ArrivedMS}
		}
		counts[k].Deliveries++
		counts[k].FirstMS = l.ArrivedMS
		return true
	})
	var all []RejectedCount
	for _, n := range counts {
		all = append(all, *n)
	}
	slices.SortFunc(all, func(x, y RejectedCount) int {
		return cmp.Or(cmp.Compare(y.Deliveries, x.Deliveries), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Tenant, y.Tenant),
			cmp.Compare(x.Source, y.Source))
	})
	return all, err
}

// Acceptance is a delivery that was accepted.
type Acceptance struct {
	Identity
	schemas.RecordID
	// ArrivedMS is its Kafka timestamp in UTC epoch milliseconds.
	ArrivedMS int64
	TimeMS    int64 // of the event, in UTC epoch milliseconds
	Revision  int32
	Voided    bool
}

// After reports whether it came later than a dead letter.
func (a *Acceptance) After(l *DeadLetter) bool {
	if a.Topic == l.Topic && a.Partition == l.Partition {
		return a.Offset > l.Offset
	}
	return a.ArrivedMS > l.ArrivedMS
}

// Answer returns one of the accepted deliveries of its event that answers a letter that has its value (R24), or nil.
func (l *DeadLetter) Answer(accepted []Acceptance) *Acceptance {
	if len(accepted) == 0 {
		return nil
	}
	var decoder schemas.Decoder
	o := decoder.Order(schemas.AnyType, l.Headers, l.Value)
	for i := range accepted {
		if a := &accepted[i]; o.Answered(a.Revision, a.TimeMS, a.Revision) {
			return a
		}
	}
	return nil
}

// Accepted returns the deliveries of some events that were accepted, newest
// first.
func (d DeadLetters) Accepted(ctx context.Context, ids ...Identity) ([]Acceptance, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys := make([]clickhouse.GroupSet, len(ids))
	for i, id := range ids {
		keys[i] = clickhouse.GroupSet{Value: []any{id.Tenant, id.Source, id.ID}}
	}
	return collect(ctx, d.ClickHouse, scanAcceptance, acceptances+` FROM usage_events
		WHERE identity IN (SELECT cityHash64(e.1, e.2, e.3) FROM (SELECT arrayJoin([?]) AS e)) AND (tenant, source, id) IN (?)
		ORDER BY arrived_ms DESC, topic, partition, offset DESC LIMIT 1 BY topic, partition, offset`, keys, keys)
}

// acceptances begins a query that scanAcceptance reads the rows of.
const acceptances = `SELECT tenant, source, id, topic, partition, offset, arrived_ms, time_ms, revision, voided`

func scanAcceptance(rows driver.Rows) (a Acceptance, err error) {
	return a, rows.Scan(&a.Tenant, &a.Source, &a.ID, &a.Topic, &a.Partition, &a.Offset,
		&a.ArrivedMS, &a.TimeMS, &a.Revision, &a.Voided)
}

// Publish writes dead letters to their topics again, with the key, value and
// headers that they came with, and returns once all replicas have them. Those
// of one key and topic keep their order. While Kafka is away it waits. A letter
// may be written twice when an answer is lost, which R8 takes once.
func (d DeadLetters) Publish(ctx context.Context, letters []DeadLetter) error {
	messages := make(map[string][]kafka.Message)
	for _, l := range letters {
		messages[l.Topic] = append(messages[l.Topic], l.message())
	}
	for topic, batch := range messages {
		tooLarge, err := d.Kafka.Send(ctx, topic, batch)
		if err != nil {
			return err
		}
		if len(tooLarge) > 0 {
			return fmt.Errorf("%d deliveries are too large for topic %s: raise its max.message.bytes", len(tooLarge), topic)
		}
	}
	return nil
}

// message returns the delivery as it was first published. A letter that came
// from the dead letter topic has headers there that were none of the sender's.
func (l *DeadLetter) message() kafka.Message {
	m := kafka.Message{Value: l.Value}
	if len(l.Key) > 0 {
		m.Key = l.Key
	}
	for _, h := range l.Headers {
		if !strings.HasPrefix(h.Key, "apportion-") {
			m.Headers = append(m.Headers, h)
		}
	}
	return m
}

// readOnly has ClickHouse refuse to change anything: filters are what others sent.
func readOnly(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 2}))
}

// collect returns the rows that a query gives.
func collect[T any](ctx context.Context, conn driver.Conn, scan func(driver.Rows) (T, error),
	query string, args ...any) ([]T, error) {
	rows, err := conn.Query(readOnly(ctx), query, args...)
	if err != nil {
		return nil, schemaError(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

package clickhouse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
)

// Events reads the deliveries behind figures: of every event that is wanted all deliveries of the bound,
// wherever they lie in time, since a revision may have moved it. Each event is handed over whole, in the byte
// order of source and id.
//
// What is wanted is narrowed first, by the key of the table and by columns that are cheap to read; the other
// deliveries of the events found are then looked for among all that the tenant has.
func (s *Store) Events(ctx context.Context, bound aggregate.ReadBound, wanted aggregate.EventFilter,
	each func(event []aggregate.Delivery) error) error {
	q := newQuery(ctx)
	q.parameter("arrived_by", bound.ArrivedBy)
	narrow := q.narrowed(bound, wanted)
	last := map[schemas.TopicPartition]int64{}
	for _, p := range bound.Positions {
		last[schemas.TopicPartition{Topic: p.Topic, Partition: int(p.Partition)}] = p.LastOffset
	}
	var event []aggregate.Delivery
	same := intern{}
	if err := s.rows(q, `
		SELECT toUInt8(type), source, id, revision, voided, time_ms, start_ms, end_ms, agent, entry_point, channel,
			toInt64(toDecimal128(quantity, 6) * 1000000), subscription, class, topic, partition, offset, arrived_ms
		FROM usage_events
		PREWHERE tenant = {tenant:String} AND identity IN (`+narrow+`)
		WHERE arrived_ms <= {arrived_by:Int64}
		ORDER BY source, id, topic, partition, offset`, func(rows driver.Rows) error {
		d := aggregate.Delivery{Event: schemas.Event{Tenant: wanted.Tenant}}
		var kind uint8
		if err := rows.Scan(&kind, &d.Source, &d.ID, &d.Revision, &d.Voided, &d.TimeMS, &d.StartMS, &d.EndMS, &d.Agent,
			&d.EntryPoint, &d.Channel,
			&d.Quantity, &d.Subscription, &d.Class, &d.Topic, &d.Partition, &d.Offset, &d.ArrivedMS); err != nil {
			return err
		}
		if end, known := last[schemas.TopicPartition{Topic: d.Topic, Partition: int(d.Partition)}]; !known || d.Offset > end {
			return nil
		}
		if n := len(event); n > 0 && event[n-1].RecordID == d.RecordID {
			return nil // a row that came twice and is not merged yet (R23)
		}
		d.Type = schemas.Type(kind)
		for _, text := range []*string{&d.Source, &d.Agent, &d.EntryPoint, &d.Channel, &d.Subscription, &d.Class, &d.Topic} {
			same.share(text)
		}
		if len(event) > 0 && (event[0].Source != d.Source || event[0].ID != d.ID) {
			if err := each(event); err != nil {
				return err
			}
			event = nil
		}
		event = append(event, d)
		return nil
	}); err != nil {
		return err
	}
	if len(event) > 0 {
		return each(event)
	}
	return nil
}

// Arrived returns those of the tenants that have a delivery behind some positions and up to others, with the dates in
// UTC of all deliveries of these events: a revision may have moved one. A pass has read up to the latter positions.
func (s *Store) Arrived(
	ctx context.Context, tenants []string, after, upTo []aggregate.Position,
) (map[string]aggregate.Span, error) {
	const dayMS = 24 * 3600_000
	arrived := map[string]aggregate.Span{}
	q := newQuery(ctx)
	q.tenants("wanted", tenants)
	of := `WHERE tenant IN (SELECT tenant FROM wanted)`
	behind := of + ` AND ` + within(after, upTo)
	err := s.rows(q, `SELECT tenant, toInt64(min(day)), toInt64(max(day)) FROM (
			SELECT tenant, intDiv(occurred_ms, 86400000) AS day FROM usage_events `+behind+`
			UNION ALL
			SELECT tenant, day FROM events_on_several_days `+of+` AND identity IN (
				SELECT identity FROM usage_events `+behind+`
					AND identity IN (SELECT identity FROM events_on_several_days `+of+`)))
		GROUP BY tenant`, func(rows driver.Rows) error {
		var tenant string
		var first, last int64
		err := rows.Scan(&tenant, &first, &last)
		arrived[tenant] = aggregate.Span{FromMS: first * dayMS, ToMS: (last + 1) * dayMS}
		return err
	})
	return arrived, err
}

// narrowed returns the query for the identities of the events that are wanted. Another event may share the number of
// one; whoever asks looks at each event anyhow.
func (q *query) narrowed(bound aggregate.ReadBound, wanted aggregate.EventFilter) string {
	q.parameters["tenant"] = wanted.Tenant
	q.parameter("from_ms", wanted.FromMS)
	q.parameter("to_ms", wanted.ToMS)
	where := `tenant = {tenant:String} AND occurred_ms >= {from_ms:Int64} AND occurred_ms < {to_ms:Int64} AND type IN (`
	for i, t := range wanted.Types {
		if i > 0 {
			where += ", "
		}
		where += "'" + t.String() + "'"
	}
	where += `)`
	if wanted.LiveAt != nil {
		q.parameter("live_at", *wanted.LiveAt)
		where += ` AND (end_ms < 0 OR end_ms > {live_at:Int64})`
	}
	if wanted.Channel != "" {
		q.parameters["channel"] = wanted.Channel
		where += ` AND channel = {channel:String}`
	}
	if wanted.Class != "" {
		q.parameters["class"] = wanted.Class
		where += ` AND class IN ('', {class:String})`
	}
	if wanted.Agents != nil {
		agent := q.table("agents", "agent", "String")
		for _, a := range wanted.Agents {
			agent(a)
		}
		where += ` AND agent IN (SELECT agent FROM agents)`
	}
	if wanted.OneEach {
		// One that came later than the bound must not stand in for one that is in it.
		where += ` AND NOT voided`
		return `SELECT identity FROM usage_events PREWHERE ` + where + ` WHERE (agent, occurred_ms) IN (
			SELECT agent, min(occurred_ms) FROM usage_events PREWHERE ` + where + `
			WHERE offset <= ` + q.lastOffset(bound) + ` AND arrived_ms <= {arrived_by:Int64} GROUP BY agent)`
	}
	narrow := `SELECT identity FROM usage_events PREWHERE ` + where
	if b := wanted.Beyond; b != nil {
		q.parameter("beyond_arrived_by", b.ArrivedBy)
		when := ""
		if in := wanted.BeyondIn; in != nil {
			q.parameter("beyond_from_ms", in.FromMS)
			q.parameter("beyond_to_ms", in.ToMS)
			when = ` AND occurred_ms >= {beyond_from_ms:Int64} AND occurred_ms < {beyond_to_ms:Int64}`
		}
		narrow += ` AND identity IN (SELECT identity FROM usage_events PREWHERE tenant = {tenant:String}` + when + `
			WHERE NOT ifNull(offset <= ` + q.lastOffset(*b) + `, false) OR arrived_ms > {beyond_arrived_by:Int64})`
	}
	return narrow
}

// lastOffset returns an expression for how far the bound goes in the partition of a delivery, -1 where it has none
// of it. Arrays that are looked up by number cost much less than a join over all deliveries of a tenant.
func (q *query) lastOffset(bound aggregate.ReadBound) string {
	ends := map[string][]string{}
	for _, p := range bound.Positions {
		for int(p.Partition) >= len(ends[p.Topic]) {
			ends[p.Topic] = append(ends[p.Topic], "-1")
		}
		ends[p.Topic][p.Partition] = strconv.FormatInt(p.LastOffset, 10)
	}
	expression := "-1"
	for _, topic := range slices.Sorted(maps.Keys(ends)) {
		name := fmt.Sprintf("topic%d", len(q.parameters))
		q.parameters[name] = topic
		expression = fmt.Sprintf("if(topic = {%s:String}, arrayElementOrNull([%s]::Array(Int64), partition + 1), %s)",
			name, strings.Join(ends[topic], ", "), expression)
	}
	return expression
}

// intern keeps one copy of each of the few strings that come back in row after row.
type intern map[string]string

func (i intern) share(s *string) {
	if known, ok := i[*s]; ok {
		*s = known
		return
	}
	i[*s] = *s
}

package clickhouse

import (
	"context"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
)

// Delivered hands over the events that are looked for, each with all of its deliveries as stored, in the order of
// [aggregate.EventPlace].
func (s *Store) Delivered(
	ctx context.Context, look aggregate.EventLook, each func(place aggregate.EventPlace, event []aggregate.Delivery),
) error {
	q := newQuery(ctx).reading()
	q.parameters["tenant"] = look.Tenant
	where := `tenant = {tenant:String}`
	if look.Agent != "" {
		q.parameters["agent"] = look.Agent
		q.parameter("from_ms", look.FromMS)
		q.parameter("to_ms", look.ToMS)
		where += ` AND type = 'agent.session' AND agent = {agent:String}
			AND occurred_ms >= {from_ms:Int64} AND occurred_ms < {to_ms:Int64}`
	} else {
		q.parameters["source"], q.parameters["id"] = look.Source, look.ID
		where += ` AND identity = cityHash64({tenant:String}, {source:String}, {id:String})
			AND source = {source:String} AND id = {id:String}`
	}
	if look.Sources != nil {
		add := q.table("sources", "source", "String")
		for _, source := range look.Sources {
			add(source)
		}
		where += ` AND source IN (SELECT source FROM sources)`
	}
	q.parameter("after_ms", look.From.FirstMS)
	q.parameters["after_source"], q.parameters["after_id"] = look.From.Source, look.From.ID
	chosen := `SELECT identity, toString(source) AS s, id AS i, min(occurred_ms) AS first FROM usage_events
		WHERE ` + where + ` GROUP BY identity, s, i
		HAVING (first, s, i) >= ({after_ms:Int64}, {after_source:String}, {after_id:String})
		ORDER BY first, s, i LIMIT ` + strconv.Itoa(look.Limit)
	var place aggregate.EventPlace
	var event []aggregate.Delivery
	err := s.rows(q, `
		SELECT c.first, toUInt8(type), source, id, revision, voided, time_ms, start_ms, end_ms, agent, entry_point, channel,
			toInt64(toDecimal128(quantity, 6) * 1000000), subscription, class, topic, partition, offset, arrived_ms
		FROM usage_events AS e INNER JOIN (`+chosen+`) AS c ON e.identity = c.identity
		WHERE tenant = {tenant:String} AND source = c.s AND id = c.i
		ORDER BY c.first, source, id, topic, partition, offset`, func(rows driver.Rows) error {
		d := aggregate.Delivery{Event: schemas.Event{Tenant: look.Tenant}}
		var first int64
		var kind uint8
		if err := rows.Scan(&first, &kind, &d.Source, &d.ID, &d.Revision, &d.Voided, &d.TimeMS, &d.StartMS, &d.EndMS,
			&d.Agent, &d.EntryPoint, &d.Channel, &d.Quantity, &d.Subscription, &d.Class,
			&d.Topic, &d.Partition, &d.Offset, &d.ArrivedMS); err != nil {
			return err
		}
		if n := len(event); n > 0 && event[n-1].RecordID == d.RecordID {
			return nil // a row that came twice and is not merged yet (R23)
		}
		d.Type = schemas.Type(kind)
		at := aggregate.EventPlace{FirstMS: first, Source: d.Source, ID: d.ID}
		if len(event) > 0 && at != place {
			each(place, event)
			event = nil
		}
		place, event = at, append(event, d)
		return nil
	})
	if err == nil && len(event) > 0 {
		each(place, event)
	}
	return err
}

package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// storedDelivery is a delivery as a table has it.
type storedDelivery struct {
	offset, arrivedMS  int64
	rejected           bool
	tenant, source, id string
	payload            string // of a rejected one
}

// candidates is how many deliveries of a partition are looked for on Kafka, from the last on, until one is there:
// compaction may have taken some.
const candidates = 8

// OtherTopicError says that a topic is not the one that was taken in.
type OtherTopicError struct {
	partition kafka.TopicPartition
	what      string
}

func (e OtherTopicError) Error() string {
	return fmt.Sprintf("%s is not the topic that was taken in: %s. It was recreated or cut, or belongs to another Kafka, "+
		"and nothing of the topic is taken in. Point kafka.brokers at the Kafka that belongs to this database, "+
		"or choose another kafka.topicPrefix, create its topics by a migration, restore the registry from registry_log, "+
		"and have all deliveries published there", e.partition, e.what)
}

// shorter is the OtherTopicError of a partition that ends before the ledger does.
func shorter(p kafka.TopicPartition, next, end int64) error {
	return OtherTopicError{p, fmt.Sprintf("the ledger has taken it in up to offset %d, but Kafka has it only up to %d",
		next-1, end-1)}
}

// sameTopic compares the last deliveries that the ledger has of a partition with what Kafka has at their offsets.
// It returns an [OtherTopicError] where they differ, or where the partition ends before the ledger does; what
// Kafka has deleted cannot be compared. A second error is that of a service. Topic ids and leader epochs are not
// looked at: kafka-go speaks no version of Metadata or Fetch that has the ids, and a mirror has others of both, with
// the records the same.
func (u *usage) sameTopic(ctx context.Context, p kafka.TopicPartition, next int64, b kafka.Bounds) (other, err error) {
	if next > b.End {
		return shorter(p, next, b.End), nil
	}
	had, err := u.store.lastBefore(ctx, p, next)
	if err != nil {
		return nil, err
	}
	for _, d := range had {
		if d.offset < b.First {
			return nil, nil
		}
		what, there, err := u.differs(ctx, p, d)
		switch {
		case err != nil || (there && what == ""):
			return nil, err
		case there:
			return OtherTopicError{p, what}, nil
		}
	}
	return nil, nil
}

// lastBefore returns the last deliveries that are stored of a partition before an offset, the last first. It looks
// near the end first: the index of offsets then reads next to nothing.
func (s store) lastBefore(ctx context.Context, p kafka.TopicPartition, next int64) ([]storedDelivery, error) {
	for _, back := range []int64{candidates, 1 << 14, next} {
		found, err := s.lastBetween(ctx, p, max(0, next-back), next-1)
		if err != nil || len(found) > 0 || back >= next {
			return found, err
		}
	}
	return nil, nil
}

func (s store) lastBetween(ctx context.Context, p kafka.TopicPartition, first, last int64) (
	found []storedDelivery, err error) {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	of := `WHERE topic = {topic:String} AND partition = {partition:Int32}
		AND offset BETWEEN {first:Int64} AND {last:Int64}`
	rows, err := s.conn.Query(ctx, `
		SELECT offset, any(arrived_ms), any(of_rejected), any(tenant), any(source), any(id), any(payload) FROM (
			SELECT offset, arrived_ms, false AS of_rejected,
				toString(tenant) AS tenant, toString(source) AS source, id, '' AS payload
			FROM usage_events `+of+`
			UNION ALL
			SELECT offset, arrived_ms, true, tenant, source, id, payload FROM rejected `+of+`)
		GROUP BY offset ORDER BY offset DESC LIMIT {most:UInt32}`,
		named(p, "first", first, "last", last, "most", candidates)...)
	if err != nil {
		return nil, schemaError(err)
	}
	defer rows.Close()
	for rows.Next() {
		var d storedDelivery
		if err := rows.Scan(&d.offset, &d.arrivedMS, &d.rejected, &d.tenant, &d.source, &d.id, &d.payload); err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, rows.Err()
}

// differs reads the record at the offset of a delivery and says in what it is another one. there is false when
// Kafka has no record at that offset.
func (u *usage) differs(ctx context.Context, p kafka.TopicPartition, d storedDelivery) (
	what string, there bool, err error) {
	found := errors.New("found")
	for from := d.offset; from <= d.offset; {
		next, err := u.kafka.Visit(ctx, p, from, 1, 0, func(r *kafka.Record) error {
			if there = r.Offset == d.offset; there {
				what = d.difference(u.types[p.Topic], r)
			}
			return found
		})
		if errors.Is(err, kafka.ErrOffsetOutOfRange) { // deleted meanwhile
			return "", false, nil
		}
		if errors.Is(err, found) {
			return what, there, nil
		}
		if err != nil || next == from {
			return "", false, err
		}
		from = next
	}
	return "", false, nil
}

// difference says in what a record is another than the delivery that is stored at its offset.
func (d *storedDelivery) difference(typ schemas.Type, r *kafka.Record) string {
	if d.arrivedMS != r.TimeMS {
		return fmt.Sprintf("at offset %d the database has what arrived at %s, and Kafka what arrived at %s",
			d.offset, civil.FormatMillis(d.arrivedMS), civil.FormatMillis(r.TimeMS))
	}
	if d.rejected {
		if !bytes.Equal([]byte(d.payload), r.Value) {
			return fmt.Sprintf("at offset %d Kafka has another payload than the table rejected", d.offset)
		}
		return ""
	}
	var decoder schemas.Decoder
	var event schemas.Event
	if decoder.Decode(typ, r.Headers, r.Value, &event) != nil {
		return "" // a newer contract may refuse what was accepted
	}
	if event.Tenant != d.tenant || event.Source != d.source || event.ID != d.id {
		return fmt.Sprintf("at offset %d the database has the event %s %s %s, and Kafka %s %s %s",
			d.offset, d.tenant, d.source, d.id, event.Tenant, event.Source, event.ID)
	}
	return ""
}

// compare compares the partitions that the ledger knows with Kafka, and returns for each topic that is not the one that
// was taken in why. While Kafka or ClickHouse are away it waits.
func (u *usage) compare(ctx context.Context) (others map[string]error, err error) {
	err = u.kafka.Do(ctx, func(ctx context.Context) (err error) {
		others, err = u.compareOnce(ctx)
		return permanent(err)
	})
	return others, err
}

// compareOnce is one attempt of compare.
func (u *usage) compareOnce(ctx context.Context) (map[string]error, error) {
	ledger, err := u.store.positions(ctx, u.topics())
	if err != nil {
		return nil, err
	}
	partitions, err := u.kafka.Partitions(ctx, u.topics()...)
	if err != nil {
		return nil, err
	}
	ends, err := u.kafka.Bounds(ctx, partitions...) // after the ledger, which is never ahead of it then
	if err != nil {
		return nil, err
	}
	others := make(map[string]error)
	for _, p := range partitions {
		next, known := ledger[p]
		if !known {
			continue
		}
		other, err := u.sameTopic(ctx, p, next, ends[p])
		if err != nil {
			return nil, err
		}
		if other != nil {
			others[p.Topic] = errors.Join(others[p.Topic], other)
		}
	}
	return others, nil
}

// excludeOthers leaves those of the topics out that are not the ones that were taken in, and takes in the others.
func (in *Ingester) excludeOthers(ctx context.Context) error {
	others, err := in.compare(ctx)
	if err != nil {
		return err
	}
	for _, topic := range in.topics() {
		in.exclude(topic, others[topic])
	}
	return nil
}

// exclude leaves a topic out; without a reason it ends that.
func (in *Ingester) exclude(topic string, why error) {
	in.excluding.Lock()
	defer in.excluding.Unlock()
	if why == nil {
		delete(in.others, topic)
		return
	}
	if in.others[topic] == nil {
		in.log.Error("a topic is not taken in", "topic", topic, "error", why)
	}
	in.others[topic] = why
}

// excluded returns why a topic is left out; nil when it is not.
func (in *Ingester) excluded(topic string) error {
	in.excluding.Lock()
	defer in.excluding.Unlock()
	return in.others[topic]
}

// exclusions returns why topics are left out; nil when none is.
func (in *Ingester) exclusions() error {
	in.excluding.Lock()
	defer in.excluding.Unlock()
	var all []error
	for _, topic := range slices.Sorted(maps.Keys(in.others)) {
		all = append(all, in.others[topic])
	}
	return errors.Join(all...)
}

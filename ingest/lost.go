package ingest

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// maxListed is how many batches are searched for lost offsets, and how many
// ranges of them are named: a table that was emptied needs no list.
const maxListed = 20

// locate names the offsets behind a partition whose tables do not have what
// the ledger says, batch by batch: those that no table has, and those that
// both have.
func (b *PartitionBalance) locate(ctx context.Context, conn driver.Conn) error {
	if b.StoredAccepted+b.StoredRejected == 0 {
		b.differ("neither usage_events nor rejected has any of the offsets %s", b.Offsets)
		return nil
	}
	batches, n, err := b.suspects(ctx, conn)
	if err != nil {
		return err
	}
	for _, batch := range batches {
		lost, both, whole, err := b.search(ctx, conn, batch)
		if err != nil {
			return err
		}
		if whole {
			continue
		}
		for _, found := range []struct {
			ranges []OffsetRange
			what   string
		}{{lost, "neither usage_events nor rejected has"}, {both, "usage_events and rejected both have"}} {
			if len(found.ranges) > 0 {
				b.differ("of the batch %s %s the offsets %s", batch, found.what, list(found.ranges))
			}
		}
		if lost == nil && both == nil {
			b.differ("of the batch %s every offset is in one of the tables, but not as many in each as the ledger says",
				batch)
		}
	}
	if more := n - uint64(len(batches)); more > 0 {
		b.differ("and %d more batches of the ledger differ from the tables", more)
	}
	return nil
}

func list(ranges []OffsetRange) string {
	var words []string
	for i, r := range ranges {
		if i == maxListed {
			words = append(words, fmt.Sprintf("… (%d more ranges)", len(ranges)-i))
			break
		}
		words = append(words, r.String())
	}
	return strings.Join(words, ", ")
}

// suspect is a batch of the ledger that the tables may have other numbers of rows of.
type suspect struct {
	OffsetRange
	accepted, rejected uint64
}

// suspects returns the first batches of the ledger of which the tables have
// other numbers of rows, in order, and how many such there are. Of offsets that
// several batches have, one of these is taken to have all.
func (b *PartitionBalance) suspects(ctx context.Context, conn driver.Conn) (
	batches []suspect, n uint64, err error) {
	stored := func(table string) string {
		return `(SELECT b.first_offset AS first_offset, uniqExact(t.offset) AS n
			FROM (SELECT topic, partition, offset FROM ` + table + `
				WHERE topic = {topic:String} AND partition = {partition:Int32}) AS t
			ASOF INNER JOIN batches AS b ON t.topic = b.topic AND t.partition = b.partition AND t.offset >= b.first_offset
			WHERE t.offset <= b.last_offset
			GROUP BY first_offset)`
	}
	rows, err := conn.Query(ctx, `
		WITH batches AS (
			SELECT topic, partition, first_offset, last_offset, accepted, rejected FROM ingest_batches FINAL
			WHERE topic = {topic:String} AND partition = {partition:Int32})
		SELECT batches.first_offset AS first, batches.last_offset, batches.accepted, batches.rejected, count() OVER ()
		FROM batches
		LEFT JOIN `+stored("usage_events")+` AS e ON batches.first_offset = e.first_offset
		LEFT JOIN `+stored("rejected")+` AS r ON batches.first_offset = r.first_offset
		WHERE batches.accepted != e.n OR batches.rejected != r.n
		ORDER BY first LIMIT {most:UInt32}`, named(b.TopicPartition, "most", maxListed)...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var s suspect
		if err := rows.Scan(&s.First, &s.Last, &s.accepted, &s.rejected, &n); err != nil {
			return nil, 0, err
		}
		batches = append(batches, s)
	}
	return batches, n, rows.Err()
}

// search returns the offsets of a batch that no table has, and those that both
// have; whole, whether the tables have as many as the batch. Offsets that Kafka
// skips, as it does where transactions end, are among the first.
func (b *PartitionBalance) search(ctx context.Context, conn driver.Conn, batch suspect) (
	lost, both []OffsetRange, whole bool, err error) {
	rows, err := conn.Query(ctx, `
		SELECT offset, countIf(of = 'usage_events'), countIf(of = 'rejected') FROM (
			SELECT DISTINCT offset, 'usage_events' AS of FROM usage_events
			WHERE topic = {topic:String} AND partition = {partition:Int32}
				AND offset BETWEEN {first:Int64} AND {last:Int64}
			UNION ALL
			SELECT DISTINCT offset, 'rejected' AS of FROM rejected
			WHERE topic = {topic:String} AND partition = {partition:Int32}
				AND offset BETWEEN {first:Int64} AND {last:Int64})
		GROUP BY offset ORDER BY offset`,
		named(b.TopicPartition, "first", batch.First, "last", batch.Last)...)
	if err != nil {
		return nil, nil, false, err
	}
	defer rows.Close()
	next := batch.First
	var accepted, rejected uint64
	for rows.Next() {
		var offset int64
		var inEvents, inRejected uint64
		if err := rows.Scan(&offset, &inEvents, &inRejected); err != nil {
			return nil, nil, false, err
		}
		accepted, rejected = accepted+inEvents, rejected+inRejected
		tables := inEvents + inRejected
		if offset > next {
			lost = append(lost, OffsetRange{next, offset - 1})
		}
		if n := len(both); tables > 1 && n > 0 && both[n-1].Last == offset-1 {
			both[n-1].Last = offset
		} else if tables > 1 {
			both = append(both, OffsetRange{offset, offset})
		}
		next = offset + 1
	}
	if next <= batch.Last {
		lost = append(lost, OffsetRange{next, batch.Last})
	}
	return lost, both, accepted == batch.accepted && rejected == batch.rejected, rows.Err()
}

package ingest

import (
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"apportion/ingest/kafka"
)

// OffsetRange is a range of offsets, both ends included.
type OffsetRange struct{ First, Last int64 }

// String returns the range as "7" or "7-9".
func (r OffsetRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// PartitionBalance is the balance of one topic partition (R22): what the ledger
// says was taken in, and what the tables have.
type PartitionBalance struct {
	kafka.TopicPartition
	// Offsets is what the ledger spans. Holes are the parts of it that no batch
	// has, from the offset 0 on and up to the first one that Kafka has, Overlaps
	// those that several have, but for what two consumers entered at one instant:
	// each of them is right, and all sums have its offsets once.
	Offsets         OffsetRange
	Holes, Overlaps []OffsetRange
	// Accepted holes are no difference any more.
	AcceptedHoles []OffsetRange
	// Read, Accepted and Rejected are the sums of the ledger.
	Read, Accepted, Rejected uint64
	// Skipped is how many offsets of the ledger's batches had no record: Kafka
	// skips those where transactions end or were aborted, and what it compacted
	// away.
	Skipped uint64
	// StoredAccepted and StoredRejected count the distinct offsets up to the
	// ledger's last in usage_events and in rejected. Those after it belong to a
	// batch under way.
	StoredAccepted, StoredRejected uint64
	// Differences says in words everything that does not balance.
	Differences []string
}

// Balanced reports whether there is no difference.
func (b *PartitionBalance) Balanced() bool { return len(b.Differences) == 0 }

// Hole is a range of offsets of a partition that somebody has accepted as gone.
type Hole struct {
	kafka.TopicPartition
	OffsetRange
}

// Balance returns the balance of every topic partition that the ledger or a
// table has anything of, by topic and partition, and of those of which Kafka has
// deleted what was never taken in. What Kafka has must have been read
// before, or a batch under way could pass for deleted. Holes that are accepted
// are no differences.
func Balance(ctx context.Context, conn driver.Conn, kept map[kafka.TopicPartition]kafka.Bounds, accepted ...Hole) (
	[]PartitionBalance, error) {
	all, err := ledger(ctx, conn)
	if err != nil {
		return nil, schemaError(err)
	}
	err = stored(ctx, conn, "usage_events", all, func(b *PartitionBalance, n uint64) { b.StoredAccepted = n })
	if err != nil {
		return nil, schemaError(err)
	}
	err = stored(ctx, conn, "rejected", all, func(b *PartitionBalance, n uint64) { b.StoredRejected = n })
	if err != nil {
		return nil, schemaError(err)
	}
	for p, k := range kept {
		if b := all[p]; b == nil && k.First > 0 {
			all[p] = &PartitionBalance{TopicPartition: p, Offsets: OffsetRange{k.First, k.First - 1}}
		} else if b != nil && k.First > b.Offsets.Last+1 {
			b.Holes = append(b.Holes, OffsetRange{b.Offsets.Last + 1, k.First - 1})
		}
	}
	balances := make([]PartitionBalance, 0, len(all))
	for _, b := range all {
		// Kafka deleted what was before, or the ledger lost it.
		if first := b.Offsets.First; first > 0 && len(b.Holes) > 0 && b.Holes[0].First == first {
			b.Holes[0].First = 0
		} else if first > 0 {
			b.Holes = slices.Insert(b.Holes, 0, OffsetRange{0, first - 1})
		}
		b.accept(accepted)
		b.compare()
		if b.Accepted != b.StoredAccepted || b.Rejected != b.StoredRejected {
			if err := b.locate(ctx, conn); err != nil {
				return nil, schemaError(err)
			}
		}
		balances = append(balances, *b)
	}
	slices.SortFunc(balances, func(a, b PartitionBalance) int { return a.Compare(b.TopicPartition) })
	return balances, nil
}

// ledger sums up the ledger, partition by partition.
func ledger(ctx context.Context, conn driver.Conn) (map[kafka.TopicPartition]*PartitionBalance, error) {
	rows, err := conn.Query(ctx, `
		SELECT topic, partition, first_offset, last_offset, read, accepted, rejected, covered, unbroken
		FROM v_ingest_partitions`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[kafka.TopicPartition]*PartitionBalance)
	var broken []*PartitionBalance
	for rows.Next() {
		var b PartitionBalance
		var partition int32
		var covered uint64
		var unbroken bool
		err := rows.Scan(&b.Topic, &partition, &b.Offsets.First, &b.Offsets.Last,
			&b.Read, &b.Accepted, &b.Rejected, &covered, &unbroken)
		if err != nil {
			return nil, err
		}
		b.Partition = int(partition)
		b.Skipped = max(covered, b.Read) - b.Read
		all[b.TopicPartition] = &b
		if !unbroken {
			broken = append(broken, &b)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, b := range broken {
		if err := b.locateTears(ctx, conn); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// maxTears is how many holes and overlaps of a partition are named.
const maxTears = 1000

// locateTears names the holes and overlaps of a partition that has some. Where rows of
// one run were merged after one between them was deleted, or was entered twice,
// the whole of what they span is named. What two consumers entered is counted once.
func (b *PartitionBalance) locateTears(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT first_offset, last_offset, next, within, raced FROM (
			SELECT first_offset, last_offset, toInt64(covered) - (last_offset - first_offset + 1) AS within,
				max(last_offset + 1) OVER before AS next,
				argMax(run, last_offset) OVER before AS other,
				max(last_offset + 1) OVER (PARTITION BY run ORDER BY first_offset, last_offset
					ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS own_next,
				run != toUUID({none:String}) AND other != toUUID({none:String}) AND own_next <= first_offset AS raced
			FROM ingest_batches WHERE topic = {topic:String} AND partition = {partition:Int32}
			WINDOW before AS (ORDER BY first_offset, last_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))
		WHERE within != 0 OR first_offset != if(first_offset = {first:Int64} AND next = 0, first_offset, next)
		ORDER BY first_offset, last_offset LIMIT {most:UInt32}`,
		named(b.TopicPartition, "first", b.Offsets.First, "most", maxTears, "none", uuid.Nil)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var twice []OffsetRange
	for rows.Next() {
		var r OffsetRange
		var next, within int64
		var raced bool
		if err := rows.Scan(&r.First, &r.Last, &next, &within, &raced); err != nil {
			return err
		}
		switch {
		case within > 0:
			b.Overlaps = append(b.Overlaps, r)
		case within < 0:
			b.Holes = append(b.Holes, r)
		}
		if r.First > next && r.First > b.Offsets.First {
			b.Holes = append(b.Holes, OffsetRange{next, r.First - 1})
		} else if r.First < next {
			overlaps := &b.Overlaps
			if raced {
				overlaps = &twice
			}
			*overlaps = append(*overlaps, OffsetRange{r.First, min(r.Last, next-1)})
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, r := range twice {
		if err := b.countOnce(ctx, conn, r); err != nil {
			return err
		}
	}
	return nil
}

// countOnce takes offsets that two entries have out of the sums of one of them. An entry of the ledger has no
// counts of a part of it, so what the tables have of the offsets is taken out. That hides nothing: where they
// lack a delivery of these offsets, the sums exceed what the tables have by it twice.
func (b *PartitionBalance) countOnce(ctx context.Context, conn driver.Conn, r OffsetRange) error {
	of := `WHERE topic = {topic:String} AND partition = {partition:Int32}
		AND offset BETWEEN {first:Int64} AND {last:Int64}`
	var accepted, rejected uint64
	err := conn.QueryRow(ctx, `
		SELECT (SELECT uniqExact(offset) FROM usage_events `+of+`), (SELECT uniqExact(offset) FROM rejected `+of+`)`,
		named(b.TopicPartition, "first", r.First, "last", r.Last)...).Scan(&accepted, &rejected)
	for _, sum := range []struct {
		of   *uint64
		less uint64
	}{
		{&b.Accepted, accepted}, {&b.Rejected, rejected}, {&b.Read, accepted + rejected},
		{&b.Skipped, uint64(r.Last-r.First+1) - min(accepted+rejected, uint64(r.Last-r.First+1))},
	} {
		*sum.of -= min(*sum.of, sum.less)
	}
	return err
}

// accept takes what is accepted out of the holes.
func (b *PartitionBalance) accept(accepted []Hole) {
	for _, a := range accepted {
		if a.TopicPartition != b.TopicPartition {
			continue
		}
		var left []OffsetRange
		for _, h := range b.Holes {
			within := OffsetRange{max(h.First, a.First), min(h.Last, a.Last)}
			if within.First > within.Last {
				left = append(left, h)
				continue
			}
			b.AcceptedHoles = append(b.AcceptedHoles, within)
			for _, rest := range []OffsetRange{{h.First, within.First - 1}, {within.Last + 1, h.Last}} {
				if rest.First <= rest.Last {
					left = append(left, rest)
				}
			}
		}
		b.Holes = left
	}
}

// differ adds a difference.
func (b *PartitionBalance) differ(format string, args ...any) {
	b.Differences = append(b.Differences, b.TopicPartition.String()+": "+fmt.Sprintf(format, args...))
}

// compare puts every difference into words.
func (b *PartitionBalance) compare() {
	for _, r := range b.Holes {
		b.differ("no batch of the ledger has the offsets %s", r)
	}
	for _, r := range b.Overlaps {
		b.differ("the ledger has the offsets %s more than once", r)
	}
	if b.Read != b.Accepted+b.Rejected {
		b.differ("the ledger says that %d were read, but %d accepted and %d rejected", b.Read, b.Accepted, b.Rejected)
	}
	if b.Accepted != b.StoredAccepted {
		b.differ("the ledger says that %d were accepted, but usage_events has %d", b.Accepted, b.StoredAccepted)
	}
	if b.Rejected != b.StoredRejected {
		b.differ("the ledger says that %d were rejected, but the table rejected has %d", b.Rejected, b.StoredRejected)
	}
}

// stored counts the distinct offsets that a table has up to the end of the
// ledger as it was read, as bitmaps: they are dense, and there may be many. A
// partition that the ledger knows nothing of is added to it, and what lies
// before its first batch is a hole: the ledger has lost rows. (Or the very
// first batch of the partition is under way: then it is there in a moment.)
func stored(ctx context.Context, conn driver.Conn, table string, ledger map[kafka.TopicPartition]*PartitionBalance,
	count func(b *PartitionBalance, n uint64)) error {
	topics, partitions, last := []string{}, []int32{}, []int64{}
	for p, b := range ledger {
		topics = append(topics, p.Topic)
		partitions = append(partitions, int32(p.Partition))
		last = append(last, b.Offsets.Last)
	}
	rows, err := conn.Query(ctx, `
		SELECT topic, partition, groupBitmapIf(toUInt64(offset), NOT known OR offset <= last), min(offset), max(offset)
		FROM `+table+`
		LEFT JOIN (SELECT l.1 AS topic, l.2 AS partition, l.3 AS last, true AS known
			FROM (SELECT arrayJoin(arrayZip(?::Array(String), ?::Array(Int32), ?::Array(Int64))) AS l)) AS ledger
		USING (topic, partition)
		GROUP BY topic, partition`, topics, partitions, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p kafka.TopicPartition
		var partition int32
		var n uint64
		var has OffsetRange
		if err := rows.Scan(&p.Topic, &partition, &n, &has.First, &has.Last); err != nil {
			return err
		}
		p.Partition = int(partition)
		b := ledger[p]
		if b == nil {
			b = &PartitionBalance{TopicPartition: p, Offsets: OffsetRange{has.Last + 1, has.Last}}
			ledger[p] = b
		}
		if has.First < b.Offsets.First {
			b.Holes = slices.Insert(b.Holes, 0, OffsetRange{has.First, b.Offsets.First - 1})
			b.Offsets.First = has.First
		}
		count(b, n)
	}
	return rows.Err()
}

package ingest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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
	Topic     string
	Partition int
	// Offsets is what the ledger spans. Holes are the parts of it that no batch
	// has, Overlaps those that several have.
	Offsets         OffsetRange
	Holes, Overlaps []OffsetRange
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

// Balance returns the balance of every topic partition that the ledger or a
// table has anything of, by topic and partition.
func Balance(ctx context.Context, conn driver.Conn) ([]PartitionBalance, error) {
	all, err := ledger(ctx, conn)
	if err != nil {
		return nil, explained(err)
	}
	if err := stored(ctx, conn, "usage_events", all, func(b *PartitionBalance, n uint64) { b.StoredAccepted = n }); err != nil {
		return nil, explained(err)
	}
	if err := stored(ctx, conn, "rejected", all, func(b *PartitionBalance, n uint64) { b.StoredRejected = n }); err != nil {
		return nil, explained(err)
	}
	balances := make([]PartitionBalance, 0, len(all))
	for _, b := range all {
		b.compare()
		if b.Accepted != b.StoredAccepted || b.Rejected != b.StoredRejected {
			if err := b.locate(ctx, conn); err != nil {
				return nil, explained(err)
			}
		}
		balances = append(balances, *b)
	}
	slices.SortFunc(balances, func(a, b PartitionBalance) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return balances, nil
}

// ledger sums up the ledger, partition by partition.
func ledger(ctx context.Context, conn driver.Conn) (map[place]*PartitionBalance, error) {
	rows, err := conn.Query(ctx, `SELECT topic, partition, first_offset, last_offset, read, accepted, rejected
		FROM ingest_batches FINAL ORDER BY topic, partition, first_offset`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[place]*PartitionBalance)
	for rows.Next() {
		var topic string
		var partition int32
		var r OffsetRange
		var read, accepted, rejected uint64
		if err := rows.Scan(&topic, &partition, &r.First, &r.Last, &read, &accepted, &rejected); err != nil {
			return nil, err
		}
		p := place{topic, int(partition)}
		b := all[p]
		if b == nil {
			b = &PartitionBalance{Topic: topic, Partition: int(partition), Offsets: OffsetRange{r.First, r.First - 1}}
			all[p] = b
		}
		b.cover(r)
		b.Read += read
		b.Skipped += uint64(r.Last-r.First+1) - read
		b.Accepted += accepted
		b.Rejected += rejected
	}
	return all, rows.Err()
}

// cover adds a batch to those before it; none of them begins later.
func (b *PartitionBalance) cover(r OffsetRange) {
	if next := b.Offsets.Last + 1; r.First > next {
		b.Holes = append(b.Holes, OffsetRange{next, r.First - 1})
	} else if r.First < next {
		b.Overlaps = append(b.Overlaps, OffsetRange{r.First, min(r.Last, next-1)})
	}
	b.Offsets.Last = max(b.Offsets.Last, r.Last)
}

// compare puts every difference into words.
func (b *PartitionBalance) compare() {
	say := func(format string, args ...any) {
		b.Differences = append(b.Differences, fmt.Sprintf("%s/%d: ", b.Topic, b.Partition)+fmt.Sprintf(format, args...))
	}
	for _, r := range b.Holes {
		say("no batch of the ledger has the offsets %s", r)
	}
	for _, r := range b.Overlaps {
		say("the ledger has the offsets %s more than once", r)
	}
	if b.Read != b.Accepted+b.Rejected {
		say("the ledger says that %d were read, but %d accepted and %d rejected", b.Read, b.Accepted, b.Rejected)
	}
	if b.Accepted != b.StoredAccepted {
		say("the ledger says that %d were accepted, but usage_events has %d", b.Accepted, b.StoredAccepted)
	}
	if b.Rejected != b.StoredRejected {
		say("the ledger says that %d were rejected, but the table rejected has %d", b.Rejected, b.StoredRejected)
	}
}

// stored counts the distinct offsets that a table has up to the end of the
// ledger as it was read, as bitmaps: they are dense, and there may be many. A
// partition that the ledger knows nothing of is added to it, and what lies
// before its first batch is a hole: the ledger has lost rows. (Or the very
// first batch of the partition is under way: then it is there in a moment.)
func stored(ctx context.Context, conn driver.Conn, table string, ledger map[place]*PartitionBalance, count func(b *PartitionBalance, n uint64)) error {
	topics, partitions, last := []string{}, []int32{}, []int64{}
	for p, b := range ledger {
		topics = append(topics, p.topic)
		partitions = append(partitions, int32(p.partition))
		last = append(last, b.Offsets.Last)
	}
	rows, err := conn.Query(ctx, `SELECT topic, partition, groupBitmapIf(toUInt64(offset), NOT known OR offset <= last), min(offset), max(offset)
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
		var p place
		var partition int32
		var n uint64
		var has OffsetRange
		if err := rows.Scan(&p.topic, &partition, &n, &has.First, &has.Last); err != nil {
			return err
		}
		p.partition = int(partition)
		b := ledger[p]
		if b == nil {
			b = &PartitionBalance{Topic: p.topic, Partition: p.partition, Offsets: OffsetRange{has.Last + 1, has.Last}}
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

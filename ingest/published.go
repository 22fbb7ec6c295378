package ingest

import (
	"context"
	"log/slog"

	"apportion/schemas"
)

// Kept is what Kafka has of a topic partition.
type Kept struct {
	Topic     string
	Partition int
	// First is the offset of the first record: those before it are deleted.
	First int64
	// End is the offset that the next record gets: as many have been published,
	// but for offsets that Kafka skips.
	End int64
}

// AllKept returns what Kafka has of the partitions of deliveries. While Kafka is
// away it waits.
func AllKept(ctx context.Context, brokers Brokers, topicPrefix string) ([]Kept, error) {
	c := newCluster(brokers)
	defer c.close()
	var topics []string
	for _, t := range schemas.Types {
		topics = append(topics, topicPrefix+t.Topic())
	}
	var kept []Kept
	err := newWaiter(slog.Default()).do(ctx, c.String(), func(ctx context.Context) error {
		places, err := c.partitions(ctx, topics...)
		if err != nil {
			return err
		}
		all, err := c.bounds(ctx, places)
		kept = nil
		for _, p := range places {
			kept = append(kept, Kept{p.topic, p.partition, all[p].first, all[p].end})
		}
		return err
	})
	return kept, err
}

package ingest

import (
	"context"
	"log/slog"

	"apportion/schemas"
)

// End is how far a topic partition goes on Kafka.
type End struct {
	Topic     string
	Partition int
	// Offset is the one that the next record gets: as many have been published,
	// but for offsets that Kafka skips.
	Offset int64
}

// Ends returns how far the partitions of deliveries go. While Kafka is away it
// waits.
func Ends(ctx context.Context, brokers Brokers, topicPrefix string) ([]End, error) {
	c := newCluster(brokers)
	defer c.close()
	var topics []string
	for _, t := range schemas.Types {
		topics = append(topics, topicPrefix+t.Topic())
	}
	var ends []End
	err := newWaiter(slog.Default()).do(ctx, c.String(), func(ctx context.Context) error {
		places, err := c.partitions(ctx, topics...)
		if err != nil {
			return err
		}
		all, err := c.bounds(ctx, places)
		ends = nil
		for _, p := range places {
			ends = append(ends, End{p.topic, p.partition, all[p].end})
		}
		return err
	})
	return ends, err
}

package kafka

import (
	"context"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// GroupConfig says which consumer group to take part in.
type GroupConfig struct {
	ID     string
	Topics []string
	// SessionTimeout is how long after its last sign of life a member keeps its partitions.
	SessionTimeout time.Duration
}

// Group is membership in a consumer group.
type Group struct {
	client *Client
	group  *kafkago.ConsumerGroup
}

// Join makes the program a member of a consumer group.
func (c *Client) Join(cfg GroupConfig) (*Group, error) {
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID:                    cfg.ID,
		Brokers:               c.brokers.Addrs,
		Topics:                cfg.Topics,
		Dialer:                c.brokers.dialer(),
		WatchPartitionChanges: true,
		HeartbeatInterval:     cfg.SessionTimeout / 12,
		SessionTimeout:        cfg.SessionTimeout,
		RebalanceTimeout:      cfg.SessionTimeout,
		JoinGroupBackoff:      300 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	return &Group{c, group}, nil
}

// Close leaves the group.
func (g *Group) Close() error { return g.group.Close() }

// Next waits until the partitions are divided up among the members again. While Kafka is away it waits.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	// The group reports every failed attempt to join and goes on trying, so
	// an answer of "coordinator not available" is only one more wait.
	var gen *kafkago.Generation
	err := g.client.Do(ctx, func(ctx context.Context) (err error) {
		gen, err = g.group.Next(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	next := &Generation{gen: gen}
	for topic, assigned := range gen.Assignments {
		for _, a := range assigned {
			next.Partitions = append(next.Partitions, TopicPartition{Topic: topic, Partition: a.ID})
		}
	}
	return next, nil
}

// Generation is what a member of a group has until the partitions are divided up again.
type Generation struct {
	// Partitions are those of the member.
	Partitions []TopicPartition
	gen        *kafkago.Generation
}

// Start runs a function, whose end ends the generation. Its context is done when the generation ends otherwise; the
// member keeps its partitions until all functions have returned.
func (g *Generation) Start(run func(context.Context)) { g.gen.Start(run) }

// Commit sets the offsets that the group has of some partitions. Kafka refuses it once the generation is over.
func (g *Generation) Commit(offsets map[TopicPartition]int64) error {
	byTopic := make(map[string]map[int]int64)
	for p, offset := range offsets {
		if byTopic[p.Topic] == nil {
			byTopic[p.Topic] = make(map[int]int64)
		}
		byTopic[p.Topic][p.Partition] = offset
	}
	return g.gen.CommitOffsets(byTopic)
}

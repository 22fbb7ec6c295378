package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"apportion/schemas"
)

// DefaultPartitions is how many partitions a new topic gets.
const DefaultPartitions = 4

// maxMessageBytes is the greatest record that our topics take. It is far above
// what the event contract accepts, so that a delivery that is too large can
// still be published, refused and kept whole.
const maxMessageBytes = 16 << 20

// usageRetention is how long a new usage topic keeps its records: what is not taken in by then is lost.
const usageRetention = 90 * 24 * time.Hour

// CreateTopics creates those of the topics of the event contract that do not
// exist yet, and leaves the others as they are. The registry's has one
// partition whatever is asked for, and keeps its records for ever.
func CreateTopics(ctx context.Context, brokers Brokers, prefix string, partitions int) error {
	c := newCluster(brokers)
	defer c.close()

	config := func(topic string, partitions, maxBytes int, entries ...kafka.ConfigEntry) kafka.TopicConfig {
		return kafka.TopicConfig{
			Topic:             prefix + topic,
			NumPartitions:     partitions,
			ReplicationFactor: -1, // the cluster's default
			ConfigEntries: append(entries,
				kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(maxBytes)}),
		}
	}
	wanted := []kafka.TopicConfig{
		// A dead letter has the reason on top of what a delivery has.
		config(schemas.TopicRejected, partitions, maxMessageBytes+1<<20),
		config(schemas.TopicRegistry, 1, maxMessageBytes,
			kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: "-1"},
			kafka.ConfigEntry{ConfigName: "retention.bytes", ConfigValue: "-1"}),
	}
	for _, t := range schemas.Types {
		wanted = append(wanted, config(t.Topic(), partitions, maxMessageBytes,
			kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(usageRetention.Milliseconds(), 10)}))
	}
	return newWaiter(slog.Default()).do(ctx, c.String(), func(ctx context.Context) error {
		response, err := c.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: wanted})
		if err != nil {
			return err
		}
		for topic, err := range response.Errors {
			var code kafka.Error
			switch {
			case err == nil, errors.Is(err, kafka.TopicAlreadyExists):
			case errors.As(err, &code) && code.Temporary():
				return err
			default:
				return permanentError{fmt.Errorf("creating topic %s: %w", topic, err)}
			}
		}
		return nil
	})
}

package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"apportion/schemas"
	"apportion/schemas/retry"
)

// DefaultPartitions is how many partitions a new topic gets.
const DefaultPartitions = 4

// DefaultRetentionDays is for how many days a usage topic keeps its records.
const DefaultRetentionDays = 90

// MaxMessageBytes is the greatest record that our topics take. It is far above
// what the event contract accepts, so that a delivery that is too large can
// still be published, refused and kept whole.
const MaxMessageBytes = 16 << 20

// Topics are the topics of the event contract, as they are to be on a cluster.
type Topics struct {
	Prefix string // before every name
	// Partitions is how many a new topic gets; the registry's has one, whatever is asked for.
	Partitions int
	// Retention is how long a usage topic keeps its records: what is not taken in by then is lost.
	Retention time.Duration
}

// topicConfig is one configuration of a topic: the value that a new topic gets, and what one that exists needs.
type topicConfig struct {
	name, value, needed string
	meets               func(value string) bool
}

// topic is one of the topics, with what it needs.
type topic struct {
	name       string // prefix included
	partitions int    // of a new one; of the registry's, whenever it was made
	registry   bool
	configs    []topicConfig
}

func is(name, value string) topicConfig {
	return topicConfig{name, value, value, func(v string) bool { return v == value }}
}

// unlimited is what Kafka takes for no limit.
const unlimited = "-1"

// atLeast is a limit that may be higher, or none.
func atLeast(name string, least int64) topicConfig {
	return topicConfig{name, strconv.FormatInt(least, 10), fmt.Sprintf("at least %d", least), func(value string) bool {
		n, err := strconv.ParseInt(value, 10, 64)
		return err == nil && n >= least || value == unlimited
	}}
}

func (t Topics) all() []topic {
	// A compacted topic has lost what was in between: of deliveries, and of commands, each counts.
	kept := is("cleanup.policy", "delete")
	size := atLeast("max.message.bytes", MaxMessageBytes)
	unbounded := is("retention.bytes", unlimited)
	all := []topic{
		// A dead letter has the reason on top of what a delivery has.
		{t.Prefix + schemas.TopicRejected, t.Partitions, false,
			[]topicConfig{kept, atLeast("max.message.bytes", MaxMessageBytes+1<<20)}},
		{t.Prefix + schemas.TopicRegistry, 1, true,
			[]topicConfig{kept, is("retention.ms", unlimited), unbounded, size}},
	}
	for _, typ := range schemas.Types {
		all = append(all, topic{t.Prefix + typ.Topic(), t.Partitions, false,
			[]topicConfig{kept, atLeast("retention.ms", t.Retention.Milliseconds()), unbounded, size}})
	}
	return all
}

// CreateTopics creates those that do not exist yet, and leaves the others as they are.
func (c *Client) CreateTopics(ctx context.Context, topics Topics) error {
	var wanted []kafkago.TopicConfig
	for _, topic := range topics.all() {
		const clusterDefault = -1
		of := kafkago.TopicConfig{
			Topic: topic.name, NumPartitions: topic.partitions, ReplicationFactor: clusterDefault,
		}
		for _, config := range topic.configs {
			of.ConfigEntries = append(of.ConfigEntries, kafkago.ConfigEntry{ConfigName: config.name, ConfigValue: config.value})
		}
		wanted = append(wanted, of)
	}
	return c.Do(ctx, func(ctx context.Context) error {
		response, err := c.client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: wanted})
		if err != nil {
			return err
		}
		for topic, err := range response.Errors {
			var code kafkago.Error
			switch {
			case err == nil, errors.Is(err, kafkago.TopicAlreadyExists):
			case errors.As(err, &code) && code.Temporary():
				return err
			default:
				return retry.Permanent(fmt.Errorf("creating topic %s: %w", topic, err))
			}
		}
		return nil
	})
}

// TopicFault is what is not as it must be with a topic that exists.
type TopicFault struct {
	Topic  string `json:"topic"`
	Config string `json:"config"`
	Value  string `json:"value"`
	Needed string `json:"needed"`
	Fix    string `json:"fix"` // what to do: a command, or in words
}

func (f TopicFault) String() string {
	return fmt.Sprintf("topic %s: %s is %q, and must be %s: %s", f.Topic, f.Config, f.Value, f.Needed, f.Fix)
}

// checkTimeout is how long Kafka may take to tell how its topics are: one that was just made is not known to
// every broker at once.
const checkTimeout = 15 * time.Second

// CheckTopics compares the topics with what they need. It returns also, in words, what Kafka does not let be seen,
// such as to users who may not ask for it.
func (c *Client) CheckTopics(ctx context.Context, topics Topics) (faults []TopicFault, unseen []string, err error) {
	return c.check(ctx, topics.all())
}

// NewTopic is a topic that does not exist yet, with the configuration that it gets.
type NewTopic struct {
	Topic      string            `json:"topic"`
	Partitions int               `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

func (t NewTopic) String() string {
	configs := ""
	for _, name := range slices.Sorted(maps.Keys(t.Configs)) {
		configs += ", " + name + "=" + t.Configs[name]
	}
	return fmt.Sprintf("topic %s: partitions=%d%s", t.Topic, t.Partitions, configs)
}

// PlanTopics returns the topics that [Client.CreateTopics] would create, and what [Client.CheckTopics] says of the
// others. It changes nothing.
func (c *Client) PlanTopics(ctx context.Context, topics Topics) (
	create []NewTopic, faults []TopicFault, unseen []string, err error,
) {
	var there []topic
	for _, t := range topics.all() {
		err := c.Do(ctx, func(ctx context.Context) error {
			_, err := c.Partitions(ctx, t.name)
			return err
		})
		switch {
		case err == nil:
			there = append(there, t)
		case errors.As(err, new(NoTopicError)):
			configs := map[string]string{}
			for _, config := range t.configs {
				configs[config.name] = config.value
			}
			create = append(create, NewTopic{t.name, t.partitions, configs})
		default:
			return nil, nil, nil, err
		}
	}
	if len(there) > 0 {
		faults, unseen, err = c.check(ctx, there)
	}
	return create, faults, unseen, err
}

func (c *Client) check(ctx context.Context, topics []topic) (faults []TopicFault, unseen []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for delay := retry.FirstDelay; ; delay = min(2*delay, retry.LastDelay) {
		if faults, unseen, err = c.checkTopics(ctx, topics); err == nil {
			break
		}
		if c.service.Refuses(err) {
			return nil, nil, err
		}
		if !retry.Sleep(ctx, delay) {
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, nil, context.Cause(ctx)
			}
			return nil, []string{fmt.Sprintf("how the topics are configured: %v", err)}, nil
		}
	}
	slices.SortStableFunc(faults, func(a, b TopicFault) int { return cmp.Compare(a.Topic, b.Topic) })
	return faults, unseen, nil
}

func (c *Client) checkTopics(ctx context.Context, topics []topic) (faults []TopicFault, unseen []string, err error) {
	request := &kafkago.DescribeConfigsRequest{}
	byName := make(map[string]topic)
	for _, t := range topics {
		byName[t.name] = t
		of := kafkago.DescribeConfigRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: t.name}
		for _, config := range t.configs {
			of.ConfigNames = append(of.ConfigNames, config.name)
		}
		request.Resources = append(request.Resources, of)
	}
	all, err := c.Partitions(ctx, slices.Collect(maps.Keys(byName))...)
	if err != nil {
		return nil, nil, err
	}
	partitions := make(map[string]int)
	for _, p := range all {
		partitions[p.Topic]++
	}
	for _, t := range topics {
		if n := partitions[t.name]; t.registry && n != 1 { // deliveries may be on any number
			faults = append(faults, TopicFault{t.name, "partitions", strconv.Itoa(n), "1", onePartition})
		}
	}
	response, err := c.client.DescribeConfigs(ctx, request)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range response.Resources {
		var code kafkago.Error
		if errors.As(r.Error, &code) && code.Temporary() {
			return nil, nil, r.Error
		}
		if r.Error != nil {
			unseen = append(unseen, fmt.Sprintf("how the topic %s is configured: %v", r.ResourceName, r.Error))
			continue
		}
		values := make(map[string]string)
		for _, e := range r.ConfigEntries {
			values[e.ConfigName] = e.ConfigValue
		}
		for _, config := range byName[r.ResourceName].configs {
			switch value, told := values[config.name]; {
			case !told:
				unseen = append(unseen, fmt.Sprintf("%s of the topic %s: Kafka does not tell it", config.name, r.ResourceName))
			case !config.meets(value):
				faults = append(faults, TopicFault{r.ResourceName, config.name, value, config.needed,
					fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics "+
						"--entity-name %s --add-config %s=%s",
						strings.Join(c.brokers.Addrs, ","), r.ResourceName, config.name, config.value)})
			}
		}
	}
	return faults, unseen, nil
}

// onePartition says what to do about a log that has several partitions.
const onePartition = "its commands are in one order, which is that of partition 0, " +
	"and what is on others is never read. Kafka cannot take partitions away: " + refill

// refill says how a log gets its records back.
const refill = "delete the topic, create it again by a migration, and restore the registry from registry_log"

package kafka_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
)

// Topics as Create makes them are as they must be, and each thing that could lose something is a fault.
func TestCheckTopics(t *testing.T) { kafkatest.Each(t, testCheckTopics) }

func testCheckTopics(t *testing.T, broker string) {
	made := kafkatest.New(t, broker, 2)
	client, topics := made.Client, kafkatest.Topics(made.Prefix, 4)
	if faults, unseen, err := client.CheckTopics(t.Context(), topics); err != nil || len(faults)+len(unseen) > 0 {
		t.Errorf("made as they must be: %v, %q, %v", faults, unseen, err)
	}

	topics.Prefix += "bad."
	c := &kafkago.Client{Addr: kafkago.TCP(broker), Transport: new(kafkago.Transport)}
	config := func(pairs ...string) (entries []kafkago.ConfigEntry) {
		for i := 0; i < len(pairs); i += 2 {
			entries = append(entries, kafkago.ConfigEntry{ConfigName: pairs[i], ConfigValue: pairs[i+1]})
		}
		return entries
	}
	large := strconv.Itoa(kafka.MaxMessageBytes)
	response, err := c.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: topics.Prefix + schemas.TopicRegistry, NumPartitions: 4, ReplicationFactor: 1,
			ConfigEntries: config("cleanup.policy", "compact", "retention.ms", "1000", "retention.bytes", "1000000", "max.message.bytes", large)},
		{Topic: topics.Prefix + schemas.TopicAgent, NumPartitions: 1, ReplicationFactor: 1,
			ConfigEntries: config("cleanup.policy", "compact,delete", "retention.ms", "-1", "max.message.bytes", large)},
		{Topic: topics.Prefix + schemas.TopicIVR, NumPartitions: 1, ReplicationFactor: 1,
			ConfigEntries: config("retention.ms", "7775999999", "max.message.bytes", large)},
		{Topic: topics.Prefix + schemas.TopicConnect, NumPartitions: 1, ReplicationFactor: 1,
			ConfigEntries: config("retention.ms", "7776000000", "max.message.bytes", "1048588", "retention.bytes", "-1")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for topic, err := range response.Errors {
		if err != nil {
			t.Fatal(topic, err)
		}
	}
	if err := client.CreateTopics(t.Context(), topics); err != nil {
		t.Fatal(err)
	}
	faults, unseen, err := client.CheckTopics(t.Context(), topics)
	if err != nil || len(unseen) > 0 {
		t.Fatal(unseen, err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, strings.TrimPrefix(f.Topic, topics.Prefix)+" "+f.Config+" "+f.Value+", needed "+f.Needed)
		if strings.Contains(f.Fix, "kafka-configs.sh --bootstrap-server "+broker) == (f.Config == "partitions") {
			t.Errorf("%s: %s", f.Config, f.Fix)
		}
	}
	want := []string{
		"registry.commands.v1 partitions 4, needed 1",
		"registry.commands.v1 cleanup.policy compact, needed delete",
		"registry.commands.v1 retention.ms 1000, needed -1",
		"registry.commands.v1 retention.bytes 1000000, needed -1",
		"usage.agent.v1 cleanup.policy compact,delete, needed delete",
		"usage.connect.v1 max.message.bytes 1048588, needed at least 16777216",
		"usage.ivr.v1 retention.ms 7775999999, needed at least 7776000000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the faults are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A broker that does not let a user see how topics are configured is no fault of the topics.
func TestCheckTopicsUnseen(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, topics := kafkatest.Connect(t, kafka.Brokers{Addrs: cluster.ListenAddrs()}), kafkatest.Topics("", 1)
	if err := client.CreateTopics(t.Context(), topics); err != nil {
		t.Fatal(err)
	}
	cluster.ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		response := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, of := range r.(*kmsg.DescribeConfigsRequest).Resources {
			resource := kmsg.NewDescribeConfigsResponseResource()
			resource.ResourceName, resource.ResourceType = of.ResourceName, of.ResourceType
			resource.ErrorCode = int16(kafkago.TopicAuthorizationFailed)
			response.Resources = append(response.Resources, resource)
		}
		return response, nil, true
	})
	faults, unseen, err := client.CheckTopics(t.Context(), topics)
	if err != nil || len(faults) > 0 || len(unseen) != 5 || !strings.Contains(unseen[0], "Topic Authorization Failed") {
		t.Errorf("the faults are %v, unseen is %q, %v", faults, unseen, err)
	}
}

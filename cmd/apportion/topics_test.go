package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// changeTopic is the script command
//
//	topic create NAME PARTITIONS [CONFIG=VALUE]...
//	topic delete NAME
//	topic cut NAME PARTITION OFFSET    deletes the records before an offset, as retention does
func changeTopic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: topic create|delete|cut NAME ...")
	}
	ctx, brokers, name := context.Background(), scriptConfig(ts).Kafka.Brokers, args[1]
	number := func(arg int) int {
		if len(args) <= arg {
			ts.Fatalf("topic %s: too few arguments", args[0])
		}
		n, err := strconv.Atoi(args[arg])
		ts.Check(err)
		return n
	}
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(brokers...), Transport: transport}
	switch args[0] {
	case "create":
		config := kafka.TopicConfig{Topic: name, NumPartitions: number(2), ReplicationFactor: 1}
		for _, pair := range args[3:] {
			key, value, _ := strings.Cut(pair, "=")
			config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
		}
		response, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		ts.Check(err)
		ts.Check(response.Errors[name])
	case "delete":
		response, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{name}})
		ts.Check(err)
		ts.Check(response.Errors[name])
	case "cut":
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
		ts.Check(err)
		defer client.Close()
		request := kmsg.NewPtrDeleteRecordsRequest()
		request.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: name,
			Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: int32(number(2)), Offset: int64(number(3))}}}}
		response, err := request.RequestWith(ctx, client)
		ts.Check(err)
		if code := response.Topics[0].Partitions[0].ErrorCode; code != 0 {
			ts.Check(kafka.Error(code))
		}
	default:
		ts.Fatalf("topic %s: no such thing", args[0])
	}
}

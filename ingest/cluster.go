package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// place is a topic partition; the topic's prefix is included.
type place struct {
	topic     string
	partition int
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.partition) }

// bounds are the offsets that a partition has: [first, end). Records of
// transactions still open lie beyond the end.
type bounds struct{ first, end int64 }

// cluster is a Kafka cluster, on connections of its own.
type cluster struct {
	Brokers
	addr      net.Addr
	transport *kafka.Transport
	client    *kafka.Client
}

func newCluster(brokers Brokers) *cluster {
	transport, addr := brokers.transport(), kafka.TCP(brokers.Addrs...)
	return &cluster{
		Brokers:   brokers,
		addr:      addr,
		transport: transport,
		client:    &kafka.Client{Addr: addr, Transport: transport, Timeout: 15 * time.Second},
	}
}

func (c *cluster) close() { c.transport.CloseIdleConnections() }

// partitions lists those of the topics. A topic that does not exist is an
// error that waiting cannot mend.
func (c *cluster) partitions(ctx context.Context, topics ...string) ([]place, error) {
	metadata, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, err
	}
	var places []place
	for _, t := range metadata.Topics {
		if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
			return nil, permanentError{fmt.Errorf("%s has no topic %s: run `apportion migrate` to create it", c, t.Name)}
		}
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			places = append(places, place{t.Name, p.ID})
		}
	}
	return places, nil
}

// bounds returns the offsets that each partition has now.
func (c *cluster) bounds(ctx context.Context, places []place) (map[place]bounds, error) {
	request := make(map[string][]kafka.OffsetRequest)
	for _, p := range places {
		request[p.topic] = append(request[p.topic], kafka.FirstOffsetOf(p.partition), kafka.LastOffsetOf(p.partition))
	}
	response, err := c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics:         request,
		IsolationLevel: kafka.ReadCommitted,
	})
	if err != nil {
		return nil, err
	}
	all := make(map[place]bounds, len(places))
	for topic, partitions := range response.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("offsets of %s/%d: %w", topic, p.Partition, p.Error)
			}
			all[place{topic, p.Partition}] = bounds{p.FirstOffset, p.LastOffset}
		}
	}
	if len(all) < len(places) {
		return nil, fmt.Errorf("%s told the offsets of %d partitions out of %d", c, len(all), len(places))
	}
	return all, nil
}

// fetch asks for the records of a partition from an offset on. It waits for the
// first one, at most for the given time. What is read is bounded by maxBytes or,
// if that is greater, by the first batch: brokers give that one whole.
func (c *cluster) fetch(ctx context.Context, p place, from int64, maxBytes int, wait time.Duration) (*records, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+c.client.Timeout)
	defer cancel()
	message, err := c.transport.RoundTrip(ctx, c.addr, &fetch.Request{
		ReplicaID:   -1,
		MaxWaitTime: int32(wait.Milliseconds()),
		MinBytes:    1,
		// One partition is asked for, and bounded below. A broker that stops at this
		// bound instead may forget to say which transactions were aborted.
		MaxBytes:       math.MaxInt32,
		IsolationLevel: int8(kafka.ReadCommitted),
		SessionID:      -1,
		SessionEpoch:   -1,
		Topics: []fetch.RequestTopic{{
			Topic: p.topic,
			Partitions: []fetch.RequestPartition{{
				Partition:          int32(p.partition),
				CurrentLeaderEpoch: -1,
				FetchOffset:        from,
				LogStartOffset:     -1,
				PartitionMaxBytes:  int32(min(maxBytes, math.MaxInt32)),
			}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", p, err)
	}
	response := message.(*fetchResponse)
	if response.ErrorCode != 0 {
		return nil, fmt.Errorf("fetching %s: %w", p, kafka.Error(response.ErrorCode))
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("fetching %s: the broker answered for %d topics", p, len(response.Topics))
	}
	partition := &response.Topics[0].Partitions[0]
	if partition.ErrorCode != 0 {
		return nil, fmt.Errorf("fetching %s from %d: %w", p, from, kafka.Error(partition.ErrorCode))
	}
	r := &records{
		place: p, from: from, next: from, end: partition.LastStableOffset,
		aborted: abortedTransactions{pending: partition.AbortedTransactions},
		fetched: partition.Batches.data,
	}
	if r.fetched != nil {
		r.batches = *r.fetched
	}
	return r, nil
}

// visit fetches once and hands each record to a function, in order; a record is
// valid during its visit only. An error of the function ends it and is returned
// as it is. next is the offset to fetch from next.
func (c *cluster) visit(ctx context.Context, p place, from int64, maxBytes int, wait time.Duration,
	record func(*record) error) (next int64, err error) {
	records, err := c.fetch(ctx, p, from, maxBytes, wait)
	if err != nil {
		return from, err
	}
	defer records.close()
	for {
		r, err := records.read()
		if r == nil || err != nil {
			return records.next, err
		}
		if err := record(r); err != nil {
			return records.next, err
		}
	}
}

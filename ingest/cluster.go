package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
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

// fetched is what became of a fetch.
type fetched struct {
	next int64 // the offset to fetch from next
	end  int64 // of the partition, as the broker had it
}

// fetch reads records from an offset on and hands each to visit, in order. It
// waits for the first one, at most for the given time. Records of aborted
// transactions and those markers that end one are passed over.
//
// A record is valid during its visit only. An error of visit ends the fetch and
// is returned as it is. What is read is bounded by maxBytes or, if that is
// greater, by the first batch: brokers give that one whole.
func (c *cluster) fetch(ctx context.Context, p place, from int64, maxBytes int, wait time.Duration,
	visit func(*protocol.Record) error) (fetched, error) {
	none := fetched{next: from}
	timed, cancel := context.WithTimeout(ctx, wait+c.client.Timeout)
	defer cancel()
	// Client.Fetch would do, but for hiding which transactions were aborted.
	message, err := c.transport.RoundTrip(timed, c.addr, &fetch.Request{
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
		return none, fmt.Errorf("fetching %s: %w", p, err)
	}
	response := message.(*fetch.Response)
	if response.ErrorCode != 0 {
		return none, fmt.Errorf("fetching %s: %w", p, kafka.Error(response.ErrorCode))
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return none, fmt.Errorf("fetching %s: the broker answered for %d topics", p, len(response.Topics))
	}
	partition := &response.Topics[0].Partitions[0]
	if partition.ErrorCode != 0 {
		return none, fmt.Errorf("fetching %s from %d: %w", p, from, kafka.Error(partition.ErrorCode))
	}
	got := fetched{next: from, end: partition.LastStableOffset}
	stream, ok := partition.RecordSet.Records.(*protocol.RecordStream)
	if !ok {
		return got, nil
	}
	aborted := abortedTransactions{pending: partition.AbortedTransactions}
	for _, batch := range stream.Records {
		skip := aborted.skips(batch)
		for {
			record, err := batch.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return got, fmt.Errorf("reading %s: %w", p, err)
			}
			// A batch is given whole, also when the offset lies within it.
			if record.Offset >= from && !skip {
				err = visit(record)
			}
			got.next = max(got.next, record.Offset+1)
			release(record)
			if err != nil {
				return got, err
			}
		}
	}
	if got.next == from && len(stream.Records) > 0 {
		// The batch that should have this offset no longer does.
		got.next++
	}
	return got, nil
}

// release returns the memory of a record to the pool that it came from.
func release(r *protocol.Record) {
	if r.Key != nil {
		r.Key.Close()
	}
	if r.Value != nil {
		r.Value.Close()
	}
}

// abortedTransactions tells which batches of a fetch were never committed.
type abortedTransactions struct {
	pending []fetch.ResponseTransaction
	open    map[int64]bool // by producer, those whose end has not been read yet
}

func (a *abortedTransactions) skips(batch protocol.RecordReader) bool {
	switch b := batch.(type) {
	case *protocol.ControlBatch:
		a.openUpTo(b.BaseOffset)
		delete(a.open, b.ProducerID)
		return true
	case *protocol.RecordBatch:
		a.openUpTo(b.BaseOffset)
		return b.Attributes.Transactional() && a.open[b.ProducerID]
	}
	return false
}

// openUpTo opens the aborted transactions that begin at or before the offset.
func (a *abortedTransactions) openUpTo(offset int64) {
	a.pending = slices.DeleteFunc(a.pending, func(t fetch.ResponseTransaction) bool {
		if t.FirstOffset > offset {
			return false
		}
		if a.open == nil {
			a.open = make(map[int64]bool)
		}
		a.open[t.ProducerID] = true
		return true
	})
}

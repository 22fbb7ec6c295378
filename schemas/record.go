package schemas

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// RecordID identifies a record on Kafka.
type RecordID struct {
	Topic     string `json:"topic"` // prefix included
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// String returns the id as TOPIC/PARTITION/OFFSET.
func (r RecordID) String() string { return fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) }

// ParseRecordID reads what String returns.
func ParseRecordID(s string) (RecordID, error) {
	parts := strings.Split(s, "/")
	if len(parts) == 3 && parts[0] != "" {
		partition, err1 := strconv.ParseUint(parts[1], 10, 31)
		offset, err2 := strconv.ParseUint(parts[2], 10, 63)
		if err1 == nil && err2 == nil {
			return RecordID{parts[0], int32(partition), int64(offset)}, nil
		}
	}
	return RecordID{}, fmt.Errorf("%q is not a record on Kafka; write it as TOPIC/PARTITION/OFFSET, such as %s/0/17",
		s, TopicAgent)
}

// Compare orders records by topic, partition and offset.
func (r RecordID) Compare(s RecordID) int {
	return cmp.Or(cmp.Compare(r.Topic, s.Topic), cmp.Compare(r.Partition, s.Partition), cmp.Compare(r.Offset, s.Offset))
}

// TopicPartition identifies a partition of a topic on Kafka.
type TopicPartition struct {
	Topic     string // prefix included
	Partition int
}

// String returns it as TOPIC/PARTITION.
func (p TopicPartition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Compare orders partitions by topic and number.
func (p TopicPartition) Compare(q TopicPartition) int {
	return cmp.Or(cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.Partition, q.Partition))
}

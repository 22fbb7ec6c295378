package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"apportion/schemas"
	"apportion/schemas/retry"
)

// encoded is a batch as the library writes it.
func encoded(t testing.TB, compression kafkago.Compression, messages ...Message) []byte {
	t.Helper()
	records := make([]protocol.Record, len(messages))
	for i, m := range messages {
		var headers []protocol.Header
		for _, h := range m.Headers {
			headers = append(headers, protocol.Header(h))
		}
		records[i] = protocol.Record{Key: protocol.NewBytes(m.Key), Value: protocol.NewBytes(m.Value), Headers: headers}
	}
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(compression), Records: protocol.NewRecordReader(records...)}
	var b bytes.Buffer
	if _, err := set.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[4:] // after the size
}

// FuzzRecords has batches damaged behind their checksum: reading ends, with
// records within what was read or an error.
func FuzzRecords(f *testing.F) {
	batch := encoded(f, 0, Message{Key: []byte("k"), Value: []byte("v"), Headers: []schemas.Header{{Key: "a", Value: []byte("b")}}}, Message{}, Message{Value: []byte{}})
	f.Add(batch)
	f.Add(encoded(f, 0, slices.Repeat([]Message{{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 200)}}, 20)...))
	f.Add(append(bytes.Clone(batch), batch[:70]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= batchHeaderSize {
			data = bytes.Clone(data)
			data[22] &^= compressionBits // the library's decompressors are not what is tested
			if size := 12 + int(int32(binary.BigEndian.Uint32(data[8:]))); size >= batchHeaderSize && size <= len(data) {
				binary.BigEndian.PutUint32(data[17:], crc32.Checksum(data[21:size], castagnoli))
			}
		}
		r := Records{batches: data}
		defer r.Close()
		for {
			got, err := r.Read()
			if got == nil || err != nil {
				return
			}
			if len(got.Key)+len(got.Value) > 1<<30 {
				t.Fatal("more than was read")
			}
		}
	})
}

// TestRecords reads what the library wrote, from the middle on.
func TestRecords(t *testing.T) {
	for _, compression := range []kafkago.Compression{0, kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd} {
		data := encoded(t, compression, Message{Key: []byte("a")}, Message{Key: []byte("b"), Value: []byte{}, Headers: []schemas.Header{{Key: "x", Value: []byte("y")}}}, Message{Value: []byte("c")})
		r := Records{batches: append(data, data[:30]...), from: 1, Next: 1}
		b, err := r.Read()
		if err != nil || b == nil || b.Offset != 1 || string(b.Key) != "b" || b.Value == nil || len(b.Value) != 0 ||
			len(b.Headers) != 1 || b.Headers[0].Key != "x" || string(b.Headers[0].Value) != "y" {
			t.Fatalf("%v: %+v %v", compression, b, err)
		}
		c, err := r.Read()
		if err != nil || c == nil || c.Offset != 2 || c.Key != nil || string(c.Value) != "c" || len(c.Headers) != 0 {
			t.Fatalf("%v: %+v %v", compression, c, err)
		}
		if end, err := r.Read(); end != nil || err != nil || r.Next != 3 {
			t.Errorf("%v: after the last %+v %v, and %d is next", compression, end, err, r.Next)
		}
		r.Close()
		data[len(data)-1]++
		broken := Records{batches: data}
		if got, err := broken.Read(); err == nil {
			t.Errorf("%v: a damaged batch gave %+v", compression, got)
		}
	}
}

// A batch that inflates without end is refused before it fills the memory.
func TestBatchThatInflatesTooFar(t *testing.T) {
	var packed bytes.Buffer
	to := compress.Gzip.Codec().NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range maxInflated/len(zeros) + 1 {
		if _, err := to.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	r := Records{partition: TopicPartition{Topic: "usage.agent.v1", Partition: 3}, left: packed.Bytes()}
	defer r.Close()
	err := r.inflate(compress.Gzip)
	if !retry.IsPermanent(err) || !strings.Contains(err.Error(), "usage.agent.v1/3 inflates to more than 134217728 bytes") {
		t.Errorf("%v; want it refused", err)
	}
}

package ingest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
)

// encoded is a batch as the library writes it.
func encoded(t testing.TB, compression kafka.Compression, messages ...message) []byte {
	t.Helper()
	records := make([]protocol.Record, len(messages))
	for i, m := range messages {
		records[i] = protocol.Record{Key: protocol.NewBytes(m.key), Value: protocol.NewBytes(m.value), Headers: m.headers}
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
	batch := encoded(f, 0, message{key: []byte("k"), value: []byte("v"), headers: header("a", "b")}, message{}, message{value: []byte{}})
	f.Add(batch)
	f.Add(encoded(f, 0, messagesOf(sessions(20)...)...))
	f.Add(append(bytes.Clone(batch), batch[:70]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= batchHeaderSize {
			data = bytes.Clone(data)
			data[22] &^= compressionBits // the library's decompressors are not what is tested
			if size := 12 + int(int32(binary.BigEndian.Uint32(data[8:]))); size >= batchHeaderSize && size <= len(data) {
				binary.BigEndian.PutUint32(data[17:], crc32.Checksum(data[21:size], castagnoli))
			}
		}
		r := records{batches: data}
		defer r.close()
		for {
			got, err := r.read()
			if got == nil || err != nil {
				return
			}
			if len(got.key)+len(got.value) > 1<<30 {
				t.Fatal("more than was read")
			}
		}
	})
}

// TestRecords reads what the library wrote, from the middle on.
func TestRecords(t *testing.T) {
	for _, compression := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		data := encoded(t, compression, message{key: []byte("a")}, message{key: []byte("b"), value: []byte{}, headers: header("x", "y")}, message{value: []byte("c")})
		r := records{batches: append(data, data[:30]...), from: 1, next: 1}
		b, err := r.read()
		if err != nil || b == nil || b.offset != 1 || string(b.key) != "b" || b.value == nil || len(b.value) != 0 ||
			len(b.headers) != 1 || b.headers[0].Key != "x" || string(b.headers[0].Value) != "y" {
			t.Fatalf("%v: %+v %v", compression, b, err)
		}
		c, err := r.read()
		if err != nil || c == nil || c.offset != 2 || c.key != nil || string(c.value) != "c" || len(c.headers) != 0 {
			t.Fatalf("%v: %+v %v", compression, c, err)
		}
		if end, err := r.read(); end != nil || err != nil || r.next != 3 {
			t.Errorf("%v: after the last %+v %v, and %d is next", compression, end, err, r.next)
		}
		r.close()
		data[len(data)-1]++
		broken := records{batches: data}
		if got, err := broken.read(); err == nil {
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
	r := records{place: place{"usage.agent.v1", 3}, left: packed.Bytes()}
	defer r.close()
	err := r.inflate(compress.Gzip)
	if !isPermanent(err) || !strings.Contains(err.Error(), "usage.agent.v1/3 inflates to more than 134217728 bytes") {
		t.Errorf("%v; want it refused", err)
	}
}

package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"unsafe"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"apportion/schemas"
	"apportion/schemas/retry"
)

// Record is one record of a partition.
type Record struct {
	Offset, TimeMS int64
	Key, Value     []byte // nil where null
	Headers        []schemas.Header
}

// fetchResponse is a [fetch.Response] that keeps the record batches as the
// broker sent them. Reading records one by one from memory costs a small part
// of what the library's own reader takes, which is more than to decode them.
type fetchResponse struct {
	ThrottleTimeMs int32                `kafka:"min=v1,max=v11"`
	ErrorCode      int16                `kafka:"min=v7,max=v11"`
	SessionID      int32                `kafka:"min=v7,max=v11"`
	Topics         []fetchResponseTopic `kafka:"min=v0,max=v11"`
}

type fetchResponseTopic struct {
	Topic      string                   `kafka:"min=v0,max=v11"`
	Partitions []fetchResponsePartition `kafka:"min=v0,max=v11"`
}

type fetchResponsePartition struct {
	Partition            int32                       `kafka:"min=v0,max=v11"`
	ErrorCode            int16                       `kafka:"min=v0,max=v11"`
	HighWatermark        int64                       `kafka:"min=v0,max=v11"`
	LastStableOffset     int64                       `kafka:"min=v4,max=v11"`
	LogStartOffset       int64                       `kafka:"min=v5,max=v11"`
	AbortedTransactions  []fetch.ResponseTransaction `kafka:"min=v4,max=v11"`
	PreferredReadReplica int32                       `kafka:"min=v11,max=v11"`
	Batches              rawBatches                  `kafka:"min=v0,max=v11"`
}

// ApiKey makes a fetchResponse a protocol.Message.
func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// The library finds the type of an answer in a table that the whole process has, by the kind of request alone, and
// reads it unlocked. So every fetch of this program is answered by a fetchResponse, and the table is changed before
// anything can send a request.
func init() { protocol.Register(&fetch.Request{}, &fetchResponse{}) }

// rawBatches are record batches as they came, in memory from buffers.
type rawBatches struct{ data *[]byte }

// buffers has memory for fetched and for decompressed batches.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// ReadFrom reads the batches after their size.
func (b *rawBatches) ReadFrom(r io.Reader) (int64, error) {
	var prefix [4]byte
	if n, err := io.ReadFull(r, prefix[:]); err != nil {
		return int64(n), err
	}
	size := max(0, int(int32(binary.BigEndian.Uint32(prefix[:]))))
	b.data = buffers.Get().(*[]byte)
	*b.data = slices.Grow((*b.data)[:0], size)[:size]
	n, err := io.ReadFull(r, *b.data)
	return int64(len(prefix) + n), err
}

// WriteTo is there because messages can be written, too.
func (b *rawBatches) WriteTo(io.Writer) (int64, error) { return 0, errors.ErrUnsupported }

// Records reads what was fetched, one record after the other. Close it after use.
type Records struct {
	// Next is the offset to fetch from next; it grows with each record.
	Next int64
	// End is that of the partition, as the broker had it.
	End int64

	partition         TopicPartition
	from              int64
	aborted           abortedTransactions
	fetched, inflated *[]byte // from buffers, or nil
	batches           []byte  // those not begun yet
	batch             batchHeader
	left              []byte // of the batch that was begun
	record            Record
}

// Close gives the memory of the records back.
func (r *Records) Close() {
	for _, b := range []*[]byte{r.fetched, r.inflated} {
		if b != nil {
			buffers.Put(b)
		}
	}
	r.fetched, r.inflated = nil, nil
}

// Read returns the next record, or nil after the last. A record is valid until
// the next call. Records of aborted transactions and those markers that end one
// are passed over.
func (r *Records) Read() (*Record, error) {
	for {
		for len(r.left) == 0 {
			if r.batch.size > 0 {
				// Also past records that compaction took from the end of the batch.
				r.Next = max(r.Next, r.batch.offset+int64(r.batch.lastDelta)+1)
				r.batch.size = 0
			}
			more, err := r.begin()
			if !more || err != nil {
				return nil, err
			}
		}
		if err := r.parse(); err != nil {
			return nil, fmt.Errorf("reading %s: %w", r.partition, err)
		}
		// A batch is given whole, also when the offset asked for lies within it.
		if r.record.Offset >= r.from {
			r.Next = r.record.Offset + 1
			return &r.record, nil
		}
	}
}

// batchHeader is what comes before the records of a batch.
type batchHeader struct {
	size       int // of it all
	offset     int64
	attributes int16
	lastDelta  int32
	firstMS    int64
	lastMS     int64
	producer   int64
}

const (
	batchHeaderSize = 61

	// Bits of a batch's attributes; the compression is in the lowest three.
	compressionBits = 7
	appendTime      = 1 << 3 // all records have the time at which the broker got them
	transactional   = 1 << 4
	controlBatch    = 1 << 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCutOff = errors.New("a record is cut off")

// begin goes to the next batch that has records to read. more is false after
// the last; brokers may cut that one off.
func (r *Records) begin() (more bool, err error) {
	data := r.batches
	if len(data) < batchHeaderSize {
		return false, nil
	}
	size := 12 + int(int32(binary.BigEndian.Uint32(data[8:])))
	if size > len(data) {
		return false, nil
	}
	if magic := data[16]; magic != 2 || size < batchHeaderSize {
		return false, retry.Permanent(fmt.Errorf("%s has records in a format from before Kafka 0.11: "+
			"have the topic written again", r.partition))
	}
	data, r.batches = data[:size], data[size:]
	if crc32.Checksum(data[21:], castagnoli) != binary.BigEndian.Uint32(data[17:]) {
		return false, fmt.Errorf("reading %s: the checksum of a batch is wrong", r.partition)
	}
	r.batch = batchHeader{
		size:       size,
		offset:     int64(binary.BigEndian.Uint64(data)),
		attributes: int16(binary.BigEndian.Uint16(data[21:])),
		lastDelta:  int32(binary.BigEndian.Uint32(data[23:])),
		firstMS:    int64(binary.BigEndian.Uint64(data[27:])),
		lastMS:     int64(binary.BigEndian.Uint64(data[35:])),
		producer:   int64(binary.BigEndian.Uint64(data[43:])),
	}
	if r.aborted.skips(&r.batch) {
		r.left = nil
		return true, nil
	}
	r.left = data[batchHeaderSize:]
	if c := compress.Compression(r.batch.attributes & compressionBits); c != compress.None {
		if err := r.inflate(c); err != nil {
			return false, fmt.Errorf("reading %s: %w", r.partition, err)
		}
	}
	return true, nil
}

// maxInflated is how large a batch may become. Producers bound theirs to a few
// megabytes before they compress them, and the memory of ingest is bounded.
const maxInflated = 128 << 20

// inflate decompresses the batch that was begun.
func (r *Records) inflate(c compress.Compression) error {
	codec := c.Codec()
	if codec == nil {
		return fmt.Errorf("compression %d is unknown", c)
	}
	if r.inflated == nil {
		r.inflated = buffers.Get().(*[]byte)
	}
	from := codec.NewReader(bytes.NewReader(r.left))
	defer from.Close()
	buf := slices.Grow((*r.inflated)[:0], 4*len(r.left))
	for empty := 0; ; {
		// Decompressors write straight to where there is room for a whole block.
		buf = slices.Grow(buf, 64<<10)
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > maxInflated:
			return retry.Permanent(fmt.Errorf("the batch at offset %d of %s inflates to more than %d bytes: "+
				"have its producer send smaller ones, and delete the records up to offset %d from the partition",
				r.batch.offset, r.partition, maxInflated, r.batch.offset+int64(r.batch.lastDelta)))
		case err == nil && n == 0:
			if empty++; empty == 100 {
				return fmt.Errorf("reading %s: %w", r.partition, io.ErrNoProgress)
			}
			continue
		case err == nil:
			empty = 0
			continue
		}
		*r.inflated, r.left = buf, buf
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
}

// parse reads the record at the beginning of what is left of the batch.
func (r *Records) parse() error {
	size, left, ok := varint(r.left)
	if !ok || size < 1 || size > int64(len(left)) {
		return errCutOff
	}
	body := fields{left: left[1:size]} // after its attributes, which say nothing
	r.left = left[size:]
	ms := r.batch.firstMS + body.number()
	if r.batch.attributes&appendTime != 0 {
		ms = r.batch.lastMS
	}
	r.record = Record{
		TimeMS:  max(0, ms),
		Offset:  r.batch.offset + body.number(),
		Key:     body.field(),
		Value:   body.field(),
		Headers: r.record.Headers[:0],
	}
	for range body.number() {
		if body.broken {
			break
		}
		name := body.field()
		r.record.Headers = append(r.record.Headers, schemas.Header{
			Key: unsafe.String(unsafe.SliceData(name), len(name)), Value: body.field(),
		})
	}
	if body.broken {
		return errCutOff
	}
	return nil
}

// fields reads the parts of a record. What is missing is 0 or nil, and noted.
type fields struct {
	left   []byte
	broken bool
}

func (f *fields) number() int64 {
	n, left, ok := varint(f.left)
	f.broken = f.broken || !ok
	f.left = left
	return n
}

// field returns nil where it is null.
func (f *fields) field() []byte {
	n := f.number()
	if n < 0 {
		return nil
	}
	if n > int64(len(f.left)) {
		f.broken = true
		return nil
	}
	value := f.left[:n:n]
	f.left = f.left[n:]
	return value
}

// varint reads a number in zigzag form.
func varint(data []byte) (n int64, left []byte, ok bool) {
	if len(data) > 0 && data[0] < 0x80 { // most are this short
		return int64(data[0]>>1) ^ -int64(data[0]&1), data[1:], true
	}
	n, size := binary.Varint(data)
	if size <= 0 {
		return 0, nil, false
	}
	return n, data[size:], true
}

// abortedTransactions tells which batches of a fetch were never committed.
type abortedTransactions struct {
	pending []fetch.ResponseTransaction
	open    map[int64]bool // by producer, those whose end has not been read yet
}

func (a *abortedTransactions) skips(b *batchHeader) bool {
	if b.attributes&(transactional|controlBatch) == 0 {
		return false
	}
	a.openUpTo(b.offset)
	if b.attributes&controlBatch != 0 {
		delete(a.open, b.producer)
		return true
	}
	return a.open[b.producer]
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

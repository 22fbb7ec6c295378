package ingest

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/shopspring/decimal"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

// rows are decoded deliveries of one partition as columns of usage_events. They
// share no memory with what they were decoded from, and keep theirs when they
// are reset.
type rows struct {
	tenant, source, id             text
	agent, entryPoint, channel     text
	subscription                   text
	typs, class                    []int8
	revision                       []int32
	voided                         []bool
	timeMS, occurredMS, start, end []int64
	quantity                       []int64 // millionths
	offset, arrived                []int64
}

// chunkRows is how many rows there are at most in one piece.
const chunkRows = 4096

// text is a column of strings, one after the other.
type text struct {
	data []byte
	ends []uint32
}

func (t *text) append(s string) {
	t.data = append(t.data, s...)
	t.ends = append(t.ends, uint32(len(t.data)))
}

func (t *text) reset() { t.data, t.ends = t.data[:0], t.ends[:0] }

// strings returns the column in scratch, as views of it.
func (t *text) strings(scratch *[chunkRows]string) []string {
	from := uint32(0)
	for i, end := range t.ends {
		scratch[i] = unsafe.String(unsafe.SliceData(t.data[from:]), end-from)
		from = end
	}
	return scratch[:len(t.ends)]
}

func (r *rows) texts() [7]*text {
	return [...]*text{&r.tenant, &r.source, &r.id, &r.agent, &r.entryPoint, &r.channel, &r.subscription}
}

func (r *rows) numbers() [7]*[]int64 {
	return [...]*[]int64{&r.timeMS, &r.occurredMS, &r.start, &r.end, &r.quantity, &r.offset, &r.arrived}
}

func (r *rows) len() int { return len(r.offset) }

var classes = map[string]int8{"": 0, "standard": 1, "premium": 2}

// append adds an event that came with a record.
func (r *rows) append(e *schemas.Event, from *kafka.Record) {
	r.tenant.append(e.Tenant)
	r.typs = append(r.typs, int8(e.Type))
	r.source.append(e.Source)
	r.id.append(e.ID)
	r.revision = append(r.revision, e.Revision)
	r.voided = append(r.voided, e.Voided)
	r.timeMS = append(r.timeMS, e.TimeMS)
	r.occurredMS = append(r.occurredMS, e.OccurredMS())
	r.start = append(r.start, e.StartMS)
	r.end = append(r.end, e.EndMS)
	r.agent.append(e.Agent)
	r.entryPoint.append(e.EntryPoint)
	r.channel.append(e.Channel)
	r.quantity = append(r.quantity, e.Quantity)
	r.subscription.append(e.Subscription)
	r.class = append(r.class, classes[e.Class])
	r.offset = append(r.offset, from.Offset)
	r.arrived = append(r.arrived, from.TimeMS)
}

func (r *rows) reset() {
	for _, t := range r.texts() {
		t.reset()
	}
	for _, column := range r.numbers() {
		*column = (*column)[:0]
	}
	r.typs, r.class = r.typs[:0], r.class[:0]
	r.revision, r.voided = r.revision[:0], r.voided[:0]
}

// refused is a delivery that was rejected, whole, and why.
type refused struct {
	kafka.TopicPartition
	offset, arrived int64
	key, value      []byte
	headers         []schemas.Header
	why             *schemas.Rejection
}

// partitionBuffer is what a batch has of one partition: the offsets [first, next), those
// without a record included.
type partitionBuffer struct {
	kafka.TopicPartition
	first, next int64
	runOffset   int64 // where the consumer began that has read all from there on
	end         int64 // of the partition, as last seen
	chunks      []*rows
	accepted    int
	rejected    []refused
	size        int // about how many bytes it all takes
}

func (p *partitionBuffer) read() int { return p.accepted + len(p.rejected) }

// codes counts the refused deliveries by why.
func (p *partitionBuffer) codes() map[schemas.Code]int {
	if len(p.rejected) == 0 {
		return nil
	}
	codes := make(map[schemas.Code]int)
	for _, r := range p.rejected {
		codes[r.why.Code]++
	}
	return codes
}

// accept adds an event that came with a record.
func (p *partitionBuffer) accept(e *schemas.Event, r *kafka.Record) {
	if n := len(p.chunks); n == 0 || p.chunks[n-1].len() == chunkRows {
		p.chunks = append(p.chunks, newRows())
	}
	p.chunks[len(p.chunks)-1].append(e, r)
	p.accepted++
	p.size += rowBytes + len(e.Tenant) + len(e.Source) + len(e.ID) +
		len(e.Agent) + len(e.EntryPoint) + len(e.Channel) + len(e.Subscription)
}

// rowBytes is about what a row takes beside its texts.
const rowBytes = 100

// reject adds a refused record.
func (p *partitionBuffer) reject(why *schemas.Rejection, r *kafka.Record) {
	p.rejected = append(p.rejected, refused{
		p.TopicPartition, r.Offset, r.TimeMS, bytes.Clone(r.Key), bytes.Clone(r.Value), cloneHeaders(r.Headers), why,
	})
	p.size += rowBytes + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		p.size += rowBytes + len(h.Key) + len(h.Value)
	}
}

// cloneHeaders copies headers out of the memory of their record.
func cloneHeaders(headers []schemas.Header) []schemas.Header {
	copied := make([]schemas.Header, len(headers))
	for i, h := range headers {
		copied[i] = schemas.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	return copied
}

// scratch is memory for columns while they are handed to the driver, which
// copies them.
type scratch struct {
	strings    [chunkRows]string
	partitions [chunkRows]int32
}

// eventColumn is a column of usage_events.
type eventColumn struct {
	name   string
	values func(*rows, kafka.TopicPartition, *scratch) any
	// blank reports whether all values are what the table has by default. nil
	// is for those that never are.
	blank func(*rows) bool
}

// eventColumns are all columns of usage_events. An event has few of those that
// can be blank, and what is not sent costs the server little more than nothing.
var eventColumns = []eventColumn{
	textColumn("tenant", func(r *rows) *text { return &r.tenant }),
	textColumn("source", func(r *rows) *text { return &r.source }),
	textColumn("id", func(r *rows) *text { return &r.id }),
	textColumn("agent", func(r *rows) *text { return &r.agent }),
	textColumn("entry_point", func(r *rows) *text { return &r.entryPoint }),
	textColumn("channel", func(r *rows) *text { return &r.channel }),
	textColumn("subscription", func(r *rows) *text { return &r.subscription }),
	numberColumn("class", func(r *rows) []int8 { return r.class }),
	numberColumn("revision", func(r *rows) []int32 { return r.revision }),
	numberColumn("type", func(r *rows) []int8 { return r.typs }),
	numberColumn("time_ms", func(r *rows) []int64 { return r.timeMS }),
	numberColumn("occurred_ms", func(r *rows) []int64 { return r.occurredMS }),
	numberColumn("start_ms", func(r *rows) []int64 { return r.start }),
	numberColumn("end_ms", func(r *rows) []int64 { return r.end }),
	numberColumn("offset", func(r *rows) []int64 { return r.offset }),
	numberColumn("arrived_ms", func(r *rows) []int64 { return r.arrived }),
	{"voided", func(r *rows, _ kafka.TopicPartition, _ *scratch) any { return r.voided },
		func(r *rows) bool { return !slices.Contains(r.voided, true) }},
	{"quantity", func(r *rows, _ kafka.TopicPartition, _ *scratch) any { return r.decimals() },
		func(r *rows) bool { return isZero(r.quantity) }},
	{"topic", func(r *rows, at kafka.TopicPartition, s *scratch) any { return fill(s.strings[:r.len()], at.Topic) }, nil},
	{"partition", func(r *rows, at kafka.TopicPartition, s *scratch) any {
		return fill(s.partitions[:r.len()], int32(at.Partition))
	}, nil},
}

func textColumn(name string, of func(*rows) *text) eventColumn {
	return eventColumn{name,
		func(r *rows, _ kafka.TopicPartition, s *scratch) any { return of(r).strings(&s.strings) },
		func(r *rows) bool { return len(of(r).data) == 0 },
	}
}

func numberColumn[T int8 | int32 | int64](name string, of func(*rows) []T) eventColumn {
	return eventColumn{name,
		func(r *rows, _ kafka.TopicPartition, _ *scratch) any { return of(r) },
		func(r *rows) bool { return isZero(of(r)) },
	}
}

func isZero[T comparable](values []T) bool {
	var zero T
	return !slices.ContainsFunc(values, func(v T) bool { return v != zero })
}

func fill[T any](values []T, with T) []T {
	for i := range values {
		values[i] = with
	}
	return values
}

// decimals returns the quantities as what the driver takes.
func (r *rows) decimals() []decimal.Decimal {
	all := make([]decimal.Decimal, len(r.quantity))
	for i, q := range r.quantity {
		if q != 0 {
			all[i] = decimal.New(q, -6)
		}
	}
	return all
}

// spareRows has chunks to be used again, as many as one batch of the usual size
// fills. The collector empties a sync.Pool more often than batches are filled.
var spareRows = make(chan *rows, 64)

func newRows() *rows {
	select {
	case r := <-spareRows:
		return r
	default:
	}
	r := &rows{
		typs: make([]int8, 0, chunkRows), class: make([]int8, 0, chunkRows),
		revision: make([]int32, 0, chunkRows), voided: make([]bool, 0, chunkRows),
	}
	for _, t := range r.texts() {
		t.ends = make([]uint32, 0, chunkRows)
	}
	for _, column := range r.numbers() {
		*column = make([]int64, 0, chunkRows)
	}
	return r
}

// free lets the memory of the rows be used again, unless it is unusually large.
func (r *rows) free() {
	for _, t := range r.texts() {
		if cap(t.data) > 100*chunkRows {
			return
		}
	}
	r.reset()
	select {
	case spareRows <- r:
	default:
	}
}

// batch is what goes to ClickHouse at once: deliveries of all partitions of a
// generation, each in a buffer of its own.
type batch struct {
	buffers     []partitionBuffer
	taken, size atomic.Int64 // deliveries, and about how many bytes they take

	// begin is done once there is something in the batch.
	begin sync.Once
	began atomic.Bool
	timer *time.Timer // seals it at its age

	// before is closed once the batch before this one is in the ledger, and
	// entered once this one is.
	before, entered chan struct{}
}

func newBatch(partitions []kafka.TopicPartition, before chan struct{}) *batch {
	b := &batch{buffers: make([]partitionBuffer, len(partitions)), before: before, entered: make(chan struct{})}
	for i, p := range partitions {
		b.buffers[i].TopicPartition = p
	}
	return b
}

// accepted counts the accepted deliveries.
func (b *batch) accepted() (n int) {
	for i := range b.buffers {
		n += b.buffers[i].accepted
	}
	return n
}

// rejected returns the refused deliveries.
func (b *batch) rejected() (all []refused) {
	for i := range b.buffers {
		all = append(all, b.buffers[i].rejected...)
	}
	return all
}

// entries returns the rows of the ledger.
func (b *batch) entries() (all []ledgerRow) {
	for i := range b.buffers {
		if p := &b.buffers[i]; p.first < p.next {
			all = append(all, ledgerRow{p.TopicPartition, p.first, p.next - 1,
				p.read(), p.accepted, len(p.rejected), p.runOffset})
		}
	}
	return all
}

// columns returns those that some delivery needs.
func (b *batch) columns() []eventColumn {
	return slices.DeleteFunc(slices.Clone(eventColumns), func(c eventColumn) bool {
		for i := range b.buffers {
			if slices.ContainsFunc(b.buffers[i].chunks, func(r *rows) bool { return c.blank == nil || !c.blank(r) }) {
				return false
			}
		}
		return true
	})
}

// free lets the memory be used again.
func (b *batch) free() {
	for i := range b.buffers {
		for _, r := range b.buffers[i].chunks {
			r.free()
		}
	}
	b.buffers = nil
}

// deadLetterColumns returns refused deliveries as the rows of rejected.
func deadLetterColumns(all []refused) []column {
	n := len(all)
	topics, partitions := make([]string, n), make([]int32, n)
	offset, arrived := make([]int64, n), make([]int64, n)
	code, field, value, message := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	tenant, source, id := make([]string, n), make([]string, n), make([]string, n)
	key, payload, headers := make([]string, n), make([]string, n), make([][][]string, n)
	for i, r := range all {
		topics[i], partitions[i], offset[i], arrived[i] = r.Topic, int32(r.Partition), r.offset, r.arrived
		code[i], field[i], value[i], message[i] = string(r.why.Code), r.why.Field, r.why.Value, r.why.Message
		tenant[i], source[i], id[i] = r.why.Tenant, r.why.Source, r.why.ID
		key[i], payload[i], headers[i] = string(r.key), string(r.value), make([][]string, len(r.headers))
		for j, h := range r.headers {
			headers[i][j] = []string{h.Key, string(h.Value)}
		}
	}
	return []column{
		{"topic", topics},
		{"partition", partitions},
		{"offset", offset},
		{"arrived_ms", arrived},
		{"code", code},
		{"field", field},
		{"value", value},
		{"message", message},
		{"tenant", tenant},
		{"source", source},
		{"id", id},
		{"key", key},
		{"payload", payload},
		{"headers", headers},
	}
}

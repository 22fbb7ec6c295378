package ingest

import (
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/shopspring/decimal"

	"apportion/schemas"
)

// batch collects decoded deliveries of one partition as the columns of
// usage_events, and the refused ones beside them. It keeps its memory when it
// is reset.
type batch struct {
	place
	typ     schemas.Type
	decoder schemas.Decoder
	event   schemas.Event
	headers []schemas.Header
	values  arena

	bytes    int
	rejected []refused

	tenant, source, id         []string
	typs, class                []int8
	revision                   []int32
	voided                     []bool
	timeMS, atMS, start, end   []int64
	agent, entryPoint, channel []string
	quantity                   []decimal.Decimal
	subscription               []string
	topics                     []string
	partitions                 []int32
	offset, arrived            []int64
}

// refused is a delivery that was rejected, whole, and why.
type refused struct {
	offset, arrived int64
	key, value      []byte
	headers         []kafka.Header
	why             *schemas.Rejection
}

func newBatch(p place, t schemas.Type) *batch { return &batch{place: p, typ: t} }

func (b *batch) accepted() int { return len(b.offset) }

func (b *batch) read() int { return len(b.offset) + len(b.rejected) }

// codes counts the refused deliveries by why.
func (b *batch) codes() map[schemas.Code]int {
	if len(b.rejected) == 0 {
		return nil
	}
	codes := make(map[schemas.Code]int)
	for _, r := range b.rejected {
		codes[r.why.Code]++
	}
	return codes
}

var classes = map[string]int8{"": 0, "standard": 1, "premium": 2}

// add takes in one delivery. It fails only where the memory of the record
// does.
func (b *batch) add(r *protocol.Record) error {
	value, err := b.values.read(r.Value)
	if err != nil {
		return err
	}
	b.bytes += len(value)
	b.headers = b.headers[:0]
	for _, h := range r.Headers {
		b.headers = append(b.headers, schemas.Header(h))
		b.bytes += len(h.Key) + len(h.Value)
	}
	arrived := millis(r.Time)
	e := &b.event
	if why := b.decoder.Decode(b.typ, b.headers, value, e); why != nil {
		key, err := protocol.ReadAll(r.Key)
		if err != nil {
			return err
		}
		b.bytes += len(key)
		b.rejected = append(b.rejected, refused{r.Offset, arrived, key, value, r.Headers, why})
		return nil
	}
	b.tenant = append(b.tenant, e.Tenant)
	b.typs = append(b.typs, int8(e.Type))
	b.source = append(b.source, e.Source)
	b.id = append(b.id, e.ID)
	b.revision = append(b.revision, e.Revision)
	b.voided = append(b.voided, e.Voided)
	b.timeMS = append(b.timeMS, e.TimeMS)
	b.atMS = append(b.atMS, e.AtMS())
	b.start = append(b.start, e.StartMS)
	b.end = append(b.end, e.EndMS)
	b.agent = append(b.agent, e.Agent)
	b.entryPoint = append(b.entryPoint, e.EntryPoint)
	b.channel = append(b.channel, e.Channel)
	var quantity decimal.Decimal
	if e.Quantity != 0 {
		quantity = decimal.New(e.Quantity, -6)
	}
	b.quantity = append(b.quantity, quantity)
	b.subscription = append(b.subscription, e.Subscription)
	b.class = append(b.class, classes[e.Class])
	b.topics = append(b.topics, b.topic)
	b.partitions = append(b.partitions, int32(b.partition))
	b.offset = append(b.offset, r.Offset)
	b.arrived = append(b.arrived, arrived)
	return nil
}

// events returns the rows of usage_events.
func (b *batch) events() []column {
	return []column{
		{"tenant", b.tenant},
		{"type", b.typs},
		{"source", b.source},
		{"id", b.id},
		{"revision", b.revision},
		{"voided", b.voided},
		{"time_ms", b.timeMS},
		{"at_ms", b.atMS},
		{"start_ms", b.start},
		{"end_ms", b.end},
		{"agent", b.agent},
		{"entry_point", b.entryPoint},
		{"channel", b.channel},
		{"quantity", b.quantity},
		{"subscription", b.subscription},
		{"class", b.class},
		{"topic", b.topics},
		{"partition", b.partitions},
		{"offset", b.offset},
		{"arrived_ms", b.arrived},
	}
}

// deadLetters returns the rows of rejected.
func (b *batch) deadLetters() []column {
	n := len(b.rejected)
	topics, partitions := make([]string, n), make([]int32, n)
	offset, arrived := make([]int64, n), make([]int64, n)
	code, field, value, detail := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	tenant, source, id := make([]string, n), make([]string, n), make([]string, n)
	key, payload, headers := make([]string, n), make([]string, n), make([][][]string, n)
	for i, r := range b.rejected {
		topics[i], partitions[i], offset[i], arrived[i] = b.topic, int32(b.partition), r.offset, r.arrived
		code[i], field[i], value[i], detail[i] = string(r.why.Code), r.why.Field, r.why.Value, r.why.Detail
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
		{"detail", detail},
		{"tenant", tenant},
		{"source", source},
		{"id", id},
		{"key", key},
		{"payload", payload},
		{"headers", headers},
	}
}

// reset empties the batch.
func (b *batch) reset() {
	b.bytes = 0
	b.values.reset()
	clear(b.rejected)
	b.rejected = b.rejected[:0]
	for _, column := range []*[]string{&b.tenant, &b.source, &b.id, &b.agent, &b.entryPoint, &b.channel, &b.subscription, &b.topics} {
		*column = (*column)[:0]
	}
	for _, column := range []*[]int64{&b.timeMS, &b.atMS, &b.start, &b.end, &b.offset, &b.arrived} {
		*column = (*column)[:0]
	}
	b.typs, b.class = b.typs[:0], b.class[:0]
	b.revision, b.partitions = b.revision[:0], b.partitions[:0]
	b.voided, b.quantity = b.voided[:0], b.quantity[:0]
}

// arena holds the values of a batch, to which the strings of its events point.
// Chunks are never moved, and used again once reset.
type arena struct {
	chunks [][]byte
	used   int // chunks that hold something; the last of them is being filled
}

const chunkSize = 1 << 20

// read copies what b holds. The copy lives until reset.
func (a *arena) read(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	n := b.Len()
	if n > chunkSize/4 {
		// It would waste much of a chunk, and is left to the garbage collector.
		return protocol.ReadAll(b)
	}
	if a.used == 0 || len(a.chunks[a.used-1])+n > chunkSize {
		if a.used++; a.used > len(a.chunks) {
			a.chunks = append(a.chunks, make([]byte, 0, chunkSize))
		}
	}
	chunk := &a.chunks[a.used-1]
	from := len(*chunk)
	*chunk = (*chunk)[:from+n]
	value := (*chunk)[from : from+n : from+n]
	_, err := io.ReadFull(b, value)
	return value, err
}

func (a *arena) reset() {
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.used = 0
}

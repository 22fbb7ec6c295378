package ingest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/retry"
	"apportion/schemas/traces"
)

// writer collects what the consumers of one generation of the group decode, and
// writes it batch by batch, one insert for all partitions: what an insert costs
// ClickHouse, then and in merges, depends little on its size. While batches are
// being written the next one fills.
type writer struct {
	*Ingester
	gen   *kafka.Generation
	id    uuid.UUID   // of its run, in the ledger; belongs to the batch whose turn it is to be entered
	ready chan *batch // sealed, to be written

	// filling is held for reading while a buffer of the open batch is being
	// filled, and for writing to seal the batch.
	filling sync.RWMutex
	open    *batch

	// ledger is where it ended when the generation began.
	resuming sync.Mutex
	ledger   map[kafka.TopicPartition]int64
}

// writers is how many batches are written at a time: while ClickHouse sorts one,
// it is sent another.
const writers = 2

func newWriter(in *Ingester, gen *kafka.Generation) *writer {
	w := &writer{Ingester: in, gen: gen, id: uuid.New(), ready: make(chan *batch)}
	entered := make(chan struct{})
	close(entered)
	w.open = newBatch(gen.Partitions, entered)
	return w
}

// fill has a function fill the buffer of a partition in the open batch, and
// passes the batch on when it is full. It waits while batches are written more
// slowly than they fill.
func (w *writer) fill(ctx context.Context, index int, take func(*partitionBuffer) error) error {
	w.filling.RLock()
	b := w.open
	p := &b.buffers[index]
	read, size := p.read(), p.size
	err := take(p)
	taken, total := b.taken.Add(int64(p.read()-read)), b.size.Add(int64(p.size-size))
	if p.first < p.next {
		b.begin.Do(func() {
			b.began.Store(true)
			b.timer = time.AfterFunc(w.cfg.BatchAge, func() { w.seal(ctx, b) })
		})
	}
	w.filling.RUnlock()
	if err == nil && (taken >= int64(w.cfg.BatchRows) || total >= int64(w.cfg.BatchBytes)) {
		err = w.seal(ctx, b)
	}
	return err
}

// seal passes the open batch on, unless another has taken its place or there is
// nothing in it, and opens the next.
func (w *writer) seal(ctx context.Context, b *batch) error {
	w.filling.Lock()
	defer w.filling.Unlock()
	if w.open != b || !b.began.Load() {
		return ctx.Err()
	}
	b.timer.Stop()
	// Once passed on, a batch belongs to who writes it.
	next := newBatch(w.gen.Partitions, b.entered)
	for i, p := range b.buffers {
		next.buffers[i].first, next.buffers[i].next = p.next, p.next
		next.buffers[i].runOffset, next.buffers[i].end = p.runOffset, p.end
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case w.ready <- b:
		w.open = next
		return nil
	}
}

// sealOpen passes on whatever there is.
func (w *writer) sealOpen(ctx context.Context) error {
	w.filling.RLock()
	b := w.open
	w.filling.RUnlock()
	return w.seal(ctx, b)
}

// atEnd reports whether every partition has been read to its end.
func (w *writer) atEnd() bool {
	w.filling.Lock()
	defer w.filling.Unlock()
	return !slices.ContainsFunc(w.open.buffers, func(p partitionBuffer) bool { return p.next < p.end })
}

// resume returns where the ledger ends, 0 for a partition that it does not know.
func (w *writer) resume(ctx context.Context, p kafka.TopicPartition) (next int64, err error) {
	w.resuming.Lock()
	defer w.resuming.Unlock()
	if w.ledger == nil {
		if w.ledger, err = w.positions(ctx); err == nil {
			err = w.excludeOthers(ctx)
		}
	}
	return w.ledger[p], err
}

// run writes batches. It returns once the generation has ended, or with an error
// that waiting cannot fix or that means that the generation should end.
func (w *writer) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-w.ready:
			batch, span := traces.Begin(ctx, "batch")
			span.Count("deliveries", b.accepted()+len(b.rejected()))
			err := w.write(batch, b)
			span.End(err)
			if err != nil {
				return err
			}
		}
	}
}

// write writes a batch: deliveries first, the ledger after, and Kafka's
// committed offset last, for tools to see. Batches enter the ledger in the order
// in which they were filled, since a consumer resumes after the last offset that
// is in it.
//
// Right before the entry the broker is asked for a commit of where the batch
// began, which is what it has already: it refuses one that comes from a generation
// that is over. A process that is halted after that and goes on much later is
// refused by the ledger itself, unless another one enters the same offsets at the
// same instant: then the ledger has them from both, and the balance counts them
// once. The entry is not given up half-way when the generation ends, because the
// next consumer could then not know whether it was made; the group waits for this
// function before it lets go of the partitions.
func (w *writer) write(ctx context.Context, b *batch) error {
	began := time.Now()
	if b.accepted() > 0 {
		w.failpoint("before insert")
		err := w.store.do(ctx, func(ctx context.Context) error {
			return w.insert(ctx, b)
		})
		if err != nil {
			return err
		}
		w.failpoint("after insert")
	}
	inserting := time.Since(began)
	if rejected := b.rejected(); len(rejected) > 0 {
		w.failpoint("before dead letters")
		if err := w.deadLetter(ctx, rejected); err != nil {
			return err
		}
		w.failpoint("after dead letters")
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.before:
	}
	entries := b.entries()
	run, tried := w.id, []uuid.UUID{}
	err := w.store.do(ctx, func(ctx context.Context) error {
		if err := w.commit(entries, func(e ledgerRow) int64 { return e.first }); err != nil {
			return retry.Permanent(errors.Join(errFenced, err))
		}
		w.failpoint("before ledger")
		if ctx.Err() != nil {
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		defer func() { run, tried = uuid.New(), append(tried, run) }() // for the next attempt
		return w.store.enter(ctx, entries, run, tried...)
	})
	if err != nil {
		return err
	}
	// What comes next goes on in the run of the attempt that succeeded: entries of one run follow each other, or merged
	// they would show a hole.
	w.id = tried[len(tried)-1]
	w.fences.entered()
	w.failpoint("after ledger")
	if err := w.commit(entries, func(e ledgerRow) int64 { return e.last + 1 }); err != nil {
		w.log.Debug("the ledger is ahead of the committed offsets", "error", err)
	}
	w.failpoint("after commit")
	close(b.entered)
	for i := range b.buffers {
		if p := &b.buffers[i]; p.first < p.next {
			w.progress(Progress{
				TopicPartition: p.TopicPartition,
				First:          p.first, Next: p.next, End: max(p.end, p.next),
				Accepted: p.accepted, Rejected: len(p.rejected), Codes: p.codes(),
				Inserting: inserting,
			})
		}
	}
	b.free()
	return nil
}

// insert tries once to insert the deliveries that are accepted.
func (w *writer) insert(ctx context.Context, b *batch) error {
	ctx, span := traces.Begin(ctx, "insert")
	err := w.store.insertEvents(ctx, b)
	span.End(err)
	return err
}

// commit commits one of the offsets of each entry.
func (w *writer) commit(entries []ledgerRow, offset func(ledgerRow) int64) error {
	offsets := make(map[kafka.TopicPartition]int64)
	for _, e := range entries {
		offsets[e.TopicPartition] = offset(e)
	}
	return w.gen.Commit(offsets)
}

// deadLetter writes refused deliveries to their table and topic. The topic may get
// one twice, when the process is killed in between; the headers tell.
func (w *writer) deadLetter(ctx context.Context, rejected []refused) error {
	err := w.store.do(ctx, func(ctx context.Context) error {
		return w.store.insert(ctx, "rejected", deadLetterColumns(rejected))
	})
	if err != nil {
		return err
	}
	w.failpoint("between dead letters")
	letters := make([]kafka.Message, len(rejected))
	for i, r := range rejected {
		letters[i] = kafka.Message{Key: r.key, Value: r.value, Headers: append(r.headers[:len(r.headers):len(r.headers)],
			schemas.Header{Key: "apportion-code", Value: []byte(r.why.Code)},
			schemas.Header{Key: "apportion-field", Value: []byte(r.why.Field)},
			schemas.Header{Key: "apportion-message", Value: []byte(r.why.Message)},
			schemas.Header{Key: "apportion-topic", Value: []byte(r.Topic)},
			schemas.Header{Key: "apportion-partition", Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
			schemas.Header{Key: "apportion-offset", Value: strconv.AppendInt(nil, r.offset, 10)},
		)}
	}
	tooLarge, err := w.kafka.Send(ctx, w.cfg.TopicPrefix+schemas.TopicRejected, letters)
	for _, i := range tooLarge {
		w.log.Error("a refused delivery is too large for the dead letter topic; the table rejected has it",
			"topic", rejected[i].Topic, "partition", rejected[i].Partition, "offset", rejected[i].offset)
	}
	return err
}

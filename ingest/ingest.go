// Package ingest takes usage in: it reads deliveries from the usage topics of
// Kafka, decodes them by the event contract, and writes the good ones to the
// ClickHouse table usage_events and the refused ones, whole, to the table
// rejected and the dead letter topic. The table ingest_batches is its ledger:
// which offsets have been taken in, and what became of them (R22).
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/retry"
)

// Config says what an Ingester reads and how much it takes at a time.
type Config struct {
	// TopicPrefix stands before the topic names of the event contract.
	TopicPrefix string
	// Group is the consumer group that shares the partitions among all
	// Ingesters that name it.
	Group string
	// A batch, one insert for all partitions, is full at about BatchRows records
	// or BatchBytes bytes of memory, and is written at the latest BatchAge after
	// its first record was read. Two are written while another one fills.
	BatchRows  int
	BatchBytes int
	BatchAge   time.Duration
	// FetchBytes is how much to ask of Kafka at a time, per partition. A larger
	// record is read all the same.
	FetchBytes int
	// SessionTimeout is how long after its last sign of life a consumer that
	// did not leave keeps its partitions. Brokers allow 6 s and more.
	SessionTimeout time.Duration
	// UntilCaughtUp makes Run end once every partition has been taken in to
	// the end that it had when Run started, by whichever consumer.
	UntilCaughtUp bool
}

// DefaultConfig returns what suits most machines.
func DefaultConfig() Config {
	return Config{
		Group:          "apportion-ingest",
		BatchRows:      262_144,
		BatchBytes:     64 << 20,
		BatchAge:       250 * time.Millisecond,
		FetchBytes:     1 << 20,
		SessionTimeout: 6 * time.Second,
	}
}

// Deps are what an Ingester works with.
type Deps struct {
	Kafka *kafka.Client
	// ClickHouse is a native connection to the database that has the tables.
	ClickHouse driver.Conn
	// Check, which may be nil, is asked once ClickHouse answers: an error that is permanent ends Run.
	Check func(context.Context) error
	// Log may be nil.
	Log *slog.Logger
	// Progress, which may be nil, is called after each batch that is done,
	// never by two goroutines at once.
	Progress func(Progress)
	// Failpoint, which may be nil, is called before and after every step of the loop with the step's name, such as
	// "before insert". The kill tests end the process there. They find the points by searching the source of this
	// package for calls of failpoint with a literal, so that a new one is tested without being listed.
	Failpoint func(point string)
}

// Progress is one batch that is done.
type Progress struct {
	kafka.TopicPartition
	// First and Next bound the offsets of the batch: [First, Next).
	First, Next int64
	// End is the end of the partition as last seen: End - Next is the lag.
	End int64
	// Accepted and Rejected count the deliveries of the batch, Codes the
	// rejected ones by why.
	Accepted, Rejected int
	Codes              map[schemas.Code]int
	// Inserting is how long ClickHouse took to take the deliveries.
	Inserting time.Duration
}

// Ingester consumes the usage topics. Make one with New.
type Ingester struct {
	usage
	cfg       Config
	log       *slog.Logger
	progress  func(Progress)
	failpoint func(point string)
	fences    fences
	checkMore func(context.Context) error

	excluding sync.Mutex
	others    map[string]error // topics that are not those that were taken in, and why
}

// New returns an Ingester that does nothing until Run.
func New(cfg Config, deps Deps) *Ingester {
	log := deps.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	in := &Ingester{
		usage:     newUsage(deps.Kafka, deps.ClickHouse, cfg.TopicPrefix, log),
		cfg:       cfg,
		log:       log,
		failpoint: deps.Failpoint,
		checkMore: deps.Check,
		others:    make(map[string]error),
	}
	if in.checkMore == nil {
		in.checkMore = func(context.Context) error { return nil }
	}
	if in.failpoint == nil {
		in.failpoint = func(string) {}
	}
	var mu sync.Mutex
	in.progress = func(p Progress) {
		if deps.Progress != nil {
			mu.Lock()
			defer mu.Unlock()
			deps.Progress(p)
		}
	}
	return in
}

// errCaughtUp ends a Run that was to go on only until caught up.
var errCaughtUp = errors.New("caught up")

// Run consumes until ctx is done, or until caught up if so configured; it then
// returns nil. While Kafka or ClickHouse are away it waits for them. An error
// is something that waiting cannot fix, such as a table or topic that does not
// exist, and says what to do.
//
// Killing the process at any point loses and doubles nothing: a batch is
// inserted first and entered in the ledger after, the ledger is where a
// consumer resumes, and what is inserted again replaces itself.
func (in *Ingester) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ran := make(chan error, 1)
	go func() { ran <- in.run(ctx, stop) }()
	select {
	case err := <-ran:
		return in.ended(ctx, err)
	case <-ctx.Done():
	}
	// A service that keeps a connection and says nothing must not keep the
	// process: nothing depends on how the last steps end.
	select {
	case <-ran:
	case <-time.After(stopTimeout):
		in.log.Warn("stopped without an answer from Kafka or ClickHouse")
	}
	return in.ended(ctx, nil)
}

// stopTimeout is how long the last steps of a run may take.
const stopTimeout = 4 * time.Second

func (in *Ingester) run(ctx context.Context, stop context.CancelCauseFunc) error {
	ends, err := in.start(ctx)
	if err != nil {
		return err
	}
	if in.cfg.UntilCaughtUp {
		ledger, err := in.positions(ctx)
		if err != nil {
			return err
		}
		if in.caughtUp(ends, ledger) {
			for p, b := range ends {
				if ledger[p] < b.First {
					in.logLost(p, ledger[p], b.First)
				}
			}
			return nil
		}
		go in.watch(ctx, stop, ends)
	}
	return in.consume(ctx, stop)
}

// ended turns the end that was asked for, by a caller or by having caught up,
// into success. One that caught up with all topics but those it left out says
// why it did.
func (in *Ingester) ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == nil || errors.Is(err, errCaughtUp) {
		return in.exclusions()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// start waits until both services answer, makes sure that there is something
// to work with, and returns where each partition ends now.
func (in *Ingester) start(ctx context.Context) (map[kafka.TopicPartition]kafka.Bounds, error) {
	if err := in.cfg.validate(); err != nil {
		return nil, err
	}
	err := in.kafka.Do(ctx, func(ctx context.Context) error {
		_, err := in.kafka.Partitions(ctx, append(in.topics(), in.cfg.TopicPrefix+schemas.TopicRejected)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, check := range []func(context.Context) error{in.store.check, in.checkMore} {
		if err := in.store.do(ctx, check); err != nil {
			return nil, err
		}
	}
	ends, err := in.bounds(ctx)
	if err != nil {
		return nil, err
	}
	return ends, in.excludeOthers(ctx)
}

func (cfg *Config) validate() error {
	switch {
	case cfg.Group == "":
		return errors.New("no consumer group is configured: give it a name")
	case cfg.SessionTimeout <= 0:
		return fmt.Errorf("a session timeout of %v leaves no time for a sign of life: give it at least 6 s",
			cfg.SessionTimeout)
	case cfg.BatchRows < 1, cfg.BatchBytes < 1, cfg.FetchBytes < 1:
		return fmt.Errorf("batches of %d rows and %d bytes, fetched %d bytes at a time, hold nothing: "+
			"each must be at least 1", cfg.BatchRows, cfg.BatchBytes, cfg.FetchBytes)
	}
	return nil
}

// caughtUp reports whether the ledger has reached every end but those of topics that are left out.
func (in *Ingester) caughtUp(ends map[kafka.TopicPartition]kafka.Bounds, ledger map[kafka.TopicPartition]int64) bool {
	return !slices.ContainsFunc(lags(ends, ledger), func(l Lag) bool { return in.excluded(l.Topic) == nil })
}

// watch stops the run once it has caught up. It asks the ledger, because other
// consumers of the group may have some of the partitions.
func (in *Ingester) watch(ctx context.Context, stop context.CancelCauseFunc,
	ends map[kafka.TopicPartition]kafka.Bounds) {
	for retry.Sleep(ctx, caughtUpEvery) {
		switch ledger, err := in.positions(ctx); {
		case err != nil:
			stop(err)
		case in.caughtUp(ends, ledger):
			stop(errCaughtUp)
		}
	}
}

// consume takes part in the consumer group until ctx is done.
func (in *Ingester) consume(ctx context.Context, stop context.CancelCauseFunc) error {
	group, err := in.kafka.Join(kafka.GroupConfig{
		ID: in.cfg.Group, Topics: in.topics(), SessionTimeout: in.cfg.SessionTimeout,
	})
	if err != nil {
		return err
	}
	defer group.Close()
	for {
		gen, err := group.Next(ctx)
		if err != nil {
			return err
		}
		w := newWriter(in, gen)
		// The generation, not ctx, ends its functions: that of a group being closed
		// ends at once, and does not first make room for another.
		start := func(run func(context.Context) error) {
			gen.Start(func(gctx context.Context) {
				switch err := run(gctx); {
				case gctx.Err() != nil:
				case errors.Is(err, errFenced):
					in.fenced(gctx, stop, err)
				default:
					stop(err)
				}
			})
		}
		for range writers {
			start(w.run)
		}
		for i := range gen.Partitions {
			start(newConsumer(w, i).run)
		}
	}
}

// fenced waits before what was given up is begun again: whatever makes the ledger refuse entries must not become
// a storm of inserts.
func (in *Ingester) fenced(ctx context.Context, stop context.CancelCauseFunc, err error) {
	pause, fatal := in.fences.fenced(err)
	if fatal != nil {
		stop(fatal)
		return
	}
	in.log.Warn("resuming from the ledger", "because", err, "in", pause)
	retry.Sleep(ctx, pause)
}

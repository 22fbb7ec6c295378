// Package ingest takes usage in: it reads deliveries from the usage topics of
// Kafka, decodes them by the event contract, and writes the good ones to the
// ClickHouse table usage_events and the refused ones, whole, to the table
// rejected and the dead letter topic. The table ingest_batches is its ledger:
// which offsets have been taken in, and what became of them (R22).
//
// The same package has the project's other dealings with Kafka: creating the
// topics, publishing deliveries from files, and reading and appending to the
// log of registry commands.
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
	"github.com/segmentio/kafka-go"

	"apportion/schemas"
)

// Config says what an Ingester reads and how much it takes at a time.
type Config struct {
	// Brokers are the Kafka cluster.
	Brokers Brokers
	// TopicPrefix stands before the topic names of the event contract.
	TopicPrefix string
	// Group is the consumer group that shares the partitions among all
	// Ingesters that name it.
	Group string
	// A block, one insert for all partitions, is full at about BatchRows records
	// or BatchBytes bytes of memory, and is written at the latest BatchAge after
	// its first record was read. Two are written while another one fills.
	BatchRows  int
	BatchBytes int
	BatchAge   time.Duration
	// FetchBytes is how much to ask of Kafka at a time, per partition. A larger
	// record is read all the same.
	FetchBytes int
	// SessionTimeout is how long after its last sign of life a consumer that
	// did not say goodbye keeps its partitions. Brokers allow 6 s and more.
	SessionTimeout time.Duration
	// UntilCaughtUp makes Run end once every partition has been taken in to
	// the end that it had when Run started, by whichever consumer.
	UntilCaughtUp bool
}

// DefaultConfig returns the Config of a single local broker.
func DefaultConfig() Config {
	return Config{
		Brokers:        Brokers{Addrs: []string{"127.0.0.1:9092"}},
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
	// ClickHouse is a native connection to the database that has the tables.
	ClickHouse driver.Conn
	// Log may be nil.
	Log *slog.Logger
	// Progress, which may be nil, is called after each batch that is done,
	// never by two goroutines at once.
	Progress func(Progress)
	// At, which may be nil, is called before and after every step of the loop
	// with the step's name, such as "before insert". The tests end the process
	// there.
	At func(point string)
}

// Progress is one batch that is done.
type Progress struct {
	Topic     string
	Partition int
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
	cfg      Config
	log      *slog.Logger
	progress func(Progress)
	at       func(point string)
	store    store
	kafka    *cluster
	wait     *waiter
	fences   fences
	types    map[string]schemas.Type // by topic, prefix included

	leaving sync.Mutex
	left    map[string]error // topics left alone, and why
}

// New returns an Ingester that does nothing until Run.
func New(cfg Config, deps Deps) *Ingester {
	in := &Ingester{
		cfg:   cfg,
		log:   deps.Log,
		at:    deps.At,
		store: store{deps.ClickHouse},
		kafka: newCluster(cfg.Brokers),
		types: make(map[string]schemas.Type),
		left:  make(map[string]error),
	}
	if in.log == nil {
		in.log = slog.New(slog.DiscardHandler)
	}
	if in.at == nil {
		in.at = func(string) {}
	}
	in.wait = newWaiter(in.log)
	var mu sync.Mutex
	in.progress = func(p Progress) {
		if deps.Progress != nil {
			mu.Lock()
			defer mu.Unlock()
			deps.Progress(p)
		}
	}
	for _, t := range schemas.Types {
		in.types[cfg.TopicPrefix+t.Topic()] = t
	}
	return in
}

// errCaughtUp ends a Run that was to go on only until caught up.
var errCaughtUp = errors.New("caught up")

// Run consumes until ctx is done, or until caught up if so configured; it then
// returns nil. While Kafka or ClickHouse are away it waits for them. An error
// is something that waiting cannot mend, such as a table or topic that does not
// exist, and says what to do.
//
// Killing the process at any point loses and doubles nothing: a batch is
// inserted first and entered in the ledger after, the ledger is where a
// consumer resumes, and what is inserted again replaces itself.
func (in *Ingester) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ran := make(chan error, 1)
	go func() {
		defer in.kafka.close()
		ran <- in.run(ctx, stop)
	}()
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
		if len(in.lags(ends, ledger)) == 0 {
			for p, b := range ends {
				if ledger[p] < b.first {
					in.sayLost(p, ledger[p], b.first)
				}
			}
			return nil
		}
		go in.watch(ctx, stop, ends)
	}
	return in.consume(ctx, stop)
}

// ended turns the end that was asked for, by a caller or by having caught up,
// into success. One that caught up with all topics but those it left alone says
// why it did.
func (in *Ingester) ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == nil || errors.Is(err, errCaughtUp) {
		return in.allLeft()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// start waits until both services answer, makes sure that there is something
// to work with, and returns where each partition ends now.
func (in *Ingester) start(ctx context.Context) (ends map[place]bounds, err error) {
	if err := in.cfg.validate(); err != nil {
		return nil, err
	}
	topics := append(in.topics(), in.cfg.TopicPrefix+schemas.TopicRejected)
	var places []place
	err = in.wait.do(ctx, in.kafka.String(), func(ctx context.Context) (err error) {
		places, err = in.kafka.partitions(ctx, topics...)
		return err
	})
	if err != nil {
		return nil, err
	}
	places = slices.DeleteFunc(places, func(p place) bool {
		_, usage := in.types[p.topic]
		return !usage
	})
	if err := in.wait.do(ctx, clickHouse, in.store.check); err != nil {
		return nil, err
	}
	err = in.wait.do(ctx, in.kafka.String(), func(ctx context.Context) (err error) {
		ends, err = in.kafka.bounds(ctx, places)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ends, in.know(ctx, in.topics()...)
}

// positions returns the offset after the last one in the ledger, for each
// partition that it knows.
func (in *Ingester) positions(ctx context.Context) (ledger map[place]int64, err error) {
	err = in.wait.do(ctx, clickHouse, func(ctx context.Context) (err error) {
		ledger, err = in.store.positions(ctx, in.topics())
		return err
	})
	return ledger, err
}

func (cfg *Config) validate() error {
	switch {
	case len(cfg.Brokers.Addrs) == 0:
		return errors.New("no Kafka brokers are configured: give at least one host:port")
	case cfg.Group == "":
		return errors.New("no consumer group is configured: give it a name")
	case cfg.SessionTimeout <= 0:
		return fmt.Errorf("a session timeout of %v leaves no time for a sign of life: give it at least 6 s", cfg.SessionTimeout)
	case cfg.BatchRows < 1, cfg.BatchBytes < 1, cfg.FetchBytes < 1:
		return fmt.Errorf("batches of %d rows and %d bytes, fetched %d bytes at a time, hold nothing: each must be at least 1",
			cfg.BatchRows, cfg.BatchBytes, cfg.FetchBytes)
	}
	return nil
}

func (in *Ingester) topics() []string {
	var topics []string
	for _, t := range schemas.Types {
		topics = append(topics, in.cfg.TopicPrefix+t.Topic())
	}
	return topics
}

// caughtUp reports whether the ledger has reached every end.
func (in *Ingester) caughtUp(ctx context.Context, ends map[place]bounds) (done bool, err error) {
	ledger, err := in.positions(ctx)
	if err != nil {
		return false, err
	}
	return len(in.lags(ends, ledger)) == 0, nil
}

// watch stops the run once it has caught up. It asks the ledger, because other
// consumers of the group may have some of the partitions.
func (in *Ingester) watch(ctx context.Context, stop context.CancelCauseFunc, ends map[place]bounds) {
	for sleep(ctx, 250*time.Millisecond) {
		switch done, err := in.caughtUp(ctx, ends); {
		case err != nil:
			stop(err)
		case done:
			stop(errCaughtUp)
		}
	}
}

// consume takes part in the consumer group until ctx is done.
func (in *Ingester) consume(ctx context.Context, stop context.CancelCauseFunc) error {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                    in.cfg.Group,
		Brokers:               in.cfg.Brokers.Addrs,
		Topics:                in.topics(),
		Dialer:                in.cfg.Brokers.dialer(),
		WatchPartitionChanges: true,
		HeartbeatInterval:     in.cfg.SessionTimeout / 12,
		SessionTimeout:        in.cfg.SessionTimeout,
		RebalanceTimeout:      in.cfg.SessionTimeout,
		JoinGroupBackoff:      300 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer group.Close()
	for {
		// The group reports every failed attempt to join and goes on trying, so
		// an answer of "coordinator not available" is only one more wait.
		var gen *kafka.Generation
		err := in.wait.do(ctx, in.kafka.String(), func(ctx context.Context) (err error) {
			gen, err = group.Next(ctx)
			return err
		})
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
		for lane := range w.places {
			start(newConsumer(w, lane).run)
		}
	}
}

// fenced waits before what was given up is begun again: whatever makes the ledger refuse entries must not become
// a storm of inserts.
func (in *Ingester) fenced(ctx context.Context, stop context.CancelCauseFunc, err error) {
	pause, permanent := in.fences.fenced(err)
	if permanent != nil {
		stop(permanent)
		return
	}
	in.log.Warn("resuming from the ledger", "because", err, "in", pause)
	sleep(ctx, pause)
}

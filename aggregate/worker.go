package aggregate

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"apportion/schemas/retry"
)

// Config says how a [Worker] works.
type Config struct {
	Rules Rules
	// Interval is how long it rests between two looks at whether something has changed, unless it is woken before. A look
	// that finds nothing costs ClickHouse a few milliseconds.
	Interval time.Duration
}

// DefaultConfig returns a configuration that needs no change.
func DefaultConfig() Config { return Config{Rules: DefaultRules(), Interval: 250 * time.Millisecond} }

// Deps are what a [Worker] works with.
type Deps struct {
	Store Store
	// Follow calls changed with the registry as it is, and again after each change of it, until ctx is done.
	Follow func(ctx context.Context, changed func(Snapshot)) error
	// Log may be nil.
	Log *slog.Logger
	// Progress, which may be nil, is called with the days of a pass that are done and those there are, never twice at
	// once.
	Progress func(done, total int)
	// Passed, which may be nil, is called after each look with what a pass did, if one was needed, and how long it took.
	Passed func(report Report, took time.Duration)
	// Failed, which may be nil, is called when a pass has failed.
	Failed func()
}

// Worker keeps the daily figures current. Make one with [New].
type Worker struct {
	cfg  Config
	deps Deps
	wake chan struct{}
}

// New returns a worker that does nothing yet.
func New(cfg Config, deps Deps) *Worker {
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	return &Worker{cfg, deps, make(chan struct{}, 1)}
}

// Wake says that something may have changed. It never waits.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run makes a pass whenever something has changed, until ctx is done. A pass that fails ends it: Run again repeats the
// pass, because what it was for has not gone away.
func (w *Worker) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	snapshots := make(chan Snapshot, 1) // the latest
	group.Go(func() error {
		return w.deps.Follow(ctx, func(snapshot Snapshot) {
			select {
			case <-snapshots:
			default:
			}
			snapshots <- snapshot
		})
	})
	group.Go(func() error {
		var snapshot Snapshot
		select {
		case <-ctx.Done():
			return ctx.Err()
		case snapshot = <-snapshots:
		}
		for {
			began := time.Now()
			if err := w.pass(ctx, snapshot); err != nil {
				return err
			}
			// While deliveries pour in, days are computed half of the time at the most.
			if !retry.Sleep(ctx, time.Since(began)) {
				return ctx.Err()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case snapshot = <-snapshots:
			case <-w.wake:
			case <-time.After(w.cfg.Interval):
			}
		}
	})
	return group.Wait()
}

// pass makes a pass, if anything has changed.
func (w *Worker) pass(ctx context.Context, snapshot Snapshot) error {
	began := time.Now()
	report, err := Refresh(ctx, w.deps.Store, snapshot, w.cfg.Rules, w.deps.Progress)
	if err != nil {
		if ctx.Err() == nil && w.deps.Failed != nil {
			w.deps.Failed()
		}
		return err
	}
	took := time.Since(began)
	if report.Days > 0 {
		for _, b := range report.Behind {
			w.deps.Log.Warn("a tenant is left behind", "tenant", b.Tenant, "reason", b.Reason)
		}
		w.deps.Log.Info("usage is current", "pass", report.Pass, "days", report.Days, "took", took.Round(time.Millisecond))
	}
	if w.deps.Passed != nil {
		w.deps.Passed(report, took)
	}
	return nil
}

package service

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/retry"
)

// SchedulerConfig says when the scheduler issues, and what.
type SchedulerConfig struct {
	// From is the first period that it issues; those before are left to people.
	From civil.Month
	// CatchUp lets it issue however many periods are due at once, see [billing.ClockSuspect].
	CatchUp bool
	// Next returns when it fires after an instant, in UTC.
	Next func(time.Time) time.Time
	// By is in whose name it issues.
	By registry.Actor
}

// SchedulerDeps are what the scheduler works with.
type SchedulerDeps struct {
	Invoices *Invoices
	Log      *slog.Logger
	// WriteFiles writes the files of what is issued of a period; nil for none.
	WriteFiles func(*billing.Run) error
	// Observe is told of every firing that ended; it may be nil.
	Observe func(Firing)
}

// Firing is what a firing of the scheduler did.
type Firing struct {
	// Err is why it failed; it is repeated then.
	Err error
	// ClockAhead is how far this machine's clock is ahead of the database's.
	ClockAhead time.Duration
	// Issued counts the periods of tenants that it issued.
	Issued int
	// Due counts those that are due and that it has not issued, and Stopped those of them that were stopped, by code; nil
	// where the firing failed before it knew what is due.
	Due     int
	Stopped map[schemas.Code]int
	// Differences are what does not balance between the topics and what was taken in (R22); nil where the firing failed
	// before.
	Differences *LedgerDifferences
	// Findings counts the tenants whose last issue has a finding, by code; nil where the firing failed before.
	Findings map[schemas.Code]int64
}

// Scheduler issues what is due, whenever it fires (R20). What is due follows from the registry, what is issued, and the
// clock, so it keeps no state that a restart could lose, and any number of them may run.
type Scheduler struct {
	cfg  SchedulerConfig
	deps SchedulerDeps
	// written counts, by period, the tenants that were on the files that this process wrote last.
	written map[civil.Month]int
}

// NewScheduler returns a scheduler; it does nothing yet.
func NewScheduler(cfg SchedulerConfig, deps SchedulerDeps) *Scheduler {
	if deps.Observe == nil {
		deps.Observe = func(Firing) {}
	}
	return &Scheduler{cfg, deps, map[civil.Month]int{}}
}

// Run fires at once, for whatever was missed, and then by the timetable, until ctx is done. A firing that fails ends
// it: Run again repeats what it was for.
func (s *Scheduler) Run(ctx context.Context) error {
	for {
		firing := Firing{}
		firing.Err = s.fire(ctx, &firing)
		s.deps.Observe(firing)
		if firing.Err != nil {
			return firing.Err
		}
		if !s.wait(ctx) {
			return nil
		}
	}
}

// wait waits for the next firing and reports whether it came before ctx was done. It looks at the clock again
// every minute, which may have been put forward or back.
func (s *Scheduler) wait(ctx context.Context) bool {
	next := s.cfg.Next(time.Now().UTC())
	for now := time.Now().UTC(); now.Before(next); now = time.Now().UTC() {
		if sooner := s.cfg.Next(now); sooner.Before(next) {
			next = sooner
		}
		if !retry.Sleep(ctx, min(next.Sub(now), time.Minute)) {
			return false
		}
	}
	return ctx.Err() == nil
}

// fire issues what is due now, the oldest period first, and writes the files of the periods that have changed. Whatever
// it finds done is left alone, so it can fail anywhere and be repeated; two that fire at once issue once.
func (s *Scheduler) fire(ctx context.Context, firing *Firing) (err error) {
	invoices := s.deps.Invoices
	now := invoices.Clock().UnixMilli()
	if firing.ClockAhead, err = invoices.CheckClocks(ctx); err != nil {
		return err
	}
	biller, err := invoices.biller(ctx, s.cfg.By)
	if err != nil {
		return err
	}
	issued := billing.IssuedPeriods(biller.State) // those before cfg.From too: they may be corrected
	first := s.cfg.From
	if seals := biller.State.Seals(); len(seals) > 0 {
		first = max(first, biller.State.SealedThrough().Next())
	}
	due, err := billing.DuePeriods(biller.State.Tenants(), issued, first, now, invoices.Rules)
	if err != nil {
		return err
	}
	firing.Stopped = map[schemas.Code]int{}
	for _, d := range due {
		firing.Due += len(d.Tenants)
	}
	if err := billing.ClockSuspect(due, issued, lastChanged(invoices.Registry)); err != nil && !s.cfg.CatchUp {
		for _, d := range due {
			firing.Stopped[schemas.ClockSuspect] += len(d.Tenants)
		}
		return err
	}
	if len(due) > 0 {
		// After a time that all was down, what arrived meanwhile is still on Kafka, and belongs on what is issued.
		if err := invoices.Ledger.AwaitCaughtUp(ctx); err != nil {
			return err
		}
	}
	if firing.Differences, err = s.differences(ctx, biller.State); err != nil {
		return err
	}
	biller.Differences = firing.Differences.All()
	for _, d := range due {
		if err := s.issue(ctx, biller, d, now, firing); err != nil {
			return err
		}
	}
	if firing.Findings, err = biller.LastFindings(ctx); err != nil {
		return err
	}
	if err := s.writeFiles(ctx, biller); err != nil {
		return err
	}
	// What people see of the month that runs, and of the one before, is no older than the last firing. Nothing that is
	// issued needs it.
	month := civil.DateOfTime(time.UnixMilli(now).UTC()).Month()
	if err := invoices.Look(ctx, month-1, month); err != nil && ctx.Err() == nil {
		s.deps.Log.Error("v_findings is not current", "error", err)
	}
	return nil
}

// batchPatience is for how long the ledger must stand still for no batch to be under way.
const batchPatience = 10 * time.Second

// differences returns what does not balance, which a person is to know before it stops a period at the month's end. A
// batch under way is none: it gets the time to end.
func (s *Scheduler) differences(ctx context.Context, state registry.State) (*LedgerDifferences, error) {
	invoices := s.deps.Invoices
	found, err := invoices.differences(ctx, state)
	if err != nil || len(found.Partitions) == 0 {
		return found, err
	}
	if _, err := invoices.Ledger.Behind(ctx, batchPatience); err != nil {
		return nil, err
	}
	return invoices.differences(ctx, state)
}

// lastChanged is the month in which the last command arrived, in UTC.
func lastChanged(r *Registry) civil.Month {
	ms := r.LastArrivedMS()
	if ms == 0 {
		return 0
	}
	return civil.DateOfTime(time.UnixMilli(ms).UTC()).Month()
}

// issue issues one period, and says what came of it.
func (s *Scheduler) issue(
	ctx context.Context, biller *billing.Biller, due billing.DuePeriod, now int64, firing *Firing,
) error {
	run, err := issue(ctx, biller, due.Period, due.Tenants, now)
	if err != nil {
		return err
	}
	log := s.deps.Log
	if run.Issued > 0 {
		log.Info("issued", "period", due.Period, "tenants", run.Issued)
		firing.Issued += run.Issued
		firing.Due -= run.Issued
	}
	for _, f := range run.Findings {
		log.Warn("finding", "tenant", f.Tenant, "period", f.Period, "code", f.Code, "rule", f.Rule,
			"count", f.Count, "names", f.Names, "advice", f.Advice)
	}
	for _, stop := range run.Stopped {
		firing.Stopped[stop.Code]++
		log.Warn("stopped", "tenant", stop.Tenant, "period", stop.Period, "code", stop.Code, "rule", stop.Rule,
			"message", stop.Message, "advice", stop.Advice)
	}
	return nil
}

// writeFiles writes the files of the periods that have more tenants issued than the files that this process wrote
// last: after a start all of them, which leaves those alone that are there, whole and the same; later those that
// this process or another has issued something of.
func (s *Scheduler) writeFiles(ctx context.Context, biller *billing.Biller) error {
	if s.deps.WriteFiles == nil {
		return nil
	}
	tenants := map[civil.Month]int{}
	for k := range billing.IssuedPeriods(biller.State) {
		if k.Period >= s.cfg.From {
			tenants[k.Period]++
		}
	}
	for _, period := range slices.Sorted(maps.Keys(tenants)) {
		if s.written[period] == tenants[period] {
			continue
		}
		run, err := biller.Issued(ctx, period)
		if err != nil {
			return err
		}
		if len(run.Stopped) > 0 {
			for _, stop := range run.Stopped {
				s.deps.Log.Error("no files written", "tenant", stop.Tenant, "period", period, "code", stop.Code, "rule", stop.Rule,
					"message", stop.Message, "advice", stop.Advice)
			}
			continue
		}
		if err := s.deps.WriteFiles(run); err != nil {
			return fmt.Errorf("%s is issued, and its files are not written: %w", period, err)
		}
		s.written[period] = len(run.Accounts)
	}
	return nil
}

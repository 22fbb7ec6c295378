package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"apportion/billing"
	"apportion/cmd/apportion/config"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/retry"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/robfig/cron/v3"
)

// schedule issues what is due, whenever it fires. What is due follows from the registry, what is issued, and the
// clock, so it keeps no state that a restart could lose.
type schedule struct {
	a         *app
	client    *kafka.Client
	conn      driver.Conn
	metrics   *metrics
	timetable cron.Schedule
	from      civil.Month
	registry  registryFold
	// written counts, by period, the tenants that were on the files that this process wrote last.
	written map[civil.Month]int
}

// newSchedule returns the schedule that is configured, or says what is to be configured.
func (a *app) newSchedule(client *kafka.Client, conn driver.Conn, m *metrics) (*schedule, error) {
	cfg := a.cfg.Schedule
	if cfg.From == "" {
		return nil, usagef("schedule.from is not set: give the first period that the schedule is to issue, such as 2026-10 (those before it are left to `apportion bill issue`), " +
			"or leave the schedule out with --part ingest --part registry --part aggregate --part http")
	}
	from, err := civil.ParseMonth(cfg.From)
	if err != nil {
		return nil, usagef("schedule.from: %w", err)
	}
	timetable, err := config.ParseTimetable(cfg.Issue)
	if err != nil {
		return nil, usagef("schedule.issue: %w", err)
	}
	m.registry.MustRegister(m.clockDifference, m.lastIssue, m.issueFailures, m.issuedPeriods, m.stopped, m.findings)
	return &schedule{a: a, client: client, conn: conn, metrics: m, timetable: timetable, from: from, written: make(map[civil.Month]int)}, nil
}

// Run fires at once, for whatever was missed, and then by the timetable, until ctx is done.
func (s *schedule) Run(ctx context.Context) error {
	for {
		if err := s.fire(ctx, s.a.now().UnixMilli()); err != nil {
			s.metrics.issueFailures.Inc()
			return err
		}
		s.metrics.lastIssue.SetToCurrentTime()
		if !s.wait(ctx) {
			return nil
		}
	}
}

// wait waits for the next firing and reports whether it came before ctx was done. It looks at the clock again
// every minute, which may have been put forward or back.
func (s *schedule) wait(ctx context.Context) bool {
	next := s.timetable.Next(time.Now().UTC())
	for now := time.Now().UTC(); now.Before(next); now = time.Now().UTC() {
		if sooner := s.timetable.Next(now); sooner.Before(next) {
			next = sooner
		}
		if !retry.Sleep(ctx, min(next.Sub(now), time.Minute)) {
			return false
		}
	}
	return ctx.Err() == nil
}

// fire issues what is due at now, in UTC epoch milliseconds, the oldest period first, and writes the files of the
// periods that have changed. Whatever it finds done is left alone, so it can fail anywhere and be repeated; two
// that fire at once are one for the ledger.
func (s *schedule) fire(ctx context.Context, now int64) error {
	ahead, err := checkClocks(ctx, s.conn, s.a.now)
	s.metrics.clockDifference.Set(ahead.Seconds())
	if err != nil {
		return err
	}
	if err := s.registry.catchUp(ctx, s.a); err != nil {
		return err
	}
	issued := billing.IssuedPeriods(s.registry.state) // those before s.from too: they may be corrected
	due, err := billing.DuePeriods(s.registry.state.Tenants(), issued, s.from, now, s.a.billingRules())
	if err != nil {
		return err
	}
	if err := billing.ClockSuspect(due, issued, s.registry.changed()); err != nil && !s.a.cfg.Schedule.CatchUp {
		s.metrics.stopped.Reset()
		for _, d := range due {
			s.metrics.stopped.WithLabelValues(string(schemas.ClockSuspect)).Add(float64(len(d.Tenants)))
		}
		return err
	}
	biller := s.a.newBiller(s.conn, &s.registry, scheduled(), func(int, int) {})
	stopped := map[schemas.Code]int{}
	if len(due) > 0 {
		// After a time that all was down, what arrived meanwhile is still on Kafka, and belongs on what is issued.
		if err := ingest.AwaitCaughtUp(ctx, s.client, s.conn, s.a.cfg.Kafka.TopicPrefix); err != nil {
			return err
		}
		if biller.Differences, err = s.a.differences(ctx, s.conn, s.registry.state); err != nil {
			return err
		}
	}
	for _, d := range due {
		run, err := biller.Issue(ctx, d.Period, d.Tenants, now)
		if err != nil {
			return err
		}
		if run.Issued > 0 {
			s.a.log.Info("issued", "period", d.Period, "tenants", run.Issued)
			s.metrics.issuedPeriods.Add(float64(run.Issued))
		}
		for _, f := range run.Findings {
			s.a.log.Warn("finding", "tenant", f.Tenant, "period", f.Period, "code", f.Code, "rule", f.Rule, "count", f.Count, "names", f.Names, "advice", f.Advice)
		}
		for _, stop := range run.Stopped {
			stopped[stop.Code]++
			s.a.log.Warn("stopped", "tenant", stop.Tenant, "period", stop.Period, "code", stop.Code, "rule", stop.Rule, "message", stop.Message, "advice", stop.Advice)
		}
	}
	last, err := biller.LastFindings(ctx)
	if err != nil {
		return err
	}
	for code, n := range last {
		s.metrics.findings.WithLabelValues(string(code)).Set(float64(n))
	}
	s.metrics.stopped.Reset()
	for code, n := range stopped {
		s.metrics.stopped.WithLabelValues(string(code)).Set(float64(n))
	}
	if s.a.cfg.Schedule.Out == "" {
		return nil
	}
	return s.writeFiles(ctx, biller)
}

// writeFiles writes the files of the periods that have more tenants issued than the files that this process wrote
// last: after a start all of them, which leaves those alone that are there, whole and the same; later those that
// this process or another has issued something of.
func (s *schedule) writeFiles(ctx context.Context, biller *billing.Biller) error {
	tenants := map[civil.Month]int{}
	for k := range billing.IssuedPeriods(biller.State) {
		if k.Period >= s.from {
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
				s.a.log.Error("no files written", "tenant", stop.Tenant, "period", period, "code", stop.Code, "rule", stop.Rule, "message", stop.Message, "advice", stop.Advice)
			}
			continue
		}
		if err := s.a.writeFiles(run, s.a.cfg.Schedule.Out); err != nil {
			return fmt.Errorf("%s is issued, and its files are not written: %w", period, err)
		}
		s.written[period] = run.Issued
	}
	return nil
}

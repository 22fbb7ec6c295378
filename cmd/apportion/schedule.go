package main

import (
	"apportion/billing"
	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/schemas/civil"
)

// newScheduler returns what issues on schedule, or says what is to be configured.
func (a *app) newScheduler(s *services, m *metrics) (*service.Scheduler, error) {
	set := a.cfg.Schedule
	if set.From == "" {
		return nil, usagef("schedule.from is not set: give the first period that the schedule is to issue, such as 2026-10 " +
			"(those before it are left to `apportion bill issue`), " +
			"or leave the schedule out with --part ingest --part registry --part aggregate --part http")
	}
	schedule, err := a.schedule()
	if err != nil {
		return nil, err
	}
	cfg := service.SchedulerConfig{From: schedule.From, Next: schedule.Next, CatchUp: set.CatchUp,
		By: service.ScheduledBy(host())}
	deps := service.SchedulerDeps{Invoices: s.invoices, Log: a.log, Observe: func(f service.Firing) {
		m.observeFiring(f)
		s.pipeline.Firings.Observe(f, a.now())
	}}
	if set.Out != "" {
		deps.WriteFiles = func(run *billing.Run) error {
			_, err := a.writeFiles(run, set.Out)
			return err
		}
	}
	m.registry.MustRegister(m.ofSchedule()...)
	return service.NewScheduler(cfg, deps), nil
}

// schedule returns when what is due is issued, nil where that is not configured.
func (a *app) schedule() (*service.Schedule, error) {
	set := a.cfg.Schedule
	if set.From == "" {
		return nil, nil
	}
	from, err := civil.ParseMonth(set.From)
	if err != nil {
		return nil, usagef("schedule.from: %w", err)
	}
	timetable, err := config.ParseTimetable(set.Issue)
	if err != nil {
		return nil, usagef("schedule.issue: %w", err)
	}
	return &service.Schedule{From: from, Next: timetable.Next}, nil
}

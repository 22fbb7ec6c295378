package service

import (
	"context"
	"strings"
	"sync"
	"time"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Partitions tells how far ingest is with each partition; ingest has it.
type Partitions interface {
	Waiting
	// Observations returns every partition as it is now, by topic and partition.
	Observations(ctx context.Context) ([]ingest.Observation, error)
}

// PipelineDeps are what is asked how current everything is.
type PipelineDeps struct {
	Registry *Registry
	Verdicts Verdicts
	Store    FigureStore
	Ledger   Partitions
	Rules    billing.Rules
	Clock    Clock
	// Schedule is when the scheduler issues, nil where none is configured, and Firings what it did in this process.
	Schedule *Schedule
	Firings  *Firings
}

// Pipeline tells how current everything is, from Kafka to what is issued.
type Pipeline struct{ PipelineDeps }

// NewPipeline returns it; it does nothing yet.
func NewPipeline(deps PipelineDeps) *Pipeline { return &Pipeline{deps} }

// Schedule is when the scheduler issues what is due (R20).
type Schedule struct {
	From civil.Month
	// Next returns when it fires after an instant, in UTC.
	Next func(time.Time) time.Time
}

// Firings remembers the last firing of the scheduler.
type Firings struct {
	mu   sync.Mutex
	last *FiringStatus
}

// Observe notes what a firing did that has just ended.
func (f *Firings) Observe(firing Firing, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = &FiringStatus{At: civil.Millis(at.UnixMilli()), Failed: firing.Err != nil, Issued: firing.Issued,
		Stopped: firing.Stopped, ClockAheadMS: firing.ClockAhead.Milliseconds()}
	if f.last.Stopped == nil {
		f.last.Stopped = map[schemas.Code]int{}
	}
}

// Last returns the last firing, nil for none.
func (f *Firings) Last() *FiringStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// PipelineStatus is how current everything is.
type PipelineStatus struct {
	At         civil.Millis      `json:"at"`
	Partitions []PartitionStatus `json:"partitions"`
	Lag        int64             `json:"lag" doc:"Offsets of all partitions that are not taken in yet."`
	TakenIn    int64             `json:"takenIn" doc:"Offsets of all partitions that are behind the next to be taken in."`
	Freshness  Freshness         `json:"freshness"`
	Pass       *PassStatus       `json:"pass,omitempty" doc:"The last pass of aggregation; none before the first."`
	DirtyDays  int               `json:"dirtyDays" doc:"Days of tenants that the next pass computes."`
	Registry   RegistryStatus    `json:"registry"`
	Schedule   *ScheduleStatus   `json:"schedule,omitempty" doc:"None where nothing is issued on schedule."`
}

// PartitionStatus is how far a partition is taken in.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Next      int64  `json:"next" doc:"The next offset to be taken in."`
	End       int64  `json:"end" doc:"The offset that the next record on Kafka will have."`
	Lag       int64  `json:"lag" doc:"Offsets that are not taken in yet."`
	Retained  int64  `json:"retained" doc:"Offsets taken in that Kafka still has; below 0 it has deleted others."`
}

// Freshness is how old the oldest change is that does not show yet, in milliseconds; 0 where all does.
type Freshness struct {
	AgeMS     int64 `json:"ageMs" doc:"Of the oldest change that the daily figures do not show, wherever it waits."`
	WaitingMS int64 `json:"waitingMs" doc:"Of the oldest delivery on Kafka that is not taken in."`
	FiguresMS int64 `json:"figuresMs" doc:"Of the oldest change taken in that no pass is based on."`
}

// PassStatus is a pass of aggregation.
type PassStatus struct {
	aggregate.Basis
	FinishedAt civil.Millis `json:"finishedAt"`
	// Behind are the tenants whose days it could not compute; they are not issued.
	Behind []BehindTenant `json:"behind" doc:"Tenants whose days it could not compute; they are not issued."`
}

// BehindTenant is a tenant whose days could not be computed, and why.
type BehindTenant struct {
	Tenant string `json:"tenantId"`
	Reason string `json:"reason"`
}

// RegistryStatus is how far the log of commands is kept in ClickHouse.
type RegistryStatus struct {
	LastOffset int64 `json:"lastOffset" doc:"Of the last command on Kafka; -1 for none."`
	Recorded   int64 `json:"recordedOffset" doc:"Of the last command whose verdict is recorded; -1 for none."`
}

// ScheduleStatus is when what is due is issued.
type ScheduleStatus struct {
	From civil.Month  `json:"from" doc:"The first period that it issues."`
	Next civil.Millis `json:"next" doc:"When it fires."`
	// LastIssue is on the registry's log, so every process has it; what a firing finds to do nothing about is on none.
	LastIssue *ScheduledIssue `json:"lastIssue,omitempty" doc:"What it issued last, in whichever process."`
	Last      *FiringStatus   `json:"last,omitempty" doc:"The last firing of the process that answers; another may fire."`
}

// ScheduledIssue is an issue that the scheduler made.
type ScheduledIssue struct {
	At     civil.Millis   `json:"at"`
	By     registry.Actor `json:"by" doc:"The process."`
	Period civil.Month    `json:"period"`
}

// scheduledBy is what the ids of schedulers begin with; the machine follows.
const scheduledBy = "schedule@"

// ScheduledBy is in whose name the scheduler of a machine issues.
func ScheduledBy(host string) registry.Actor {
	return registry.Actor{Type: "system", ID: scheduledBy + host}
}

// lastScheduled returns what the scheduler issued last, nil for nothing.
func lastScheduled(state registry.State) *ScheduledIssue {
	var last *ScheduledIssue
	for _, t := range state.Tenants() {
		for _, i := range state.Issues(t.ID) {
			if i.By.Type == "system" && strings.HasPrefix(i.By.ID, scheduledBy) &&
				(last == nil || i.TimeMS > int64(last.At)) {
				last = &ScheduledIssue{civil.Millis(i.TimeMS), i.By, i.Period}
			}
		}
	}
	return last
}

// FiringStatus is what a firing of the scheduler did.
type FiringStatus struct {
	At           civil.Millis         `json:"at" doc:"When it ended."`
	Failed       bool                 `json:"failed" doc:"It is repeated then."`
	Issued       int                  `json:"issued" doc:"Periods of tenants that it issued."`
	Stopped      map[schemas.Code]int `json:"stopped" doc:"Periods of tenants that are due and were stopped, by code."`
	ClockAheadMS int64                `json:"clockAheadMs" doc:"How far the clock was ahead of ClickHouse's."`
}

// Status tells how current everything is.
func (s *Pipeline) Status(ctx context.Context) (*PipelineStatus, error) {
	now := s.Clock()
	status := &PipelineStatus{At: civil.Millis(now.UnixMilli()), Partitions: []PartitionStatus{}}
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	status.Registry.LastOffset = state.Offset()
	if status.Registry.Recorded, _, err = s.Verdicts.Last(ctx); err != nil {
		return nil, err
	}
	partitions, err := s.Ledger.Observations(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		status.Partitions = append(status.Partitions,
			PartitionStatus{p.Topic, p.Partition, p.Next, p.End, p.Lag, p.Retained})
		status.Lag += p.Lag
		status.TakenIn += p.Next
	}
	if err := s.freshness(ctx, now, &status.Freshness); err != nil {
		return nil, err
	}
	if status.Pass, err = s.lastPass(ctx); err != nil {
		return nil, err
	}
	snapshot, err := billing.Snapshot(state, s.Rules)
	if err != nil {
		return nil, err
	}
	if status.DirtyDays, err = aggregate.CountDirty(ctx, s.Store, snapshot, s.Rules.Rules); err != nil {
		return nil, err
	}
	if s.Schedule != nil {
		next := s.Schedule.Next(now.UTC())
		status.Schedule = &ScheduleStatus{s.Schedule.From, civil.Millis(next.UnixMilli()), lastScheduled(state),
			s.Firings.Last()}
	}
	return status, nil
}

func (s *Pipeline) freshness(ctx context.Context, now time.Time, f *Freshness) error {
	age, err := DailyAge(ctx, s.Store, now)
	if err != nil {
		return err
	}
	since, waiting, err := s.Ledger.WaitingSince(ctx)
	if waiting {
		f.WaitingMS = max(0, now.UnixMilli()-since)
	}
	f.FiguresMS = age.Milliseconds()
	f.AgeMS = max(f.FiguresMS, f.WaitingMS)
	return err
}

// lastPass returns the last pass, nil before the first.
func (s *Pipeline) lastPass(ctx context.Context) (*PassStatus, error) {
	finished, ever, err := s.Store.LastFinished(ctx)
	if err != nil || !ever {
		return nil, err
	}
	pass, err := s.Store.LastPass(ctx)
	if err != nil {
		return nil, err
	}
	status := &PassStatus{Basis: pass.Basis, FinishedAt: civil.Millis(finished), Behind: []BehindTenant{}}
	status.Positions = append([]aggregate.Position{}, pass.Positions...)
	for _, b := range pass.Behind {
		status.Behind = append(status.Behind, BehindTenant{b.Tenant, b.Reason})
	}
	return status, nil
}

// DailyAge is how old the oldest change is, at an instant, that was taken in and that the daily figures are not based
// on; 0 where they are based on all.
func DailyAge(ctx context.Context, store interface {
	LaggingSince(ctx context.Context) (sinceMS int64, found bool, err error)
}, now time.Time) (time.Duration, error) {
	since, lagging, err := store.LaggingSince(ctx)
	if err != nil || !lagging {
		return 0, err
	}
	return max(0, now.Sub(time.UnixMilli(since))), nil
}

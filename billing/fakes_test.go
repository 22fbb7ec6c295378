package billing_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// fakeUsage computes usage from deliveries in memory by the readable reference, whenever it is asked.
type fakeUsage struct {
	snapshot   aggregate.Snapshot
	rules      aggregate.Rules
	deliveries []schemas.Event
	last       aggregate.Pass
	finished   func(*aggregate.Pass) // what else happens as a pass ends

	corrections []aggregate.Refused // what was refused
	others      []aggregate.Noted
	held        []string

	seen    int // deliveries that the last pass had
	changed map[string]map[civil.Month]uint64
	stored  []civil.Month // whose figures were asked for
}

func newFakeUsage(deliveries []schemas.Event) *fakeUsage {
	return &fakeUsage{deliveries: deliveries, changed: map[string]map[civil.Month]uint64{}}
}

func (u *fakeUsage) LastPass(context.Context) (aggregate.Pass, error) { return u.last, nil }

func (u *fakeUsage) Positions(context.Context) ([]aggregate.Position, error) {
	return []aggregate.Position{{Topic: "usage", LastOffset: int64(len(u.deliveries)) - 1}}, nil
}

func (u *fakeUsage) DirtyDays(context.Context, []aggregate.Position, []aggregate.Position,
	[]aggregate.Changed, aggregate.Rules) ([]map[string]map[civil.Date]int64, error) {
	return nil, nil
}

func (u *fakeUsage) Recompute(context.Context, int, aggregate.Pass, []aggregate.Day, aggregate.Timelines,
	aggregate.Rules) error {
	return errors.New("no day is touched")
}

// Finish notes the months that are touched by any delivery of an event that has a new one.
func (u *fakeUsage) Finish(_ context.Context, pass aggregate.Pass) error {
	for _, e := range u.deliveries[u.seen:] {
		for _, d := range u.deliveries {
			if d.Tenant != e.Tenant || d.Source != e.Source || d.ID != e.ID {
				continue
			}
			from, to := d.OccurredMS(), max(d.OccurredMS()+24*3600_000, d.EndMS)
			for month := civil.UTC.DateOf(from).Add(-1).Month(); month <= civil.UTC.DateOf(to).Add(1).Month(); month++ {
				u.mark(d.Tenant, month, pass.Pass)
			}
		}
	}
	u.seen = len(u.deliveries)
	if u.finished != nil {
		u.finished(&pass)
	}
	u.last = pass
	return nil
}

func (u *fakeUsage) mark(tenant string, month civil.Month, pass uint64) {
	if u.changed[tenant] == nil {
		u.changed[tenant] = map[civil.Month]uint64{}
	}
	u.changed[tenant][month] = pass
}

func (u *fakeUsage) MonthsChangedSince(_ context.Context, tenants []string,
	after uint64) (map[string]map[civil.Month]uint64, error) {
	changed := map[string]map[civil.Month]uint64{}
	for _, t := range tenants {
		changed[t] = map[civil.Month]uint64{}
		for month, pass := range u.changed[t] {
			if pass > after {
				changed[t][month] = pass
			}
		}
	}
	return changed, nil
}

func (u *fakeUsage) Load(_ context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error) {
	u.stored = append(u.stored, from.Month())
	var days []aggregate.Day
	for _, t := range u.snapshot.Tenants {
		if slices.Contains(tenants, t.ID) {
			days = append(days, aggregate.Days(t.ID, u.snapshot.Timelines.Zone(t.ID), from, to)...)
		}
	}
	return figures(u.deliveries, aggregate.Inputs{Days: days, Timelines: u.snapshot.Timelines, Rules: u.rules,
		NowMS: aggregate.EndOfTime}), nil
}

// Peaks returns those of the figures that Load returns.
func (u *fakeUsage) Peaks(ctx context.Context, tenant string, from, to civil.Date) ([]aggregate.Usage, error) {
	all, err := u.Load(ctx, []string{tenant}, from, to)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all.Usage, func(d aggregate.Usage) bool { return d.Subscription != "" || d.Peak == 0 }), nil
}

// Proof counts what is there at once, as Load does.
func (u *fakeUsage) Proof(_ context.Context, tenants []string, from, to civil.Date, _ aggregate.Pass,
	timelines aggregate.Timelines) ([]aggregate.Proof, error) {
	type day struct {
		tenant string
		date   civil.Date
	}
	days := map[day]aggregate.Proof{}
	for _, c := range aggregate.ResolveRevisions(u.deliveries) {
		if !slices.Contains(tenants, c.Event.Tenant) {
			continue
		}
		date := timelines.Zone(c.Event.Tenant).DateOf(c.Event.OccurredMS())
		if date < from || date >= to {
			continue
		}
		p := days[day{c.Event.Tenant, date}]
		p.Tenant, p.Date, p.Deliveries = c.Event.Tenant, date, p.Deliveries+int64(c.Deliveries)
		if c.Wins {
			p.Events++
		}
		days[day{p.Tenant, p.Date}] = p
	}
	return slices.Collect(maps.Values(days)), nil
}

func (u *fakeUsage) Compute(_ context.Context, in aggregate.Inputs) (*aggregate.Figures, error) {
	known := u.deliveries
	for _, p := range in.Bound.Positions {
		known = known[:p.LastOffset+1]
	}
	return figures(known, in), nil
}

func (u *fakeUsage) Profile(_ context.Context, in aggregate.Inputs) ([]aggregate.Profile, error) {
	return aggregate.ReferenceProfile(u.deliveries, in), nil
}

// Noted finds everything, whatever it is behind.
func (u *fakeUsage) Noted(_ context.Context, in aggregate.Inputs, after []aggregate.Position) (all []aggregate.Noted,
	_ error) {
	if after != nil {
		return nil, nil
	}
	for _, t := range u.snapshot.Tenants {
		own := slices.DeleteFunc(slices.Clone(u.deliveries), func(d schemas.Event) bool { return d.Tenant != t.ID })
		all = append(all, aggregate.ReferenceNotes(own, in)...)
	}
	return all, nil
}

// Unbilled returns all dates, which does no harm.
func (u *fakeUsage) Unbilled(_ context.Context, tenants []string, _ civil.Date) (map[string][]civil.Date, error) {
	dates := map[string][]civil.Date{}
	for _, d := range u.deliveries {
		if date := civil.UTC.DateOf(d.OccurredMS()); slices.Contains(tenants, d.Tenant) &&
			!slices.Contains(dates[d.Tenant], date) {
			dates[d.Tenant] = append(dates[d.Tenant], date)
			slices.Sort(dates[d.Tenant])
		}
	}
	return dates, nil
}

func (u *fakeUsage) Refused(context.Context, []string, []aggregate.Position, []aggregate.Position) ([]aggregate.Refused,
	[]aggregate.Noted, error) {
	return u.corrections, u.others, nil
}

// Reaching finds the events of which a delivery has arrived and any is before the instant.
func (u *fakeUsage) Reaching(_ context.Context, before map[string]int64, after, upTo []aggregate.Position) (
	all []aggregate.Noted, _ error) {
	first := int64(0)
	if len(after) > 0 {
		first = after[0].LastOffset + 1
	}
	for _, tenant := range slices.Sorted(maps.Keys(before)) {
		n := aggregate.Noted{Tenant: tenant, Code: schemas.Sealed}
		for _, e := range u.deliveries[first : upTo[0].LastOffset+1] {
			name := aggregate.EventName{Source: e.Source, ID: e.ID}
			if e.Tenant == tenant && !slices.Contains(n.Events, name) && slices.ContainsFunc(u.deliveries, func(d schemas.Event) bool {
				return d.Tenant == tenant && d.Source == e.Source && d.ID == e.ID && d.OccurredMS() < before[tenant]
			}) {
				n.Count, n.Events = n.Count+1, append(n.Events, name)
			}
		}
		if slices.SortFunc(n.Events, aggregate.EventName.Compare); n.Count > 0 {
			all = append(all, n)
		}
	}
	return all, nil
}

func (u *fakeUsage) UnknownTenants(context.Context) ([]string, error) { return u.held, nil }

// AtPeaks finds what the reference has live there.
func (u *fakeUsage) AtPeaks(_ context.Context, in aggregate.Inputs, peaks []aggregate.PeakAt) (all []aggregate.AtPeak,
	_ error) {
	for _, p := range peaks {
		at := aggregate.AtPeak{PeakAt: p}
		for _, c := range aggregate.ResolveRevisions(u.deliveries) {
			a := in.Timelines.Attribute(&c.Event)
			if from, to := in.Rules.Live(&c.Event, in.NowMS); c.Tenant == p.Tenant && c.Counts(a) && a.Meter == p.Meter &&
				from <= p.AtMS && p.AtMS < to {
				at.Agents = append(at.Agents, c.Agent)
				if c.EndMS == schemas.Absent {
					at.Open++
					at.OpenEvents = append(at.OpenEvents, aggregate.EventName{Source: c.Source, ID: c.ID})
				}
			}
		}
		all = append(all, at)
	}
	return all, nil
}

// fakeLedger is the registry's log, and the lines of what is issued on it, in memory.
type fakeLedger struct {
	mu      sync.Mutex
	state   registry.State
	states  []registry.State // those before the commands, by their offset
	lines   map[uuid.UUID][]billing.Invoice
	asked   int // how often something was claimed
	read    int // how often lines were read
	failing error
	before  func() // what else happens before a claim
}

func newFakeLedger() *fakeLedger {
	return &fakeLedger{states: []registry.State{{}}, lines: map[uuid.UUID][]billing.Invoice{}}
}

// give gives a command as a record, and returns the verdict.
func (l *fakeLedger) give(c registry.Command) registry.Verdict {
	record, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	var verdict registry.Verdict
	l.state, verdict = l.state.Apply(l.state.Offset()+1, registry.DecodeCommand(record))
	l.states = append(l.states, l.state)
	return verdict
}

// chain returns the issues of a tenant.
func (l *fakeLedger) chain(tenant string) []billing.Issue {
	chain, err := billing.Issues(l.state, tenant)
	if err != nil {
		panic(err)
	}
	return chain
}

func (l *fakeLedger) CatchUp(context.Context) (registry.State, error) { return l.state, nil }

func (l *fakeLedger) At(offset int64) (registry.State, error) { return l.states[offset], nil }

func (l *fakeLedger) Claim(_ context.Context, claims []registry.Command) (registry.State, error) {
	if before := l.before; before != nil {
		l.before = nil
		before()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.failing != nil {
		return registry.State{}, l.failing
	}
	for _, c := range claims {
		l.give(c)
	}
	return l.state, nil
}

func (l *fakeLedger) Write(_ context.Context, issues []billing.Issue) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range issues {
		l.lines[i.ID] = i.Invoices
	}
	return nil
}

func (l *fakeLedger) Delete(_ context.Context, issues []billing.Issue) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range issues {
		delete(l.lines, i.ID)
	}
	return nil
}

func (l *fakeLedger) Invoices(_ context.Context, issues []billing.Issue) (map[uuid.UUID][]billing.Invoice, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read++
	invoices := map[uuid.UUID][]billing.Invoice{}
	for _, i := range issues {
		invoices[i.ID] = l.lines[i.ID]
	}
	return invoices, nil
}

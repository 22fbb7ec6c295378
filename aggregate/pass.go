package aggregate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"apportion/schemas/civil"
	"apportion/schemas/timeline"
	"apportion/schemas/traces"
)

// Snapshot is the registry as of one offset of its command log.
type Snapshot struct {
	// RegistryOffset is the one after that of the last command that changed a tenant.
	RegistryOffset int64
	Tenants        []Tenant
	Timelines      Timelines
}

// Tenant is what a pass needs to know of a tenant besides its timelines.
type Tenant struct {
	ID string
	// Version is the offset of the last command that changed the tenant.
	Version int64
	// ChangedFrom returns the first date of which the commands from an offset on changed anything, and NoDate where it may
	// be any date; nil: any.
	ChangedFrom func(offset int64) civil.Date
}

// Changed is a tenant whose usage is to be computed again: of the sessions and Connect usage that begin at an instant
// or later, since only these are attributed otherwise (R9, R10), on all the days that they are on.
type Changed struct {
	Tenant string
	FromMS int64 // UTC epoch milliseconds; [timeline.Start] for all, days without deliveries included
}

// changed returns what is to be computed again of a tenant for the commands from an offset on.
func (t Tenant) changed(offset int64, zone *civil.Zone) Changed {
	if t.ChangedFrom != nil && zone != nil {
		if date := t.ChangedFrom(offset); date != civil.NoDate {
			return Changed{t.ID, zone.Start(date)}
		}
	}
	return Changed{t.ID, timeline.Start}
}

// Pass is a pass of aggregation. Its number orders passes by what they are based on: a pass that knows more has the
// higher one and wins the days that both compute, whichever is done first (see number).
type Pass struct {
	Basis
	// Attempt distinguishes two passes of one number, and two attempts at a pass.
	Attempt uuid.UUID
	// Behind are the tenants whose days could not be computed, in byte order: their figures are older than the pass.
	// Each later pass tries them again.
	Behind []Behind
}

// Behind is a tenant that a pass left behind, and why.
type Behind struct{ Tenant, Reason string }

// BehindOn returns why a pass left a tenant behind, and whether it did.
func (p Pass) BehindOn(tenant string) (reason string, behind bool) {
	at := slices.IndexFunc(p.Behind, func(b Behind) bool { return b.Tenant == tenant })
	if at < 0 {
		return "", false
	}
	return p.Behind[at].Reason, true
}

// ParsedRules returns the rules of the pass, and the default ones before the first.
func (p Pass) ParsedRules() (Rules, error) {
	if len(p.Rules) == 0 {
		return DefaultRules(), nil
	}
	return ParseRules(p.Rules)
}

// sameRules reports whether two passes have the same rules, time zones included.
func sameRules(a, b Pass) bool { return bytes.Equal(a.Rules, b.Rules) && a.TZVersion == b.TZVersion }

// Fault is an error that comes from what is to be computed, and not from where: it concerns the tenant alone whose
// usage it is, while one that is no Fault may be over by itself.
type Fault struct{ Err error }

func (f *Fault) Error() string { return f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

// Store keeps usage and its daily figures; aggregate/clickhouse has the one there is.
type Store interface {
	// LastPass returns the pass that finished last, and the zero Pass before the first.
	LastPass(ctx context.Context) (Pass, error)
	// Positions returns the end of the ledger, in the order of topic and partition.
	Positions(ctx context.Context) ([]Position, error)
	// DirtyDays returns, of each shard, by tenant, the UTC dates that are dirty by any delivery up to the given
	// positions of any event that has a delivery after the earlier ones, or by any delivery of what has changed of
	// tenants; and how many deliveries are on each. It may return more. Nil for the earlier ones: since the beginning. A
	// tenant is on one shard, and there may be one shard only.
	DirtyDays(ctx context.Context, after, upTo []Position, changed []Changed, rules Rules) (
		[]map[string]map[civil.Date]int64, error)
	// Recompute computes days of tenants of one shard, which is numbered from 0, from the deliveries up to the pass's
	// positions, and makes them current. The days of each tenant are in order. Of a tenant that the registry does not
	// know a day is a whole month of UTC, whose deliveries are counted as of an unknown tenant (R22). The error is a
	// *[Fault] where the days themselves are at fault.
	Recompute(ctx context.Context, shard int, pass Pass, days []Day, timelines Timelines, rules Rules) error
	// Finish records that every day of the pass is current, and may clear away figures that no longer are.
	Finish(ctx context.Context, pass Pass) error
}

// Report is what a pass did.
type Report struct {
	Pass uint64 `json:"pass"`
	// Days counts the tenant days that were computed again; 0 when everything was current.
	Days int `json:"days"`
	// Behind are the tenants left behind, see [Pass].
	Behind []Behind `json:"behind,omitempty"`
}

// Refresh brings the daily figures up to date with the ledger and the registry, computing only the days that
// something has dirty since the last pass. It can be stopped anywhere, run again, and run twice at once:
// days become current one by one, whole, and a pass that did not finish is simply made again. A tenant whose days
// cannot be computed is left behind alone. Progress,
// which may be nil, is called with the days done and the days there are, never twice at once.
func Refresh(ctx context.Context, store Store, registry Snapshot, rules Rules, progress func(done, total int)) (
	report Report, err error) {
	last, err := store.LastPass(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	positions, err := store.Positions(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("reading the ledger: %w", err)
	}
	pass := newPass(registry, positions, rules)
	pass.Pass = number(pass, last)
	after, changed, current := registry.since(last, pass)
	if current {
		return Report{Pass: last.Pass, Behind: last.Behind}, nil
	}
	ctx, span := traces.Begin(ctx, "pass")
	defer func() {
		span.Count("days", report.Days)
		span.End(err)
	}()
	dirty, err := store.DirtyDays(ctx, after, positions, changed, rules)
	if err != nil {
		return Report{}, fmt.Errorf("finding the days to compute: %w", err)
	}
	ofShards := make([][][]Day, len(dirty))
	for shard, dates := range dirty {
		ofShards[shard] = chunks(dates, registry.Timelines)
	}
	report, err = recomputeAll(ctx, store, pass, ofShards, registry.Timelines, rules, progress)
	if err != nil {
		return report, err
	}
	pass.Behind = report.Behind
	if err := store.Finish(ctx, pass); err != nil {
		return report, fmt.Errorf("recording the pass of aggregation: %w", err)
	}
	return report, nil
}

// since returns what a pass adds to the last one: the deliveries behind some positions, and what has changed of the
// tenants. There is nothing to add where the last one is current.
func (r Snapshot) since(last, pass Pass) (after []Position, changed []Changed, current bool) {
	commanded := false // whether a command has changed any tenant since
	for _, t := range r.Tenants {
		since := t.Version >= last.RegistryOffset
		if _, behind := last.BehindOn(t.ID); behind {
			changed = append(changed, Changed{t.ID, timeline.Start})
		} else if since {
			changed = append(changed, t.changed(last.RegistryOffset, r.Timelines.Zone(t.ID)))
		}
		commanded = commanded || since
	}
	after = last.Positions
	if !sameRules(pass, last) {
		after = nil
	}
	// A registry that is behind has nothing to add.
	return after, changed, r.RegistryOffset < last.RegistryOffset ||
		r.RegistryOffset == last.RegistryOffset && !commanded && slices.Equal(after, pass.Positions)
}

// newPass returns the pass, without a number, of a registry and a ledger.
func newPass(registry Snapshot, positions []Position, rules Rules) Pass {
	return Pass{Attempt: uuid.New(), Basis: Basis{
		RegistryOffset: registry.RegistryOffset, Positions: positions, Rules: rules.JSON(), TZVersion: civil.Edition(),
	}}
}

// DirtyCounter counts the days that a pass would compute; aggregate/clickhouse has the one there is.
type DirtyCounter interface {
	LastPass(ctx context.Context) (Pass, error)
	Positions(ctx context.Context) ([]Position, error)
	CountDirty(ctx context.Context, after, upTo []Position, changed []Changed, rules Rules) (int, error)
}

// CountDirty counts the days of tenants, by dates of UTC, that a pass would compute now.
func CountDirty(ctx context.Context, store DirtyCounter, registry Snapshot, rules Rules) (int, error) {
	last, err := store.LastPass(ctx)
	if err != nil {
		return 0, err
	}
	positions, err := store.Positions(ctx)
	if err != nil {
		return 0, err
	}
	after, changed, current := registry.since(last, newPass(registry, positions, rules))
	if current {
		return 0, nil
	}
	return store.CountDirty(ctx, after, positions, changed, rules)
}

// Refresher returns what refreshes a store and says which pass its figures are of then, which another process may have
// made.
func Refresher(store Store, rules Rules) func(ctx context.Context, registry Snapshot) (Pass, error) {
	return func(ctx context.Context, registry Snapshot) (Pass, error) {
		if _, err := Refresh(ctx, store, registry, rules, nil); err != nil {
			return Pass{}, err
		}
		pass, err := store.LastPass(ctx)
		if err != nil {
			return Pass{}, fmt.Errorf("reading the last pass of aggregation: %w", err)
		}
		return pass, nil
	}
}

// recomputeAll computes the pieces of every shard, the shards at once, and returns whom that has left behind, in byte
// order.
func recomputeAll(ctx context.Context, store Store, pass Pass, ofShards [][][]Day, timelines Timelines, rules Rules,
	progress func(done, total int)) (Report, error) {
	total := 0
	for _, chunks := range ofShards {
		for _, days := range chunks {
			total += len(days)
		}
	}
	report := Report{Pass: pass.Pass}
	if progress == nil {
		progress = func(int, int) {}
	}
	progress(0, total)
	var mu sync.Mutex
	shards, ctx := errgroup.WithContext(ctx)
	for shard, chunks := range ofShards {
		shards.Go(func() error {
			for _, days := range chunks {
				behind, err := recompute(days, func(days []Day) error {
					// What an attempt that failed has left of a day must not be taken for the next one's.
					attempt := pass
					attempt.Attempt = uuid.New()
					return store.Recompute(ctx, shard, attempt, days, timelines, rules)
				})
				if err != nil {
					return err
				}
				mu.Lock()
				report.Behind = append(report.Behind, behind...)
				report.Days += len(days)
				progress(report.Days, total)
				mu.Unlock()
			}
			return nil
		})
	}
	err := shards.Wait()
	slices.SortFunc(report.Behind, func(x, y Behind) int { return cmp.Compare(x.Tenant, y.Tenant) })
	report.Behind = slices.CompactFunc(report.Behind, func(x, y Behind) bool { return x.Tenant == y.Tenant })
	return report, err
}

// recompute computes days and, where they are at fault, those of each half of their tenants by themselves, until it is
// known which tenants are to be left behind.
func recompute(days []Day, do func([]Day) error) ([]Behind, error) {
	err := do(days)
	var fault *Fault
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &fault):
		return nil, fmt.Errorf("computing %d days from %s on: %w", len(days), days[0].Date, err)
	}
	var tenants []string
	for _, d := range days {
		tenants = append(tenants, d.Tenant)
	}
	slices.Sort(tenants)
	if tenants = slices.Compact(tenants); len(tenants) == 1 {
		return []Behind{{tenants[0], fmt.Sprintf("%s to %s: %v", days[0].Date, days[len(days)-1].Date, fault)}}, nil
	}
	var all []Behind
	for _, half := range [][]string{tenants[:len(tenants)/2], tenants[len(tenants)/2:]} {
		of := slices.DeleteFunc(slices.Clone(days), func(d Day) bool { return !slices.Contains(half, d.Tenant) })
		behind, err := recompute(of, do)
		if err != nil {
			return nil, err
		}
		all = append(all, behind...)
	}
	return all, nil
}

// number orders passes by what they are based on: by the registry first, and by the sum of the offsets of the ledger
// among those of one registry. Both only ever grow. So of two passes that are under way at once the days of the one
// with the newer registry are current, whichever ends first; where it knew less of the ledger, the next pass goes on
// from there. If both were added, a pass with an older registry and a newer ledger could leave days of that registry
// current for good. A change of the configured rules adds one, for good, since nothing else may have changed.
func number(pass, last Pass) uint64 {
	n := rank(pass) + last.Pass - rank(last)
	if len(last.Rules) > 0 && !sameRules(pass, last) {
		n++
	}
	return n
}

// ledgerBits of a number are for the ledger, 275 billion deliveries; the others for 67 million registry commands.
const ledgerBits = 38

func rank(p Pass) uint64 {
	n := uint64(p.RegistryOffset) << ledgerBits
	for _, position := range p.Positions {
		n += uint64(position.LastOffset + 1)
	}
	return n
}

// MostDeliveries is how many deliveries one query should read: what it holds in memory grows with them.
const MostDeliveries = 4_000_000

// MostDates is how many dates of tenants go along with one query: those that it computes, and before each stretch
// of them the lookBack dates on which a session that reaches into it can have started.
const (
	MostDates = 400_000
	lookBack  = 32
)

// run is a stretch of days of a tenant that follow one another.
type run struct {
	days   []Day
	weight int64 // the deliveries
}

// months returns the months of UTC that dates of a tenant that the registry does not know lie in: its deliveries are
// counted by these (R22).
func months(tenant string, dates map[civil.Date]int64) []run {
	of := map[civil.Month]int64{}
	for date, n := range dates {
		of[date.Month()] += n
	}
	var runs []run
	for _, month := range slices.Sorted(maps.Keys(of)) {
		first, next := month.First(), month.Next().First()
		runs = append(runs, run{[]Day{{tenant, first, civil.UTC.Start(first), civil.UTC.Start(next)}}, of[month]})
	}
	return runs
}

// chunks gives every dirty date of UTC its dates in the zone of the tenant (of a tenant that the registry does not
// know: its month), cut into pieces for a query each: bounded by the deliveries that it reads and by the dates that go
// along with it, and by nothing else, so that usage of a thousand far dates costs no more queries than that of one.
func chunks(dirty map[string]map[civil.Date]int64, timelines Timelines) [][]Day {
	var runs []run
	for _, tenant := range slices.Sorted(maps.Keys(dirty)) {
		zone := timelines.Zone(tenant)
		if zone == nil {
			runs = append(runs, months(tenant, dirty[tenant])...)
			continue
		}
		runs = append(runs, runsOf(tenant, zone, dirty[tenant])...)
	}
	// Stretches that begin together go together: then a query reads few dates that it does not need.
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(a.days[0].Date, b.days[0].Date) })
	var cut [][]Day
	var weight int64
	dates := 0
	for i, r := range runs {
		weight, dates = weight+r.weight, dates+len(r.days)+lookBack
		if i == 0 || weight > MostDeliveries || dates > MostDates {
			cut, weight, dates = append(cut, nil), r.weight, len(r.days)+lookBack
		}
		cut[len(cut)-1] = append(cut[len(cut)-1], r.days...)
	}
	return cut
}

// runsOf cuts the days of a tenant where one does not follow the other, or a query would have too much.
func runsOf(tenant string, zone *civil.Zone, dirty map[civil.Date]int64) []run {
	weights := map[civil.Date]int64{}
	for utc, n := range dirty {
		// Ahead of UTC or behind, two dates have a part of it. Either may have all of its deliveries.
		first, last := zone.DateOf(civil.UTC.Start(utc)), zone.DateOf(civil.UTC.Start(utc+1)-1)
		for date := first; date <= last; date++ {
			weights[date] = max(weights[date], n)
		}
	}
	var runs []run
	for _, date := range slices.Sorted(maps.Keys(weights)) {
		for _, day := range Days(tenant, zone, date, date+1) {
			if last := len(runs) - 1; last >= 0 && follows(runs[last].days, day) &&
				runs[last].weight+weights[date] <= MostDeliveries && len(runs[last].days)+lookBack < MostDates {
				runs[last].days, runs[last].weight = append(runs[last].days, day), runs[last].weight+weights[date]
			} else {
				runs = append(runs, run{[]Day{day}, weights[date]})
			}
		}
	}
	return runs
}

// follows reports whether a day comes right after others.
func follows(days []Day, day Day) bool { return days[len(days)-1].ToMS == day.FromMS }

// Days returns the dates `[from, to)` of a tenant as stretches of time, without those that its zone skips.
func Days(tenant string, zone *civil.Zone, from, to civil.Date) []Day {
	var days []Day
	for date := from; date < to; date++ {
		if start, end := zone.Start(date), zone.Start(date+1); start < end {
			days = append(days, Day{tenant, date, start, end})
		}
	}
	return days
}

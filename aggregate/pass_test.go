package aggregate

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// fakeStore has a ledger and what is dirty as the test says, and notes what it is asked to do.
type fakeStore struct {
	last      Pass
	positions []Position
	dirty     map[string]map[civil.Date]int64
	failing   error // of Recompute

	askedAfter   []Position
	askedTenants []string
	askedFrom    []Changed
	recomputed   [][]Day
	finished     int
}

func (s *fakeStore) LastPass(context.Context) (Pass, error)        { return s.last, nil }
func (s *fakeStore) Positions(context.Context) ([]Position, error) { return s.positions, nil }

func (s *fakeStore) DirtyDays(_ context.Context, after, _ []Position, changed []Changed, _ Rules) ([]map[string]map[civil.Date]int64, error) {
	s.askedAfter, s.askedFrom, s.askedTenants = after, changed, nil
	for _, c := range changed {
		s.askedTenants = append(s.askedTenants, c.Tenant)
	}
	return []map[string]map[civil.Date]int64{s.dirty}, nil
}

func (s *fakeStore) Recompute(_ context.Context, _ int, _ Pass, days []Day, _ Timelines, _ Rules) error {
	s.recomputed = append(s.recomputed, days)
	return s.failing
}

func (s *fakeStore) Finish(_ context.Context, pass Pass) error {
	s.last, s.finished = pass, s.finished+1
	return nil
}

// refresh makes a pass, and forgets what the store was asked to do before it.
func (s *fakeStore) refresh(t *testing.T, registry Snapshot, rules Rules) (Report, error) {
	t.Helper()
	s.askedAfter, s.askedTenants, s.recomputed, s.finished = nil, nil, nil, 0
	return Refresh(t.Context(), s, registry, rules, func(int, int) {})
}

func (s *fakeStore) mustRefresh(t *testing.T, registry Snapshot, rules Rules) Report {
	t.Helper()
	report, err := s.refresh(t, registry, rules)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func zone(t *testing.T, name string) *civil.Zone {
	t.Helper()
	z, err := civil.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// twoTenants is a registry after its first two commands, and offset 2 to come.
func twoTenants(t *testing.T) Snapshot {
	t.Helper()
	s := Snapshot{RegistryOffset: 2, Tenants: []Tenant{
		{ID: "acme", Version: 0},
		{ID: "beta", Version: 1},
	}}
	s.Timelines = Timelines{"acme": {Zone: zone(t, "Asia/Tokyo")}, "beta": {Zone: zone(t, "America/New_York")}}
	return s
}

// current is a store whose last pass took in all there is.
func current(t *testing.T) *fakeStore {
	t.Helper()
	s := &fakeStore{positions: []Position{{"usage.agent.v1", 0, 41}}}
	s.mustRefresh(t, twoTenants(t), DefaultRules())
	if s.last.Pass != 2<<38+42 || s.finished != 1 {
		t.Fatalf("the first pass is %d, finished %d times", s.last.Pass, s.finished)
	}
	return s
}

func date(year, month, day int) civil.Date { return civil.NewDate(year, month, day) }

func TestRefreshWithNothingNew(t *testing.T) {
	s := current(t)
	s.dirty = map[string]map[civil.Date]int64{"acme": {date(2026, 10, 14): 1}} // what it must not come to ask for
	if report := s.mustRefresh(t, twoTenants(t), DefaultRules()); !reflect.DeepEqual(report, Report{Pass: 2<<38 + 42}) || len(s.recomputed) != 0 || s.finished != 0 {
		t.Errorf("%+v, %d months computed, finished %d times; want the pass to stay", report, len(s.recomputed), s.finished)
	}
}

// TestPassThatKnowsMoreHasTheHigherNumber: of two passes under way at once the days of the one that knows more win,
// whichever ends first.
func TestPassThatKnowsMoreHasTheHigherNumber(t *testing.T) {
	registry := twoTenants(t)
	slow, quick := current(t), current(t)
	slow.positions = []Position{{"usage.agent.v1", 0, 50}}
	quick.positions = []Position{{"usage.agent.v1", 0, 50}, {"usage.ivr.v1", 0, 0}}
	a, b := slow.mustRefresh(t, registry, DefaultRules()), quick.mustRefresh(t, registry, DefaultRules())
	if a.Pass != 2<<38+51 || b.Pass != 2<<38+52 {
		t.Errorf("numbers %d and %d, want the second to be one more", a.Pass, b.Pass)
	}
}

// TestRefreshAfterMappings: of a tenant whose mappings were set from a date on what begins before is not asked for.
func TestRefreshAfterMappings(t *testing.T) {
	s, registry := current(t), twoTenants(t)
	registry.RegistryOffset = 4
	registry.Tenants = slices.Clone(registry.Tenants)
	acme := slices.IndexFunc(registry.Tenants, func(t Tenant) bool { return t.ID == "acme" })
	registry.Tenants[acme] = Tenant{ID: "acme", Version: 3, ChangedFrom: func(offset int64) civil.Date {
		if offset != 2 {
			t.Errorf("asked for the commands from %d on, want 2", offset)
		}
		return date(2026, 10, 14)
	}}
	s.mustRefresh(t, registry, DefaultRules())
	// 00:00 in Tokyo is 15:00 on the day before.
	want := []Changed{{"acme", civil.UTC.Start(date(2026, 10, 13)) + 15*3600_000}}
	if !slices.Equal(s.askedFrom, want) {
		t.Errorf("asked for %v, want %v", s.askedFrom, want)
	}
	s.last.Behind, s.positions = []Behind{{"acme", "why"}}, []Position{{"usage.agent.v1", 0, 50}}
	if s.mustRefresh(t, registry, DefaultRules()); !slices.Equal(s.askedFrom, []Changed{{"acme", timeline.Start}}) {
		t.Errorf("of a tenant left behind %v was asked for", s.askedFrom)
	}
}

func TestRefreshAfterNewDeliveries(t *testing.T) {
	s := current(t)
	before := s.positions
	s.positions = []Position{{"usage.agent.v1", 0, 50}}
	s.dirty = map[string]map[civil.Date]int64{"acme": {date(2026, 10, 14): 1}}
	report := s.mustRefresh(t, twoTenants(t), DefaultRules())
	if !reflect.DeepEqual(report, Report{Pass: 2<<38 + 51, Days: 2}) || !slices.Equal(s.last.Positions, s.positions) {
		t.Errorf("%+v up to %v; want pass 2<<38+51, 2 days up to %v", report, s.last.Positions, s.positions)
	}
	if !slices.Equal(s.askedAfter, before) || len(s.askedTenants) != 0 {
		t.Errorf("asked what is new after %v or of %q, want after %v, and no tenant whole", s.askedAfter, s.askedTenants, before)
	}
	// 14 October of UTC is 09:00 on the 14th to 09:00 on the 15th in Tokyo.
	const day = 86400_000
	from := civil.UTC.Start(date(2026, 10, 13)) + 15*3600_000
	want := [][]Day{{{"acme", date(2026, 10, 14), from, from + day}, {"acme", date(2026, 10, 15), from + day, from + 2*day}}}
	if !reflect.DeepEqual(s.recomputed, want) {
		t.Errorf("computed %v, want %v", s.recomputed, want)
	}
}

// TestRefreshPieceByPiece: days go into one query, whatever their dates, but for more deliveries than a query should
// read. Of a tenant that the registry does not know a day is a month.
func TestRefreshPieceByPiece(t *testing.T) {
	s := current(t)
	s.positions = []Position{{"usage.agent.v1", 0, 50}}
	s.dirty = map[string]map[civil.Date]int64{
		"acme":   {date(2026, 10, 31): 1},                       // of Tokyo's October and November
		"beta":   {date(2026, 10, 2): 1, date(2026, 10, 20): 1}, // each of two dates in New York
		"nobody": {date(2026, 11, 7): MostDeliveries - 4, date(2026, 11, 8): 1, date(2026, 12, 8): MostDeliveries},
	}
	var progress []string
	report, err := Refresh(t.Context(), s, twoTenants(t), DefaultRules(), func(done, total int) { progress = append(progress, fmt.Sprintf("%d/%d", done, total)) })
	if err != nil || report.Days != 8 {
		t.Fatalf("%+v, %v; want 8 days", report, err)
	}
	var got []string
	for _, piece := range s.recomputed {
		var days []string
		for _, d := range piece {
			days = append(days, d.Tenant+" "+d.Date.String())
		}
		got = append(got, strings.Join(days, ", "))
	}
	want := []string{
		"beta 2026-10-01, beta 2026-10-02, beta 2026-10-19, beta 2026-10-20, acme 2026-10-31, acme 2026-11-01",
		"nobody 2026-11-01",
		"nobody 2026-12-01",
	}
	if !slices.Equal(got, want) {
		t.Errorf("computed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := []string{"0/8", "6/8", "7/8", "8/8"}; !slices.Equal(progress, want) {
		t.Errorf("progress %q, want %q", progress, want)
	}
}

// TestRefreshOfUnknownTenant: deliveries are counted by months of UTC (R22).
func TestRefreshOfUnknownTenant(t *testing.T) {
	s := current(t)
	s.positions = []Position{{"usage.agent.v1", 0, 50}}
	s.dirty = map[string]map[civil.Date]int64{"nobody": {date(2026, 10, 14): 1}}
	s.mustRefresh(t, twoTenants(t), DefaultRules())
	from := civil.UTC.Start(date(2026, 10, 1))
	if want := [][]Day{{{"nobody", date(2026, 10, 1), from, from + 31*86400_000}}}; !reflect.DeepEqual(s.recomputed, want) {
		t.Errorf("computed %v, want %v", s.recomputed, want)
	}
}

func TestRefreshAfterAChangedTenant(t *testing.T) {
	s := current(t)
	registry := twoTenants(t)
	registry.RegistryOffset, registry.Tenants[1].Version = 3, 2
	s.mustRefresh(t, registry, DefaultRules())
	if !slices.Equal(s.askedTenants, []string{"beta"}) || !slices.Equal(s.askedAfter, s.positions) {
		t.Errorf("asked for all of %q and what is new after %v, want all of beta alone", s.askedTenants, s.askedAfter)
	}
	if s.last.RegistryOffset != 3 {
		t.Errorf("the pass is based on the registry at %d, want 3", s.last.RegistryOffset)
	}
}

// TestRefreshAfterARefusedCommand: the days stand, and are based on the registry as it is now, or the period could
// not be issued.
func TestRefreshAfterARefusedCommand(t *testing.T) {
	s := current(t)
	registry := twoTenants(t)
	registry.RegistryOffset = 3
	report := s.mustRefresh(t, registry, DefaultRules())
	if !reflect.DeepEqual(report, Report{Pass: 3<<38 + 42}) || len(s.askedTenants) != 0 || len(s.recomputed) != 0 || s.last.RegistryOffset != 3 {
		t.Errorf("%+v, all of %q, %d months, on the registry at %d; want a pass of no days at 3", report, s.askedTenants, len(s.recomputed), s.last.RegistryOffset)
	}
}

// TestRefreshByAnOlderRegistry: a replica that is behind leaves the days of one that is not alone.
func TestRefreshByAnOlderRegistry(t *testing.T) {
	s := current(t)
	registry := twoTenants(t)
	registry.RegistryOffset, registry.Tenants = 1, registry.Tenants[:1]
	if report := s.mustRefresh(t, registry, DefaultRules()); !reflect.DeepEqual(report, Report{Pass: 2<<38 + 42}) || s.last.RegistryOffset != 2 {
		t.Errorf("%+v on the registry at %d, want the pass at 2 to stand", report, s.last.RegistryOffset)
	}
}

func TestRefreshAfterOtherRules(t *testing.T) {
	s := current(t)
	s.dirty = map[string]map[civil.Date]int64{"acme": {date(2026, 10, 14): 1}}
	report := s.mustRefresh(t, twoTenants(t), Rules{OpenSessionHours: 12})
	if s.askedAfter != nil || !reflect.DeepEqual(report, Report{Pass: 2<<38 + 43, Days: 2}) {
		t.Errorf("asked what is new after %v, %+v; want everything since the beginning", s.askedAfter, report)
	}
	if again := s.mustRefresh(t, twoTenants(t), Rules{OpenSessionHours: 12}); !reflect.DeepEqual(again, Report{Pass: 2<<38 + 43}) {
		t.Errorf("%+v, want the pass to stay", again)
	}
}

// TestRefreshThatFails: a pass that did not finish is repeated, whole.
func TestRefreshThatFails(t *testing.T) {
	s := current(t)
	s.positions = []Position{{"usage.agent.v1", 0, 50}}
	s.dirty = map[string]map[civil.Date]int64{"acme": {date(2026, 10, 14): 1}, "beta": {date(2026, 11, 14): 1}}
	s.failing = errors.New("no connection")
	if _, err := s.refresh(t, twoTenants(t), DefaultRules()); !errors.Is(err, s.failing) || s.finished != 0 || len(s.recomputed) != 1 {
		t.Fatalf("%v, finished %d times, %d months computed; want the failure, no end, and no month after it", err, s.finished, len(s.recomputed))
	}
	s.failing = nil
	if report := s.mustRefresh(t, twoTenants(t), DefaultRules()); !reflect.DeepEqual(report, Report{Pass: 2<<38 + 51, Days: 4}) || s.finished != 1 {
		t.Errorf("%+v, finished %d times; want the pass with all 4 days", report, s.finished)
	}
}

// TestDays leaves out the date that the zone skips, and gives the one with 25 hours all of them (R17).
func TestDays(t *testing.T) {
	var dates []string
	for _, d := range Days("acme", zone(t, "Pacific/Apia"), date(2011, 12, 29), date(2012, 1, 1)) {
		dates = append(dates, d.Date.String())
	}
	if want := []string{"2011-12-29", "2011-12-31"}; !slices.Equal(dates, want) {
		t.Errorf("dates of Apia %q, want %q", dates, want)
	}
	days := Days("acme", zone(t, "Europe/Stockholm"), date(2026, 10, 25), date(2026, 10, 26))
	if len(days) != 1 || days[0].ToMS-days[0].FromMS != 25*3600_000 {
		t.Errorf("%v, want one day of 25 hours", days)
	}
}

// shardedStore has the tenants on two shards.
type shardedStore struct {
	fakeStore
	mu      sync.Mutex
	tenants [2][]string // computed on each
	failOn  int
}

func (s *shardedStore) DirtyDays(context.Context, []Position, []Position, []Changed, Rules) ([]map[string]map[civil.Date]int64, error) {
	dates := map[civil.Date]int64{date(2026, 9, 14): 1, date(2026, 10, 14): 1} // of one call for Recompute
	return []map[string]map[civil.Date]int64{{"acme": dates}, {"beta": dates}}, nil
}

func (s *shardedStore) Recompute(_ context.Context, shard int, _ Pass, days []Day, _ Timelines, _ Rules) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if shard == s.failOn {
		return errors.New("the shard is away")
	}
	for _, d := range days {
		s.tenants[shard] = append(s.tenants[shard], d.Tenant)
	}
	return nil
}

// TestShardsWorkTheirTenantsOut: each its own, and a pass is over once all of them are done.
func TestShardsWorkTheirTenantsOut(t *testing.T) {
	s := &shardedStore{failOn: 1}
	s.positions = []Position{{"usage.agent.v1", 0, 41}}
	if _, err := Refresh(t.Context(), s, twoTenants(t), DefaultRules(), func(int, int) {}); err == nil || s.finished != 0 {
		t.Errorf("a pass whose second shard fails ends with %v, and was finished %d times", err, s.finished)
	}
	s.failOn, s.tenants = -1, [2][]string{}
	var reached [][2]int
	report, err := Refresh(t.Context(), s, twoTenants(t), DefaultRules(), func(done, total int) { reached = append(reached, [2]int{done, total}) })
	// A date in UTC is on two dates of either zone.
	if want := [2][]string{{"acme", "acme", "acme", "acme"}, {"beta", "beta", "beta", "beta"}}; err != nil || report.Days != 8 || s.finished != 1 || !reflect.DeepEqual(s.tenants, want) {
		t.Errorf("%+v, %v, finished %d times; computed %v, want %v", report, err, s.finished, s.tenants, want)
	}
	if want := [][2]int{{0, 8}, {4, 8}, {8, 8}}; !slices.Equal(reached, want) {
		t.Errorf("progress %v, want %v", reached, want)
	}
}

// faulty is a store that can compute no day of some tenants.
type faulty struct {
	fakeStore
	tenants []string
}

func (s *faulty) Recompute(ctx context.Context, shard int, pass Pass, days []Day, timelines Timelines, rules Rules) error {
	for _, d := range days {
		if slices.Contains(s.tenants, d.Tenant) {
			return &Fault{errors.New("a row is damaged")}
		}
	}
	return s.fakeStore.Recompute(ctx, shard, pass, days, timelines, rules)
}

// TestRefreshLeavesBehind: a tenant whose day fails is left behind alone and tried again by the next pass, and by none
// while nothing changes.
func TestRefreshLeavesBehind(t *testing.T) {
	s := &faulty{tenants: []string{"b", "d"}}
	s.positions = []Position{{"usage.agent.v1", 0, 1}}
	s.dirty = map[string]map[civil.Date]int64{}
	var registry Snapshot
	registry.RegistryOffset = 1
	registry.Timelines = Timelines{}
	for _, tenant := range []string{"a", "b", "c", "d", "e"} {
		s.dirty[tenant] = map[civil.Date]int64{date(2026, 10, 2): 1, date(2030, 10, 2): 1}
		registry.Tenants = append(registry.Tenants, Tenant{ID: tenant})
		registry.Timelines[tenant] = Timeline{Zone: civil.UTC}
	}
	refresh := func() Report {
		t.Helper()
		s.recomputed = nil
		report, err := Refresh(t.Context(), s, registry, DefaultRules(), func(int, int) {})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	report := refresh()
	want := []Behind{{"b", "2026-10-02 to 2030-10-02: a row is damaged"}, {"d", "2026-10-02 to 2030-10-02: a row is damaged"}}
	if !slices.Equal(report.Behind, want) || !slices.Equal(s.last.Behind, want) || report.Days != 10 {
		t.Errorf("%+v, recorded %v; want %v left behind of 10 days", report, s.last.Behind, want)
	}
	days := map[string]int{}
	for _, piece := range s.recomputed {
		for _, d := range piece {
			days[d.Tenant]++
		}
	}
	if want := map[string]int{"a": 2, "c": 2, "e": 2}; !reflect.DeepEqual(days, want) {
		t.Errorf("computed %v, want %v", days, want)
	}
	finished := s.finished
	if report := refresh(); s.finished != finished || !slices.Equal(report.Behind, want) {
		t.Errorf("a look that finds nothing new gives %+v and made a pass", report)
	}
	s.positions, s.tenants = []Position{{"usage.agent.v1", 0, 2}}, []string{"d"}
	refresh()
	if !slices.Equal(s.askedTenants, []string{"b", "d"}) || len(s.last.Behind) != 1 || s.last.Behind[0].Tenant != "d" {
		t.Errorf("asked for %q, then left behind %v; want b and d, then d", s.askedTenants, s.last.Behind)
	}
}

// A fault of the server is nobody's: the pass is repeated.
func TestRefreshOfAServerThatFails(t *testing.T) {
	s := &shardedStore{failOn: 0}
	s.positions = []Position{{"usage.agent.v1", 0, 41}}
	if _, err := Refresh(t.Context(), s, twoTenants(t), DefaultRules(), func(int, int) {}); err == nil || s.finished != 0 {
		t.Errorf("the pass ends with %v, and was finished %d times; want an error, and none", err, s.finished)
	}
}

package service

import (
	"context"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// FigureStore has usage as people read it; aggregate/clickhouse has it.
type FigureStore interface {
	// LastPass returns the pass that finished last, and the zero Pass before the first.
	LastPass(ctx context.Context) (aggregate.Pass, error)
	// LastFinished returns when the last pass finished, in UTC epoch milliseconds, and whether any has.
	LastFinished(ctx context.Context) (ms int64, finished bool, err error)
	// Positions returns the end of the ledger, in the order of topic and partition.
	Positions(ctx context.Context) ([]aggregate.Position, error)
	// LaggingSince returns when the oldest change was taken in that no finished pass is based on, in UTC epoch
	// milliseconds, and whether there is any. LaggingBehind returns the same of a pass.
	LaggingSince(ctx context.Context) (sinceMS int64, found bool, err error)
	LaggingBehind(ctx context.Context, pass aggregate.Pass) (sinceMS int64, found bool, err error)
	// CountDirty counts the dates of tenants, in UTC, that are dirty by deliveries after some positions and up to others,
	// or that belong to one of the tenants.
	CountDirty(ctx context.Context, after, upTo []aggregate.Position, changed []aggregate.Changed, rules aggregate.Rules) (
		int, error)
	// Readings returns the usage of a tenant that is asked for, as the current figures have it, by its keys.
	Readings(ctx context.Context, ask aggregate.ReadingFilter) ([]aggregate.Reading, error)
	// CurvesOf returns the concurrency over the dates `[from, to)` of a tenant, as the current figures have it, in the
	// order of date, meter and subscription; one without anybody live has no curve.
	CurvesOf(ctx context.Context, tenant string, of aggregate.CurveFilter, from, to civil.Date) ([]aggregate.Curve, error)
	// Sessions finds who is live on the days until the now of the inputs, from the deliveries within the bound.
	Sessions(ctx context.Context, in aggregate.Inputs) ([]aggregate.LiveSession, error)
}

// Waiting tells how far ingest is; ingest has it.
type Waiting interface {
	// WaitingSince returns when the oldest delivery arrived on Kafka that is not taken in yet, in UTC epoch milliseconds,
	// and whether there is any.
	WaitingSince(ctx context.Context) (sinceMS int64, found bool, err error)
}

// FigureDeps are what figures are read from.
type FigureDeps struct {
	Registry *Registry
	Invoices *Invoices
	Store    FigureStore
	Waiting  Waiting
	Rules    billing.Rules
	Clock    Clock
}

// Figures tells what tenants use: by day and month, over the day, and now (R13, R14).
type Figures struct{ FigureDeps }

// NewFigures returns them; it does nothing yet.
func NewFigures(deps FigureDeps) *Figures { return &Figures{deps} }

// AsOf says how current figures are.
type AsOf struct {
	// RegistryOffset is the one after that of the last command that they are based on and that changed a tenant.
	RegistryOffset int64 `json:"registryOffset" doc:"The offset after the last command that changed a tenant."`
	// Positions are the end of the ledger that they are based on, in the order of topic and partition.
	Positions []aggregate.Position `json:"positions" doc:"The end of the ledger, by topic and partition."`
	// AgeMS is how old the oldest change is that they do not show yet, in milliseconds; 0 where they show all.
	AgeMS int64 `json:"ageMs" doc:"How old the oldest change is that is not shown yet, in milliseconds; 0 where all is."`
}

// asOfPass is how current the daily figures are. It is found out before they are read, so they may know more.
func (s *Figures) asOfPass(ctx context.Context) (AsOf, error) {
	pass, err := s.Store.LastPass(ctx)
	if err != nil {
		return AsOf{}, err
	}
	return s.asOf(ctx, pass)
}

func (s *Figures) asOf(ctx context.Context, pass aggregate.Pass) (AsOf, error) {
	since, lagging, err := s.Store.LaggingBehind(ctx, pass)
	if err != nil {
		return AsOf{}, err
	}
	age, err := s.age(ctx, since, lagging)
	return newAsOf(pass.RegistryOffset, pass.Positions, age), err
}

// asOfLedger is how current figures are that are computed from what the ledger has.
func (s *Figures) asOfLedger(ctx context.Context, registryOffset int64) (AsOf, error) {
	positions, err := s.Store.Positions(ctx)
	if err != nil {
		return AsOf{}, err
	}
	age, err := s.age(ctx, 0, false)
	return newAsOf(registryOffset, positions, age), err
}

func newAsOf(registryOffset int64, positions []aggregate.Position, ageMS int64) AsOf {
	return AsOf{registryOffset, append([]aggregate.Position{}, positions...), ageMS}
}

// age is that of the oldest change, if there is any since an instant, and of the oldest delivery that waits on Kafka.
func (s *Figures) age(ctx context.Context, sinceMS int64, changed bool) (ageMS int64, err error) {
	waiting, found, err := s.Waiting.WaitingSince(ctx)
	if found && (!changed || waiting < sinceMS) {
		sinceMS, changed = waiting, true
	}
	if !changed {
		return 0, err
	}
	return max(0, s.Clock().UnixMilli()-sinceMS), err
}

// zoneOf returns the zone of a tenant, and the date that it is there.
func (s *Figures) zoneOf(t *registry.Tenant) (*civil.Zone, civil.Date, error) {
	zone, err := civil.LoadZone(t.TimeZone)
	if err != nil {
		return nil, civil.NoDate, fmt.Errorf("tenant %s: %w", t.ID, err)
	}
	return zone, zone.DateOf(s.Clock().UnixMilli()), nil
}

// UsageRequest asks for the usage of a tenant.
type UsageRequest struct {
	// From and To are the dates `[From, To)`, in the tenant's zone. To is [civil.NoDate] for all up to today, and From for
	// those of the month of the last. Dates after today are left out.
	From, To civil.Date
	ByMonth  bool
	// Meter and Subscription are empty for all.
	Meter, Subscription string
	After               aggregate.ReadingKey
	Limit               int
}

// UsageFigure is what a subscription, or a tenant as a whole, used of a meter on a date or in a month.
type UsageFigure struct {
	Period civil.Month `json:"period"`
	Date   civil.Date  `json:"date,omitzero" doc:"None where it is of a month."` // none where it is of a month
	Meter  string      `json:"meter"`
	// Subscription is empty for the tenant as a whole, whose peak and agents are not the sums of its subscriptions'.
	Subscription string `json:"subscriptionId" doc:"Empty for the tenant as a whole."`
	Department   string `json:"department,omitempty"`
	// Peak is the greatest concurrency, at PeakAt for the first time, with what was committed then.
	Peak     int64         `json:"peak" doc:"The greatest concurrency."`
	PeakAt   *civil.Millis `json:"peakAt,omitempty" doc:"The first instant that attains the peak."`
	Entitled int64         `json:"entitled" doc:"What was committed on the date of the peak."`
	// Events are the sessions that start then, or the Connect events, and Agents the distinct agents with such a session.
	Events int64 `json:"events" doc:"The sessions that start then, or the Connect events."`
	Agents int64 `json:"agents" doc:"The distinct agents with such a session."`
	// Milliseconds are those of live sessions, of an open one for as long as an issue counts it.
	Milliseconds int64           `json:"milliseconds" doc:"Of live sessions; of an open one as an issue counts it."`
	Units        decimal.Decimal `json:"units" doc:"Units of Connect."` // of Connect

	key aggregate.ReadingKey
}

// Key is what usage figures are in the order of.
func (u UsageFigure) Key() aggregate.ReadingKey { return u.key }

// Usage returns the usage of a tenant, as the daily figures have it, and how current that is.
func (s *Figures) Usage(ctx context.Context, t *registry.Tenant, ask UsageRequest) (
	[]UsageFigure, AsOf, error,
) {
	_, today, err := s.zoneOf(t)
	if err != nil {
		return nil, AsOf{}, err
	}
	to := today.Add(1)
	if ask.To != civil.NoDate {
		to = min(to, ask.To)
	}
	from := ask.From
	if from == civil.NoDate {
		from = to.Add(-1).Month().First()
	}
	asOf, err := s.asOfPass(ctx)
	if err != nil {
		return nil, AsOf{}, err
	}
	readings, err := s.Store.Readings(ctx, aggregate.ReadingFilter{Tenant: t.ID, From: from, To: to, ByMonth: ask.ByMonth,
		Meter: ask.Meter, Subscription: ask.Subscription, After: ask.After, Limit: ask.Limit})
	if err != nil {
		return nil, AsOf{}, err
	}
	all := []UsageFigure{}
	for _, r := range readings {
		u := UsageFigure{Date: civil.NoDate, Meter: r.Meter, Subscription: r.Subscription,
			Department: departmentOf(t, r.Subscription), Peak: r.Peak, Entitled: r.Entitled, Events: r.Events,
			Agents: r.Agents, Milliseconds: r.Milliseconds, Units: r.Units, key: r.ReadingKey}
		if u.Period = civil.Month(r.At); !ask.ByMonth {
			u.Date = civil.Date(r.At)
			u.Period = u.Date.Month()
		}
		if r.Peak > 0 {
			at := civil.Millis(r.PeakMS)
			u.PeakAt = &at
		}
		all = append(all, u)
	}
	return all, asOf, nil
}

func departmentOf(t *registry.Tenant, subscription string) string {
	if s := t.Subscription(subscription); s != nil {
		return s.Name
	}
	return ""
}

// ConcurrencyRequest asks for the concurrency of a tenant over some dates.
type ConcurrencyRequest struct {
	// From and To are the dates `[From, To)`, in the tenant's zone; From is [civil.NoDate] for today, and To for one date.
	From, To       civil.Date
	Meter          string
	BySubscription bool
	Step           time.Duration
}

// Concurrency is that of a tenant over some dates, on one meter (R13).
type Concurrency struct {
	Tenant   string     `json:"tenantId"`
	TimeZone string     `json:"timeZone"`
	Meter    string     `json:"meter"`
	From     civil.Date `json:"from"`
	To       civil.Date `json:"to"`
	StepMS   int64      `json:"stepMs"`
	Series   []Series   `json:"series"`
	AsOf     AsOf       `json:"asOf"`
}

// Series is the concurrency of a tenant as a whole, or of one of its subscriptions.
type Series struct {
	Subscription string `json:"subscriptionId"` // empty for the tenant as a whole
	Department   string `json:"department,omitempty"`
	// Peak is the greatest concurrency, at the first instant that attains it; none where nobody is live.
	Peak *PoolAt `json:"peak,omitempty" doc:"The greatest concurrency, when it is first attained; none without anybody."`
	// Over is where the pool is exceeded by the most, for the first time; none where it never is.
	Over *PoolAt `json:"over,omitempty" doc:"Where the pool is exceeded by the most, the first time (R15)."`
	// Points have the beginning of a step in UTC epoch milliseconds, the greatest concurrency in it, and the pool then: a
	// step for each stretch of a date, from its beginning, until now.
	Points [][3]int64 `json:"points" doc:"Of each step until now: beginning (UTC epoch ms), greatest concurrency, pool."`
}

// PoolAt is a concurrency at an instant, with the pool then: of a subscription what it commits to itself (R14).
type PoolAt struct {
	At   civil.Millis `json:"at"`
	Live int64        `json:"live"`
	Pool int64        `json:"pool"`
}

// Concurrency returns the concurrency of a tenant over some dates, as the daily figures have it.
func (s *Figures) Concurrency(ctx context.Context, t *registry.Tenant, ask ConcurrencyRequest) (*Concurrency, error) {
	zone, today, err := s.zoneOf(t)
	if err != nil {
		return nil, err
	}
	c := &Concurrency{Tenant: t.ID, TimeZone: t.TimeZone, Meter: ask.Meter, From: ask.From, To: ask.To,
		StepMS: ask.Step.Milliseconds(), Series: []Series{}}
	if c.From == civil.NoDate {
		if c.From = today; c.To != civil.NoDate {
			c.From = c.To.Add(-1)
		}
	}
	if c.To == civil.NoDate {
		c.To = c.From.Add(1)
	}
	if c.AsOf, err = s.asOfPass(ctx); err != nil {
		return nil, err
	}
	curves, err := s.Store.CurvesOf(ctx, t.ID, aggregate.CurveFilter{Meter: ask.Meter, BySubscription: ask.BySubscription},
		c.From, c.To)
	if err != nil {
		return nil, err
	}
	type seriesDate struct {
		subscription string
		date         civil.Date
	}
	byDate, used := map[seriesDate]aggregate.Curve{}, map[string]bool{}
	for _, curve := range curves {
		byDate[seriesDate{curve.Subscription, curve.Date}] = curve
		used[curve.Subscription] = true
	}
	days := aggregate.Days(t.ID, zone, c.From, c.To)
	of := []string{""}
	if ask.BySubscription {
		of = subscriptionsOn(t, days, used)
	}
	for _, id := range of {
		series := Series{Subscription: id, Department: departmentOf(t, id), Points: [][3]int64{}}
		for _, d := range days {
			series.add(d, byDate[seriesDate{id, d.Date}], s.poolOf(t, id, ask.Meter, d.Date), c.StepMS, s.Clock().UnixMilli())
		}
		c.Series = append(c.Series, series)
	}
	return c, nil
}

// add adds the steps of a day until now.
func (s *Series) add(day aggregate.Day, curve aggregate.Curve, pool, stepMS, nowMS int64) {
	if day.FromMS > nowMS {
		return
	}
	day.ToMS = min(day.ToMS, nowMS+1)
	curve = curve.Until(day, nowMS)
	for _, p := range curve.Steps(day, stepMS) {
		s.Points = append(s.Points, [3]int64{p.AtMS, p.Live, pool})
	}
	peak := curve.Peak(day)
	at := &PoolAt{civil.Millis(peak.AtMS), peak.Live, pool}
	if peak.Live > 0 && (s.Peak == nil || peak.Live > s.Peak.Live) {
		s.Peak = at
	}
	if peak.Live > pool && (s.Over == nil || peak.Live-pool > s.Over.Live-s.Over.Pool) {
		s.Over = at
	}
}

// poolOf is what a subscription, or with none all that are active, may have live on a date (R14).
func (s *Figures) poolOf(t *registry.Tenant, subscription, meter string, date civil.Date) int64 {
	if subscription == "" {
		return t.Entitlement(date, meter, s.Rules.IVRPortFactor)
	}
	if own := t.Subscription(subscription); own != nil {
		return own.Entitlement(date, meter, s.Rules.IVRPortFactor)
	}
	return 0
}

// subscriptionsOn returns the subscriptions of a tenant that are active on any of the days, or used, in the order of
// the document.
func subscriptionsOn(t *registry.Tenant, days []aggregate.Day, used map[string]bool) (ids []string) {
	for i := range t.Subscriptions {
		id, is := t.Subscriptions[i].ID, used[t.Subscriptions[i].ID]
		for n := 0; n < len(days) && !is; n++ {
			is = t.Subscriptions[i].ActiveOn(days[n].Date)
		}
		if is {
			ids = append(ids, id)
		}
	}
	return ids
}

// Live is what a tenant has live now.
type Live struct {
	Tenant   string       `json:"tenantId"`
	TimeZone string       `json:"timeZone"`
	At       civil.Millis `json:"at"`
	Date     civil.Date   `json:"date"` // of that instant, in the tenant's zone
	Meters   []LiveMeter  `json:"meters"`
	AsOf     AsOf         `json:"asOf"`
}

// LiveMeter is what of one meter is live.
type LiveMeter struct {
	Meter string `json:"meter"`
	Live  int64  `json:"live"`
	Pool  int64  `json:"pool"`
	// Peak is today's until now; none where nobody was live.
	Peak *PoolAt `json:"peak,omitempty" doc:"The peak of today until now; none where nobody was live."`
	// Departments are the subscriptions that are active or have somebody live, in the order of the document.
	Departments []LiveDepartment `json:"departments" doc:"Each subscription that is active or has somebody live."`
	// Points are those of today until now, as [Series] has them, of [LiveStep] each.
	Points [][3]int64 `json:"points" doc:"Of each ten minutes of today: beginning (UTC epoch ms), greatest live, pool."`
}

// LiveDepartment is what of one meter is live in a subscription. An agent with sessions in two counts in each.
type LiveDepartment struct {
	Subscription string `json:"subscriptionId"`
	Department   string `json:"department"`
	Live         int64  `json:"live" doc:"An agent with sessions in two subscriptions counts in each (R13)."`
	Committed    int64  `json:"committed" doc:"What it commits to itself (R14)."`
}

// LiveStep is how long the steps of a day so far are.
const LiveStep = 10 * time.Minute

// Live returns what a tenant has live now, computed from the deliveries that are taken in: open sessions until they
// have lasted as long as they may (R12), and those that have begun and not ended.
func (s *Figures) Live(ctx context.Context, state registry.State, t *registry.Tenant) (*Live, error) {
	zone, today, err := s.zoneOf(t)
	if err != nil {
		return nil, err
	}
	now := s.Clock().UnixMilli()
	live := &Live{Tenant: t.ID, TimeZone: t.TimeZone, At: civil.Millis(now), Date: today, Meters: []LiveMeter{}}
	if live.AsOf, err = s.asOfLedger(ctx, state.Version()); err != nil {
		return nil, err
	}
	snapshot, err := billing.Snapshot(state, s.Rules, t.ID)
	if err != nil {
		return nil, err
	}
	days := aggregate.Days(t.ID, zone, today, today.Add(1))
	sessions, err := s.Store.Sessions(ctx, aggregate.Inputs{
		Days: days, Bound: aggregate.ReadBound{Positions: live.AsOf.Positions, ArrivedBy: aggregate.EndOfTime},
		Timelines: snapshot.Timelines, Rules: s.Rules.Rules,
		NowMS: now + 1, // what ends now is not live now
	})
	if err != nil {
		return nil, err
	}
	for _, meter := range schemas.PooledMeters {
		live.Meters = append(live.Meters, s.liveOn(t, meter, days[0], sessions, now))
	}
	return live, nil
}

// liveOn returns what is live of one meter at an instant of a day, and has been before.
func (s *Figures) liveOn(
	t *registry.Tenant, meter string, day aggregate.Day, sessions []aggregate.LiveSession, now int64,
) LiveMeter {
	var today []aggregate.Interval
	who := map[string]map[string]bool{"": {}} // by subscription; of the whole by none
	for _, l := range sessions {
		if l.Meter != meter {
			continue
		}
		today = append(today, l.Interval)
		if l.From <= now && now < l.To {
			if who[l.Subscription] == nil {
				who[l.Subscription] = map[string]bool{}
			}
			who[""][l.Who], who[l.Subscription][l.Who] = true, true
		}
	}
	m := LiveMeter{Meter: meter, Live: int64(len(who[""])), Pool: s.poolOf(t, "", meter, day.Date),
		Departments: []LiveDepartment{}}
	for _, of := range t.Subscriptions {
		if len(who[of.ID]) > 0 || of.ActiveOn(day.Date) {
			m.Departments = append(m.Departments, LiveDepartment{of.ID, of.Name, int64(len(who[of.ID])),
				s.poolOf(t, of.ID, meter, day.Date)})
		}
	}
	series := Series{Points: [][3]int64{}}
	series.add(day, aggregate.CurveOf(day, today), m.Pool, LiveStep.Milliseconds(), now)
	m.Peak, m.Points = series.Peak, series.Points
	return m
}

// PeriodOverage is how a tenant's usage of a period compares with its pool (R15).
type PeriodOverage struct {
	Tenant   string                 `json:"tenantId"`
	Period   civil.Month            `json:"period"`
	TimeZone string                 `json:"timeZone"`
	Basis    Basis                  `json:"basis"`
	Meters   []billing.MeterOverage `json:"meters"`
	// AsOf is nil where the period is issued: what has come since is on the next issue.
	AsOf *AsOf `json:"asOf,omitempty" doc:"None where the period is issued: what has come since is on the next issue."`
}

// Overage says how a tenant's usage of a period compares with its pool: by what the issue was based on or, where there
// is none, as it stands now.
func (s *Figures) Overage(
	ctx context.Context, state registry.State, t *registry.Tenant, period civil.Month,
) (*PeriodOverage, error) {
	o := &PeriodOverage{Tenant: t.ID, Period: period, TimeZone: t.TimeZone}
	x, err := s.explainer(ctx, state, t, o)
	if err != nil {
		return nil, err
	}
	o.Meters, err = x.Overages(ctx, s.Invoices.Usage, period)
	return o, err
}

// explainer returns what explains a period, and says what that is based on.
func (s *Figures) explainer(
	ctx context.Context, state registry.State, t *registry.Tenant, o *PeriodOverage,
) (*billing.Explainer, error) {
	chain, err := billing.Issues(state, t.ID)
	if err != nil {
		return nil, err
	}
	for _, issue := range chain {
		if issue.Period == o.Period {
			o.Basis = Basis{Issued: true, Basis: issue.Basis.Basis}
			x, err := s.Invoices.explainerOf(issue)
			if err == nil {
				x.Stored = func(ctx context.Context) (bool, error) { return s.unchangedSince(ctx, issue) }
			}
			return x, err
		}
	}
	now := s.Clock().UnixMilli()
	x := &billing.Explainer{
		Tenant: t, Rules: s.Rules, Deliveries: s.Invoices.Usage, Lines: s.Invoices.Lines, NowMS: now,
	}
	pass, err := s.Store.LastPass(ctx)
	if err != nil {
		return nil, err
	}
	asOf, err := s.asOfLedger(ctx, state.Version())
	if err != nil {
		return nil, err
	}
	x.Bound = aggregate.ReadBound{Positions: asOf.Positions, ArrivedBy: aggregate.EndOfTime}
	if s.fits(pass, state, t) {
		x.Stored = func(context.Context) (bool, error) { return true, nil }
		if asOf, err = s.asOf(ctx, pass); err != nil {
			return nil, err
		}
	}
	o.AsOf, o.Basis = &asOf, Basis{Now: civil.FormatMillis(now), Basis: aggregate.Basis{
		RegistryOffset: state.Version(), Positions: x.Bound.Positions, Rules: s.Rules.JSON(), TZVersion: civil.Edition()}}
	return x, nil
}

// unchangedSince reports whether the current figures of an issued period are those that the issue was based on: no
// later pass has computed any of its days, and the passes are not those of recreated tables.
func (s *Figures) unchangedSince(ctx context.Context, issue billing.Issue) (bool, error) {
	later, err := s.Invoices.Usage.MonthsChangedSince(ctx, []string{issue.Tenant}, issue.Pass)
	if err != nil || later[issue.Tenant][issue.Period] > 0 {
		return false, err
	}
	last, err := s.Store.LastPass(ctx)
	return last.Pass >= issue.Pass, err
}

// fits reports whether a pass has a tenant's figures as the registry stands, by the rules and the zones that are
// configured here.
func (s *Figures) fits(pass aggregate.Pass, state registry.State, t *registry.Tenant) bool {
	_, behind := pass.BehindOn(t.ID)
	rules, err := pass.ParsedRules()
	return len(pass.Rules) > 0 && !behind && pass.RegistryOffset > state.Base(t.ID) &&
		err == nil && rules == s.Rules.Rules && pass.TZVersion == civil.Edition()
}

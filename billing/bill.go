package billing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Rules are the configurable numbers of the billing rules.
type Rules struct {
	aggregate.Rules
	// GraceDays is how many dates after the end of a period it can be issued (R20).
	GraceDays int `json:"graceDays"`
	// Zones is the time zone data by which dates begin; nil is the data in use. It is recorded by its edition (R23).
	Zones *civil.Data `json:"-"`
}

func (r Rules) zones() *civil.Data {
	if r.Zones != nil {
		return r.Zones
	}
	return civil.InUse()
}

// DefaultRules are the numbers that the rules themselves name.
func DefaultRules() Rules {
	return Rules{Rules: aggregate.DefaultRules(), GraceDays: 3}
}

// JSON returns the rules as they are recorded: equal rules are equal bytes, and others re-rate what is issued (R21).
func (r Rules) JSON() json.RawMessage { return aggregate.StoreRules(r) }

// ParseRules reads what [Rules.JSON] returns. Rules that this release does not know are those of a later one.
func ParseRules(stored json.RawMessage) (Rules, error) { return aggregate.LoadRules[Rules](stored) }

// Stop is why a tenant's period cannot be issued. It stops that tenant's period alone.
type Stop struct {
	Tenant  string       `json:"tenantId"`
	Period  civil.Month  `json:"period"`
	Code    schemas.Code `json:"code"`
	Message string       `json:"message"`
	Rule    string       `json:"rule"`
	Advice  string       `json:"advice"`
	// Rerated is the issued period that cannot be billed again for the adjustments of this one (R21); else 0.
	Rerated civil.Month `json:"rerated,omitempty"`
}

// newStop returns a stop with the rule and the advice of its code.
func newStop(tenant string, period civil.Month, code schemas.Code, message string) *Stop {
	return &Stop{Tenant: tenant, Period: period, Code: code, Message: message, Rule: code.Rule(), Advice: code.Advice()}
}

// advising returns the stop with an advice that is better than its code's.
func (s *Stop) advising(advice string) *Stop {
	s.Advice = advice
	return s
}

// Error says what stopped the period and what to do.
func (s *Stop) Error() string {
	return fmt.Sprintf("%s %s: %s (%s): %s; %s", s.Tenant, s.Period, s.Code, s.Rule, s.Message, s.Advice)
}

// Bill computes a tenant's invoices for a period, in the byte order of their subscriptions: one for each
// subscription that is active at any instant of it and has a line (R18). The error is a *Stop.
func Bill(tenant *registry.Tenant, zone *civil.Zone, period civil.Month, usage TenantUsage,
	rules Rules) ([]Invoice, error) {
	b := newBill(tenant, zone, period, usage, rules)
	if differences := usage.Differences(); len(differences) > 0 {
		return nil, unbalanced(tenant.ID, period, differences)
	}
	b.commitments()
	b.usages()
	b.connects()
	b.overages()
	if len(b.missing) > 0 {
		return nil, newStop(tenant.ID, period, schemas.MissingPrice, strings.Join(b.missing, "; "))
	}
	return b.invoices(), nil
}

// bill is one tenant's period while its lines are being made.
type bill struct {
	tenant *registry.Tenant
	period civil.Month
	rules  Rules
	usage  TenantUsage
	// dates are those of the period that have instants; one that the zone skips has none.
	dates []civil.Date
	// primary has the primary of each of dates, nil where there is none (R4).
	primary []*registry.Subscription
	// closing is the primary at the last instant of the period that has one, on the date closed; nil where the
	// tenant has no primary all period (R16).
	closing *registry.Subscription
	closed  civil.Date

	active  []*registry.Subscription
	lines   map[*registry.Subscription][]Line
	missing []string
}

func newBill(tenant *registry.Tenant, zone *civil.Zone, period civil.Month, usage TenantUsage, rules Rules) *bill {
	b := &bill{tenant: tenant, period: period, rules: rules, usage: usage, lines: map[*registry.Subscription][]Line{}}
	for _, day := range aggregate.Days(tenant.ID, zone, period.First(), period.Next().First()) {
		primary := tenant.PrimaryOn(day.Date)
		b.dates, b.primary = append(b.dates, day.Date), append(b.primary, primary)
		if primary != nil {
			b.closing, b.closed = primary, day.Date
		}
	}
	for i := range tenant.Subscriptions {
		if s := &tenant.Subscriptions[i]; s.ActiveIn(period, zone) {
			b.active = append(b.active, s)
		}
	}
	slices.SortFunc(b.active, func(x, y *registry.Subscription) int { return cmp.Compare(x.ID, y.ID) })
	return b
}

// named reports whether agents are billed by the head (R16). Without a closing primary nothing is billed at all.
func (b *bill) named() bool { return b.closing != nil && b.closing.LicenceModel == registry.Named }

// byDistinctAgents reports whether a meter is billed by distinct agents rather than by concurrency (R15).
func (b *bill) byDistinctAgents(meter string) bool { return b.named() && meter != schemas.IVRPort }

// price finds a price that a line needs; one that is not there stops the period (R19).
func (b *bill) price(s *registry.Subscription, v *registry.Version, list map[string]decimal.Decimal, kind Kind,
	key string) decimal.Decimal {
	price, ok := list[key]
	if !ok {
		b.missing = append(b.missing,
			fmt.Sprintf("subscription %s, version of %s has no %s price for %s", s.ID, v.From, kind, key))
	}
	return price
}

// add puts a line on the subscription's invoice, with its amount. A line without a quantity is none (R18).
func (b *bill) add(s *registry.Subscription, line Line, days, ofDays int64) {
	if !line.Quantity.IsZero() {
		b.lines[s] = append(b.lines[s], priceLine(s, line, days, ofDays))
	}
}

// priceLine gives a line its amount, `quantity × price × days / ofDays` rounded once (R19), and its unit.
func priceLine(s *registry.Subscription, line Line, days, ofDays int64) Line {
	places, _ := registry.MinorUnits(s.Currency)
	line.Amount = roundQuotient(line.Quantity.Mul(line.UnitPrice.Decimal).Mul(decimal.NewFromInt(days)), ofDays, places)
	line.Unit = unitOf(line.Meter)
	return line
}

func unitOf(meter string) string {
	switch {
	case meter == schemas.IVRPort:
		return "port"
	case strings.HasPrefix(meter, schemas.ConnectPrefix):
		return "unit"
	default:
		return "seat"
	}
}

// commitments makes a line for each meter and version that a monthly subscription commits to, over the dates on
// which it is active and the effective version (R18).
func (b *bill) commitments() {
	for _, s := range b.active {
		if s.Billing != registry.Monthly {
			continue
		}
		for _, v := range versions(s) {
			from, to := b.inForce(s, v)
			days, first, after := s.ActiveDates(from, to)
			if days == 0 {
				continue
			}
			for _, meter := range slices.Sorted(maps.Keys(v.Commitments)) {
				quantity := v.Commitments[meter]
				if quantity == 0 {
					continue
				}
				price := b.price(s, v, v.Prices.Commitment, Commitment, meter)
				b.add(s, Line{
					Kind: Commitment, Meter: meter, Quantity: decimal.NewFromInt(quantity), UnitPrice: decimal.NewNullDecimal(price),
					From: first, To: after, PeakMS: NoInstant, Days: days,
					Note: fmt.Sprintf("R18: %d committed at %s a month, active on %d of %d days",
						quantity, price, days, b.period.Days()),
				}, int64(days), int64(b.period.Days()))
			}
		}
	}
}

// versions returns a subscription's versions in the order in which they take effect.
func versions(s *registry.Subscription) []*registry.Version {
	var sorted []*registry.Version
	for i := range s.Versions {
		sorted = append(sorted, &s.Versions[i])
	}
	slices.SortFunc(sorted, func(x, y *registry.Version) int { return cmp.Compare(x.From, y.From) })
	return sorted
}

// inForce returns the part `[from, to)` of the period on which a version is effective; empty where from is not
// before to.
func (b *bill) inForce(s *registry.Subscription, v *registry.Version) (from, to civil.Date) {
	from, to = max(v.From, b.period.First()), b.period.Next().First()
	for i := range s.Versions {
		if next := s.Versions[i].From; next > v.From {
			to = min(to, next)
		}
	}
	return from, to
}

// usages makes the lines that say how usage is split: a subscription's own greatest concurrency, or for a named
// tenant's agents their number (R18).
func (b *bill) usages() {
	for _, s := range b.active {
		for _, meter := range schemas.PooledMeters {
			line := Line{Kind: UsageKind, Meter: meter, From: b.period.First(), To: b.period.Next().First(), PeakMS: NoInstant}
			var quantity int64
			if b.byDistinctAgents(meter) {
				quantity = b.agents(meter, s.ID)
				line.Note = "R18: distinct agents with a session that starts in the period; for information"
			} else {
				for _, u := range b.days(meter, s.ID) {
					if u.Peak > quantity {
						quantity, line.PeakMS = u.Peak, u.PeakMS
					}
				}
				line.Note = "R18: greatest concurrency of the subscription's own sessions; for information"
			}
			line.Quantity = decimal.NewFromInt(quantity)
			b.add(s, line, 1, 1)
		}
	}
}

// days returns the usage of one meter by the dates of the period: of a subscription, or of the tenant as a whole.
func (b *bill) days(meter, subscription string) []aggregate.Usage {
	var days []aggregate.Usage
	for _, u := range b.usage.Days {
		if u.Meter == meter && u.Subscription == subscription {
			days = append(days, u)
		}
	}
	return days
}

// connects makes the Connect lines: the units of each channel at the prices of the effective version at their
// time, on the primary of that time (R11, R18).
func (b *bill) connects() {
	type priced struct {
		payer   *registry.Subscription
		version *registry.Version
		channel string
	}
	units := map[priced]decimal.Decimal{}
	for _, u := range b.usage.Days {
		channel, ok := strings.CutPrefix(u.Meter, schemas.ConnectPrefix)
		if !ok || u.Subscription == "" {
			continue
		}
		payer := b.tenant.Subscription(u.Subscription)
		key := priced{payer, payer.VersionOn(u.Date), channel}
		units[key] = units[key].Add(u.Units)
	}
	keys := slices.SortedFunc(maps.Keys(units), func(x, y priced) int {
		return cmp.Or(cmp.Compare(x.payer.ID, y.payer.ID), cmp.Compare(x.channel, y.channel),
			cmp.Compare(x.version.From, y.version.From))
	})
	for _, k := range keys {
		price := b.price(k.payer, k.version, k.version.Prices.Connect, Connect, k.channel)
		from, to := b.inForce(k.payer, k.version)
		b.add(k.payer, Line{
			Kind: Connect, Meter: schemas.ConnectPrefix + k.channel, Quantity: units[k],
			UnitPrice: decimal.NewNullDecimal(price), From: from, To: to, PeakMS: NoInstant,
			Note: fmt.Sprintf("R11: %s units while the subscription was the primary, at %s each", units[k], price),
		}, 1, 1)
	}
}

// overages makes the overage lines, from the usage of the tenant as a whole against its pool (R14, R15), each on
// its payer (R16).
func (b *bill) overages() {
	for _, meter := range schemas.PooledMeters {
		o := b.overageOf(meter)
		if o.quantity <= 0 {
			continue
		}
		version := o.payer.VersionOn(o.date)
		price := b.price(o.payer, version, version.Prices.Overage, Overage, meter)
		b.add(o.payer, Line{
			Kind: Overage, Meter: meter, Quantity: decimal.NewFromInt(o.quantity), UnitPrice: decimal.NewNullDecimal(price),
			From: b.period.First(), To: b.period.Next().First(), PeakMS: o.peakMS, Entitled: o.entitled, Note: o.note(),
		}, 1, 1)
	}
}

// demand is what the tenant as a whole used of a meter, to be held against its pool (R15): distinct agents over the
// period, or the peaks of the bill's dates.
type demand struct {
	distinctAgents bool
	agents         int64
	peaks          []aggregate.Usage
}

// agents counts the distinct agents of a subscription, or with none of the tenant as a whole (R15).
func (b *bill) agents(meter, subscription string) int64 {
	of := aggregate.AgentsOf{Tenant: b.tenant.ID, Period: b.period, Meter: meter, Subscription: subscription}
	return b.usage.Agents[of]
}

func (b *bill) demand(meter string) demand {
	if b.byDistinctAgents(meter) {
		return demand{distinctAgents: true, agents: b.agents(meter, "")}
	}
	d := demand{peaks: make([]aggregate.Usage, len(b.dates))}
	for _, u := range b.days(meter, "") {
		if at, found := slices.BinarySearch(b.dates, u.Date); found {
			d.peaks[at] = u
		}
	}
	return d
}

// entitlements returns the tenant's entitlement to a meter on each of the bill's dates (R14).
func (b *bill) entitlements(meter string) []int64 {
	entitled := make([]int64, len(b.dates))
	for i, date := range b.dates {
		entitled[i] = b.tenant.Entitlement(date, meter, b.rules.IVRPortFactor)
	}
	return entitled
}

// overage is how much, who pays it, and the date whose version prices it.
type overage struct {
	quantity       int64
	used, entitled int64
	payer          *registry.Subscription
	date           civil.Date
	peakMS         int64
	distinctAgents bool
}

func (o overage) note() string {
	if o.distinctAgents {
		return fmt.Sprintf("R15: %d distinct agents, %d entitled at the most", o.used, o.entitled)
	}
	return fmt.Sprintf("R15: %d live at once, %d entitled", o.used, o.entitled)
}

// overageOf is the overage of a meter in the period.
func (b *bill) overageOf(meter string) overage {
	return b.overage(b.demand(meter), b.entitlements(meter))
}

// overage holds a demand against what the tenant is entitled to on each date.
func (b *bill) overage(d demand, entitled []int64) overage {
	if d.distinctAgents {
		return b.overageOfAgents(d.agents, entitled)
	}
	return b.overageAtPeak(d.peaks, entitled)
}

// overageAtPeak is the greatest excess of concurrency over entitlement at any instant with a primary. Entitlement
// and primary change only at midnight (R3), so within a date the greatest excess is where the date's peak is.
func (b *bill) overageAtPeak(peaks []aggregate.Usage, entitled []int64) overage {
	var o overage
	for i, u := range peaks {
		if b.primary[i] != nil && u.Peak-entitled[i] > o.quantity {
			o = overage{quantity: u.Peak - entitled[i], used: u.Peak, entitled: entitled[i],
				payer: b.primary[i], date: b.dates[i], peakMS: u.PeakMS}
		}
	}
	return o
}

// overageOfAgents is the excess of a named tenant's distinct agents over the greatest entitlement of the period.
func (b *bill) overageOfAgents(agents int64, entitled []int64) overage {
	var most int64
	for _, e := range entitled {
		most = max(most, e)
	}
	return overage{quantity: agents - most, used: agents, entitled: most,
		payer: b.closing, date: b.closed, peakMS: NoInstant, distinctAgents: true}
}

// invoices makes an invoice for each subscription that has a line.
func (b *bill) invoices() []Invoice {
	var invoices []Invoice
	for _, s := range b.active {
		if lines := b.lines[s]; len(lines) > 0 {
			invoice := newInvoice(b.tenant, s, b.period)
			invoice.Lines = lines
			invoices = append(invoices, invoice)
		}
	}
	return number(invoices)
}

func notRead(tenant string, period civil.Month, partitions []string) *Stop {
	return newStop(tenant, period, schemas.Behind,
		"not all that was published is taken in: "+strings.Join(partitions, "; "))
}

func unbalanced(tenant string, period civil.Month, differences []string) *Stop {
	return newStop(tenant, period, schemas.Unbalanced, strings.Join(differences, "; "))
}

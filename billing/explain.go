package billing

import (
	"cmp"
	"context"
	"errors"
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

// Deliveries is where explanations take deliveries from; aggregate/clickhouse has it.
type Deliveries interface {
	// Events hands over every event that is wanted with all its deliveries of the bound.
	Events(ctx context.Context, bound aggregate.ReadBound, wanted aggregate.EventFilter, each func(event []aggregate.Delivery) error) error
}

// Explainer says how lines of one tenant's invoices came about, from the registry and the deliveries that they
// rest on and from nothing that was worked out in between.
type Explainer struct {
	Tenant *registry.Tenant
	Rules  Rules
	// Bound and Now (R12) are those of the issue, or of the preview.
	Bound      aggregate.ReadBound
	Now        int64
	Deliveries Deliveries
	// Chain are the tenant's issues, and Lines has what they say: an adjustment corrects them.
	Chain []Issue
	Lines Lines
}

// longest is how long a session can last at the most: the event contract refuses longer ones
// (implausible_duration).
const longest = 31 * 24 * 3600_000

// Explanation is how a line came about. Of the parts that only some kinds of lines have, the others are nil.
type Explanation struct {
	Invoice Invoice
	Line    Line
	// Sum is the amount as it was worked out, with its rounding (R19).
	Sum string
	// Price is whose version the unit price is from.
	Price *PriceOf

	Commitment *Proration
	Instant    *Instant
	Heads      *Heads
	Connect    *ConnectUnits
	Adjustment *Corrected

	// Payer says why an overage or Connect usage is charged to this subscription (R11, R16).
	Payer string
	// Differences say where the deliveries do not come to the line: rows were lost, or changed by hand.
	Differences []string
}

// PriceOf is a version of a price list, and the dates of the period in which it is in force.
type PriceOf struct {
	Subscription   string
	Version        civil.Date
	From, To       civil.Date
	ListedAs, Name string // such as overage, agent_standard
}

// Proration is what a commitment line is charged for (R18).
type Proration struct {
	Committed       int64
	Days, MonthDays int
	// Terms are those of the subscription that meet the dates of the line, and Cancelled when it was, or NoDate.
	Terms     []registry.Term
	Cancelled civil.Date
}

// Member is a subscription's part in the pool on a date (R14), and what of the usage at an instant is its own.
type Member struct {
	Subscription string
	// Active: it is one of those that the pool is the sum of. FirstStart decides who is the oldest (R4).
	Active     bool
	FirstStart civil.Date
	// Version is the one in force on the date, NoDate before the first.
	Version civil.Date
	// Seats and Ports are what an IVR entitlement is made of: Factor × Seats + Ports.
	Seats, Factor, Ports int64
	Entitled             int64
	// Used is the subscription's own concurrency at the instant (R13), or its distinct agents.
	Used int64
}

// Over is how much more the subscription used than it brings to the pool; less where negative.
func (m Member) Over() int64 { return m.Used - m.Entitled }

// Instant is the peak instant of an overage or usage line.
type Instant struct {
	AtMS int64
	Date civil.Date
	// Live is the concurrency (R13): of the tenant, or for a usage line of its subscription.
	Live int64
	// Members are the subscriptions, oldest first, and Entitled the sum of the active ones' (R14). Of a usage line
	// there is but its own.
	Members  []Member
	Entitled int64
	// Sessions are all that were live then, in the order of who, source and id.
	Sessions []aggregate.Evidence
}

// Heads are the distinct agents of a tenant, or a subscription, that is billed by the head (R15).
type Heads struct {
	// Entitled is the greatest of the period, and EntitledOn the first date that has it.
	Entitled   int64
	EntitledOn civil.Date
	Members    []Member
	// Closing is the last date with a primary, whose primary pays (R16).
	Closing civil.Date
	// Sessions are one of each agent, the earliest found, in the byte order of agents.
	Sessions []aggregate.Evidence
}

// ConnectUnits are the events behind a Connect line.
type ConnectUnits struct {
	Days []ConnectDay
	// Events are all of them, in the order of time, source and id.
	Events []aggregate.Evidence
}

// ConnectDay is one date of Connect usage.
type ConnectDay struct {
	Date   civil.Date
	Events int64
	Units  decimal.Decimal
}

// Corrected is what an adjustment line makes good (R21).
type Corrected struct {
	Period civil.Month
	Kind   Kind
	// Issued are the lines that had been issued for the period, kind and meter, and Now what they come to.
	Issued, Now []InvoiceLine
	// Before and After are their sums; the line is the difference.
	Quantity, Amount Pair
}

// InvoiceLine is a line with the invoice that it stands on.
type InvoiceLine struct {
	Invoice string
	Line    Line
}

// Explain says how a line of an invoice came about.
func (x *Explainer) Explain(ctx context.Context, invoice Invoice, line Line) (*Explanation, error) {
	e := &Explanation{Invoice: invoice, Line: line}
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return nil, err
	}
	b := newBill(x.Tenant, zone, invoice.Period, TenantUsage{}, x.Rules)
	s := x.Tenant.Subscription(invoice.Subscription)
	if s == nil {
		return nil, fmt.Errorf("the registry that the line rests on has no subscription %s; restore the command log", invoice.Subscription)
	}
	switch line.Kind {
	case Commitment:
		x.commitment(e, b, s)
	case Connect:
		err = x.connect(ctx, e, b, zone, s)
	case UsageKind, Overage:
		if line.PeakMS == NoInstant {
			err = x.heads(ctx, e, b, zone, s)
		} else {
			err = x.instant(ctx, e, b, zone, s)
		}
	case Adjustment:
		err = x.correction(ctx, e)
	}
	return e, err
}

// price says where the unit price comes from, and what it makes of the quantity.
func (x *Explainer) price(e *Explanation, b *bill, s *registry.Subscription, v *registry.Version, list, name string) {
	from, to := b.inForce(s, v)
	e.Price = &PriceOf{s.ID, v.From, from, to, list, name}
	e.Sum = e.sum(1, 1)
}

// sum writes out `quantity × price × days / ofDays` and what rounding makes of it (R19).
func (e *Explanation) sum(days, ofDays int64) string {
	l := e.Line
	exact := l.Quantity.Mul(l.UnitPrice.Decimal).Mul(decimal.NewFromInt(days))
	text := fmt.Sprintf("%s × %s", l.Quantity, l.UnitPrice.Decimal)
	if days != ofDays {
		text += fmt.Sprintf(" × %d / %d", days, ofDays)
	}
	shown := exact.DivRound(decimal.NewFromInt(ofDays), 10)
	written := shown.String()
	if !shown.Mul(decimal.NewFromInt(ofDays)).Equal(exact) {
		written = shown.Truncate(8).String() + "…"
	} else if shown.Equal(l.Amount) {
		return fmt.Sprintf("%s = %s %s", text, e.Invoice.Money(l.Amount), e.Invoice.Currency)
	}
	return fmt.Sprintf("%s = %s, rounded once, half to even, to %s %s", text, written, e.Invoice.Money(l.Amount), e.Invoice.Currency)
}

func (x *Explainer) commitment(e *Explanation, b *bill, s *registry.Subscription) {
	l, v := e.Line, s.VersionOn(e.Line.From)
	from, to := b.inForce(s, v)
	days, _, _ := s.ActiveDates(from, to)
	e.Commitment = &Proration{v.Commitments[l.Meter], days, b.period.Days(), nil, s.Cancelled}
	for _, t := range s.Terms {
		if t.From < to && from < t.To {
			e.Commitment.Terms = append(e.Commitment.Terms, t)
		}
	}
	x.price(e, b, s, v, string(Commitment), l.Meter)
	e.Sum = e.sum(int64(days), int64(b.period.Days()))
	e.check("seats or ports committed", decimal.NewFromInt(e.Commitment.Committed))
}

// check notes where what was found does not come to the line's quantity.
func (e *Explanation) check(what string, found decimal.Decimal) {
	if !found.Equal(e.Line.Quantity) {
		e.Differences = append(e.Differences, fmt.Sprintf("the line has %s, and there are %s %s", e.Line.Quantity, found, what))
	}
}

// lookup answers for the tenant alone.
func (x *Explainer) lookup(zone *civil.Zone) *aggregate.Lookup {
	return aggregate.NewLookup(x.timelines(zone))
}

func (x *Explainer) timelines(zone *civil.Zone) aggregate.Timelines {
	var t aggregate.Timelines
	addTimelines(&t, x.Tenant.ID, x.Tenant.Timelines(zone, x.Rules.IVRPortFactor))
	return t
}

// gather settles the events that are wanted, and keeps those that count on the meter and pass.
func (x *Explainer) gather(ctx context.Context, zone *civil.Zone, meter string, wanted aggregate.EventFilter, keep func(*aggregate.Evidence) bool) ([]aggregate.Evidence, error) {
	lookup := x.lookup(zone)
	var kept []aggregate.Evidence
	err := x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
		if e := lookup.ResolveEvent(event, x.Rules.Rules, x.Now); e.Counts() && e.To.Meter == meter && keep(&e) {
			kept = append(kept, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
	}
	return kept, nil
}

// typesOf returns the types of the events that a meter measures.
func typesOf(meter string) []schemas.Type {
	switch {
	case meter == aggregate.IVRPort:
		return []schemas.Type{schemas.IVRSession}
	case strings.HasPrefix(meter, aggregate.ConnectPrefix):
		return []schemas.Type{schemas.ConnectUsage}
	default:
		return []schemas.Type{schemas.AgentSession}
	}
}

func (x *Explainer) reach() int64 { return max(longest, int64(x.Rules.OpenSessionHours)*3600_000) }

// who is what concurrency counts (R13): an agent, or each IVR session by itself.
func who(e *aggregate.Evidence) string {
	if e.Winner.Type == schemas.AgentSession {
		return e.Winner.Agent
	}
	return e.Winner.Source + "\x00" + e.Winner.ID
}

func (x *Explainer) instant(ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription) error {
	l := e.Line
	at := l.PeakMS
	sessions, err := x.gather(ctx, zone, l.Meter,
		aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(l.Meter), FromMS: at - x.reach(), ToMS: at + 1, LiveAt: &at},
		func(v *aggregate.Evidence) bool {
			return v.FromMS <= at && at < v.ToMS && (l.Kind == Overage || v.To.Subscription == s.ID)
		})
	if err != nil {
		return err
	}
	slices.SortFunc(sessions, func(a, b aggregate.Evidence) int {
		return cmp.Or(cmp.Compare(who(&a), who(&b)), cmp.Compare(a.Winner.Source, b.Winner.Source), cmp.Compare(a.Winner.ID, b.Winner.ID))
	})
	i := &Instant{AtMS: at, Date: zone.DateOf(at), Sessions: sessions, Live: distinct(sessions, "")}
	i.Members, i.Entitled = x.members(i.Date, l.Meter, sessions)
	e.Instant = i
	if l.Kind == UsageKind {
		i.Members = slices.DeleteFunc(i.Members, func(m Member) bool { return m.Subscription != s.ID })
		i.Entitled = 0
		for _, m := range i.Members {
			i.Entitled += m.Entitled
		}
		e.check("live at that instant", decimal.NewFromInt(i.Live))
		return nil
	}
	x.price(e, b, s, s.VersionOn(i.Date), string(Overage), l.Meter)
	e.Payer = x.primary(i.Date, s, fmt.Sprintf("the primary at the peak instant, on %s (R16)", i.Date))
	e.check("live beyond the pool at that instant", decimal.NewFromInt(i.Live-i.Entitled))
	return nil
}

// distinct counts who is among the sessions: of a subscription, or of all where it is empty.
func distinct(sessions []aggregate.Evidence, subscription string) int64 {
	seen := map[string]bool{}
	for i := range sessions {
		if subscription == "" || sessions[i].To.Subscription == subscription {
			seen[who(&sessions[i])] = true
		}
	}
	return int64(len(seen))
}

// members are the subscriptions that are active on a date, or that used something, and what the active ones are
// entitled to together (R14).
func (x *Explainer) members(date civil.Date, meter string, sessions []aggregate.Evidence) (members []Member, entitled int64) {
	for i := range x.Tenant.Subscriptions {
		s := &x.Tenant.Subscriptions[i]
		m := Member{Subscription: s.ID, Active: s.ActiveOn(date), FirstStart: s.FirstStart(), Version: civil.NoDate, Used: distinct(sessions, s.ID)}
		if v := s.VersionOn(date); v != nil {
			m.Version = v.From
			if m.Active {
				m.Entitled = v.Commitments[meter]
			}
			if meter == aggregate.IVRPort && m.Active {
				m.Ports, m.Factor = v.Commitments[meter], x.Rules.IVRPortFactor
				m.Seats = v.Commitments[aggregate.AgentStandard] + v.Commitments[aggregate.AgentPremium]
				m.Entitled = m.Factor*m.Seats + m.Ports
			}
		}
		if m.Active || m.Used > 0 {
			members = append(members, m)
			entitled += m.Entitled
		}
	}
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.FirstStart, b.FirstStart), cmp.Compare(a.Subscription, b.Subscription))
	})
	return members, entitled
}

// primary says why a subscription is the primary on a date (R4).
func (x *Explainer) primary(date civil.Date, s *registry.Subscription, what string) string {
	active := x.Tenant.ActiveOn(date)
	if len(active) == 1 {
		return fmt.Sprintf("%s is %s: the only subscription active then", s.ID, what)
	}
	var others []string
	for _, o := range active {
		if o.ID != s.ID {
			others = append(others, fmt.Sprintf("%s on %s", o.ID, o.FirstStart()))
		}
	}
	return fmt.Sprintf("%s is %s: of those active then its first term began first, on %s (R4); that of %s", s.ID, what, s.FirstStart(), strings.Join(others, ", of "))
}

func (x *Explainer) heads(ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription) error {
	l := e.Line
	from, to := zone.Start(b.period.First()), zone.Start(b.period.Next().First())
	h := &Heads{EntitledOn: civil.NoDate, Closing: b.closed}
	for _, date := range b.dates {
		if entitled := x.Tenant.Entitlement(date, l.Meter, x.Rules.IVRPortFactor); h.EntitledOn == civil.NoDate || entitled > h.Entitled {
			h.Entitled, h.EntitledOn = entitled, date
		}
	}
	// For most agents their earliest session does. Where it does not count, or goes elsewhere, all are looked at.
	asked, met := map[string]bool{}, map[string]bool{}
	class, _ := strings.CutPrefix(l.Meter, "agent_")
	wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(l.Meter), FromMS: from, ToMS: to, Class: class, OneEach: true}
	found := map[string]aggregate.Evidence{}
	lookup := x.lookup(zone)
	take := func(event []aggregate.Delivery) error {
		for _, d := range event {
			if d.Type == schemas.AgentSession {
				asked[d.Agent] = true
			}
		}
		v := lookup.ResolveEvent(event, x.Rules.Rules, x.Now)
		if at := v.Winner.OccurredMS(); !v.Counts() || v.To.Meter != l.Meter || at < from || at >= to || l.Kind == UsageKind && v.To.Subscription != s.ID {
			return nil
		}
		met[v.Winner.Agent] = true
		if other, ok := found[v.Winner.Agent]; !ok || earlier(&v, &other) {
			found[v.Winner.Agent] = v
		}
		return nil
	}
	if err := x.Deliveries.Events(ctx, x.Bound, wanted, take); err != nil {
		return fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
	}
	wanted.OneEach = false
	for agent := range asked {
		if !met[agent] {
			wanted.Agents = append(wanted.Agents, agent)
		}
	}
	if len(wanted.Agents) > 0 {
		slices.Sort(wanted.Agents)
		if err := x.Deliveries.Events(ctx, x.Bound, wanted, take); err != nil {
			return fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
		}
	}
	for _, agent := range slices.Sorted(maps.Keys(found)) {
		h.Sessions = append(h.Sessions, found[agent])
	}
	h.Members, _ = x.members(h.EntitledOn, l.Meter, nil)
	e.Heads = h
	n := int64(len(h.Sessions))
	if l.Kind == UsageKind {
		e.check("distinct agents", decimal.NewFromInt(n))
		return nil
	}
	x.price(e, b, s, s.VersionOn(b.closed), string(Overage), l.Meter)
	e.Payer = x.primary(b.closed, s, fmt.Sprintf("the closing primary, on %s (R16)", b.closed))
	e.check("distinct agents beyond the greatest entitlement", decimal.NewFromInt(n-h.Entitled))
	return nil
}

func earlier(a, b *aggregate.Evidence) bool {
	return cmp.Or(cmp.Compare(a.Winner.OccurredMS(), b.Winner.OccurredMS()), cmp.Compare(a.Winner.Source, b.Winner.Source), cmp.Compare(a.Winner.ID, b.Winner.ID)) < 0
}

func (x *Explainer) connect(ctx context.Context, e *Explanation, b *bill, zone *civil.Zone, s *registry.Subscription) error {
	l := e.Line
	channel, _ := strings.CutPrefix(l.Meter, aggregate.ConnectPrefix)
	from, to := zone.Start(l.From), zone.Start(l.To)
	events, err := x.gather(ctx, zone, l.Meter,
		aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(l.Meter), FromMS: from, ToMS: to, Channel: channel},
		func(v *aggregate.Evidence) bool {
			at := v.Winner.OccurredMS()
			return from <= at && at < to && v.To.Subscription == s.ID
		})
	if err != nil {
		return err
	}
	slices.SortFunc(events, func(a, b aggregate.Evidence) int {
		if earlier(&a, &b) {
			return -1
		}
		return 1
	})
	c := &ConnectUnits{Events: events}
	var units decimal.Decimal
	for i := range events {
		date := zone.DateOf(events[i].Winner.OccurredMS())
		if n := len(c.Days); n == 0 || c.Days[n-1].Date != date {
			c.Days = append(c.Days, ConnectDay{Date: date})
		}
		day := &c.Days[len(c.Days)-1]
		day.Events++
		day.Units = day.Units.Add(decimal.New(events[i].Winner.Quantity, -6))
		units = units.Add(decimal.New(events[i].Winner.Quantity, -6))
	}
	e.Connect = c
	x.price(e, b, s, s.VersionOn(l.From), string(Connect), channel)
	e.Payer = fmt.Sprintf("%s was the primary at the time of every one of these events (R4, R11)", s.ID)
	e.check("units of the events", units)
	return nil
}

// correction says what an adjustment corrects.
func (x *Explainer) correction(ctx context.Context, e *Explanation) error {
	c, err := x.issuedBefore(ctx, e.Invoice, e.Line)
	if err != nil {
		return err
	}
	if err := x.comesTo(ctx, c, e.Invoice.Subscription, e.Line.Meter, nil); err != nil {
		return err
	}
	e.Adjustment = c
	e.check("between what was issued and what it comes to", c.Quantity.Difference())
	if !c.Amount.Difference().Equal(e.Line.Amount) {
		e.Differences = append(e.Differences, fmt.Sprintf("the line has the amount %s, and the difference is %s", e.Line.Amount, c.Amount.Difference()))
	}
	e.Sum = fmt.Sprintf("%s − %s = %s %s", e.Invoice.Money(c.Amount.After), e.Invoice.Money(c.Amount.Before), e.Invoice.Money(e.Line.Amount), e.Invoice.Currency)
	return nil
}

// issuedBefore finds the lines that an adjustment counts as issued: those of the period that it corrects, and the
// adjustments of them since.
func (x *Explainer) issuedBefore(ctx context.Context, invoice Invoice, line Line) (*Corrected, error) {
	c := &Corrected{Period: line.From.Month(), Kind: line.CorrectsKind}
	type candidate struct {
		InvoiceLine
		period civil.Month
	}
	var all []candidate
	// What was issued later counts for nothing here; nothing has been yet after the draft of a period.
	chain := x.Chain
	if at := slices.IndexFunc(chain, func(i Issue) bool { return i.Period == invoice.Period }); at >= 0 {
		chain = chain[:at]
	}
	invoices, err := IssuedInvoices(ctx, x.Lines, chain)
	if err != nil {
		return nil, err
	}
	for _, issue := range chain {
		for _, i := range invoices[issue.ID] {
			for _, l := range i.Lines {
				if i.Subscription == invoice.Subscription && l.Meter == line.Meter {
					all = append(all, candidate{InvoiceLine{i.ID, l}, issue.Period})
				}
			}
		}
	}
	for _, l := range all {
		corrects := l.Line.Kind == Adjustment && l.Line.From.Month() == c.Period && l.Line.CorrectsKind == c.Kind
		if l.period == c.Period && l.Line.Kind == c.Kind || corrects {
			c.Issued = append(c.Issued, l.InvoiceLine)
			c.Quantity.Before = c.Quantity.Before.Add(l.Line.Quantity)
			c.Amount.Before = c.Amount.Before.Add(l.Line.Amount)
		}
	}
	return c, nil
}

// comesTo bills the corrected period anew.
func (x *Explainer) comesTo(ctx context.Context, c *Corrected, subscription, meter string, progress func(deliveries int64)) error {
	invoices, err := x.rework(ctx, c.Period, c.Kind, meter, progress)
	if err != nil {
		return err
	}
	for _, i := range invoices {
		for _, l := range i.Lines {
			if i.Subscription == subscription && l.Kind == c.Kind && l.Meter == meter {
				c.Now = append(c.Now, InvoiceLine{i.ID, l})
				c.Quantity.After = c.Quantity.After.Add(l.Quantity)
				c.Amount.After = c.Amount.After.Add(l.Amount)
			}
		}
	}
	return nil
}

// rework bills a period anew from its deliveries, by the rules in plain Go: all the lines that rest on the same
// type of events as one kind and meter do, and the commitments.
func (x *Explainer) rework(ctx context.Context, period civil.Month, kind Kind, meter string, progress func(deliveries int64)) ([]Invoice, error) {
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return nil, err
	}
	days := aggregate.Days(x.Tenant.ID, zone, period.First(), period.Next().First())
	measured := aggregate.NewMeasurement(x.timelines(zone), days, x.Rules.Rules, x.Now)
	if kind != Commitment {
		wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(meter), FromMS: days[0].FromMS - x.reach(), ToMS: days[len(days)-1].ToMS}
		var read int64
		err := x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
			for _, c := range aggregate.ResolveRevisions(aggregate.Events(event)) {
				measured.Add(c)
			}
			read += int64(len(event))
			if progress != nil {
				progress(read)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
		}
	}
	usage := ByTenant(measured.Figures())[x.Tenant.ID]
	return Bill(x.Tenant, zone, period, usage, x.Rules)
}

// Verify works a line out again from the registry and the deliveries alone, and returns what differs. An overage is
// thereby the greatest of the whole period, not only what the sessions at its peak instant come to. Progress is
// called with how many deliveries have been read.
func (x *Explainer) Verify(ctx context.Context, invoice Invoice, line Line, progress func(deliveries int64)) (differences []string, err error) {
	compare := func(what, has, want string) {
		if has != want {
			differences = append(differences, fmt.Sprintf("the line has the %s %s, and it works out to %s", what, cmp.Or(has, "none"), cmp.Or(want, "none")))
		}
	}
	if line.Kind == Adjustment {
		c, err := x.issuedBefore(ctx, invoice, line)
		if err != nil {
			return nil, err
		}
		if err := x.comesTo(ctx, c, invoice.Subscription, line.Meter, progress); err != nil {
			return nil, err
		}
		compare("quantity", line.Quantity.String(), c.Quantity.Difference().String())
		compare("amount", invoice.Money(line.Amount), invoice.Money(c.Amount.Difference()))
		return differences, nil
	}
	invoices, err := x.rework(ctx, invoice.Period, line.Kind, line.Meter, progress)
	var stop *Stop
	if errors.As(err, &stop) {
		return []string{"the period cannot be billed: " + stop.Message}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, i := range invoices {
		for _, l := range i.Lines {
			// Versions make lines of their own, and only their dates tell those apart (R18).
			if i.ID != invoice.ID || l.Kind != line.Kind || l.Meter != line.Meter || l.From != line.From {
				continue
			}
			compare("quantity", line.Quantity.String(), l.Quantity.String())
			compare("unit price", line.Price(), l.Price())
			compare("amount", invoice.Money(line.Amount), invoice.Money(l.Amount))
			compare("end", line.To.String(), l.To.String())
			compare("peak instant", line.PeakAt(), l.PeakAt())
			return differences, nil
		}
	}
	return []string{"worked out again, there is no such line"}, nil
}

package billing

import (
	"cmp"
	"context"
	"fmt"
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
	Events(ctx context.Context, bound aggregate.ReadBound, wanted aggregate.EventFilter,
		each func(event []aggregate.Delivery) error) error
	// Arrived returns those of the tenants that have a delivery behind some positions and up to others, with when all
	// deliveries of these events are, at the most.
	Arrived(ctx context.Context, tenants []string, after, upTo []aggregate.Position) (map[string]aggregate.Span, error)
}

// Explainer says how lines of one tenant's invoices came about, from the registry and the deliveries that they
// are based on and from nothing that was computed in between.
type Explainer struct {
	Tenant *registry.Tenant
	Rules  Rules
	// Bound and Now (R12) are those of the issue, or of the preview.
	Bound      aggregate.ReadBound
	NowMS      int64
	Deliveries Deliveries
	// Stored, which may be nil, reports whether the current figures of the period are those of Bound, Now apart: then
	// [Explainer.Overages] goes by them. It is asked after they are read.
	Stored func(ctx context.Context) (bool, error)
	// Chain are the tenant's issues, and Lines has what they say: an adjustment corrects them.
	Chain []Issue
	Lines Lines
	// Then explains by what the tenant's issue before was based on, and Commands are those that changed the tenant's
	// document since; nil where nothing was issued before.
	Then     *Explainer
	Commands []registry.Change

	recomputed map[recomputedOf]recomputed
}

// Explanation is how a line came about. Of the parts that only some kinds of lines have, the others are nil. In JSON
// it is whole, with every delivery behind the line.
type Explanation struct {
	// Invoice has the one line that is explained, which is Line.
	Invoice Invoice `json:"invoice"`
	Line    Line    `json:"-"`
	// Sum is the amount as it was computed, with its rounding (R19).
	Sum string `json:"sum,omitempty"`
	// Price is whose version the unit price is from.
	Price *PriceOf `json:"price,omitempty"`
	// Payer says why an overage or Connect usage is charged to this subscription (R11, R16).
	Payer string `json:"payer,omitempty"`

	Commitment     *Proration      `json:"commitment,omitempty"`
	Instant        *Instant        `json:"instant,omitempty"`
	DistinctAgents *DistinctAgents `json:"distinctAgents,omitempty"`
	Connect        *ConnectUnits   `json:"connect,omitempty"`
	Adjustment     *Corrected      `json:"adjustment,omitempty"`

	// Differences say where the deliveries do not add up to the line: rows were lost, or changed by hand.
	Differences []string `json:"differences"`
}

// PriceOf is a version of a price list, and the dates of the period in which it is effective (R18).
type PriceOf struct {
	Subscription string     `json:"subscriptionId"`
	Version      civil.Date `json:"version"`
	From         civil.Date `json:"from"`
	To           civil.Date `json:"to"`
	List         string     `json:"list"` // such as overage
	Name         string     `json:"name"` // such as agent_standard
	UnitPrice    string     `json:"unitPrice"`
}

// Explain says how a line of an invoice came about.
func (x *Explainer) Explain(ctx context.Context, invoice Invoice, line Line) (*Explanation, error) {
	invoice.Lines = []Line{line}
	e := &Explanation{Invoice: invoice, Line: line, Differences: []string{}}
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return nil, err
	}
	b := newBill(x.Tenant, zone, invoice.Period, TenantUsage{}, x.Rules)
	s := x.Tenant.Subscription(invoice.Subscription)
	if s == nil {
		return nil, fmt.Errorf("the registry that the line is based on has no subscription %s; restore the command log",
			invoice.Subscription)
	}
	switch line.Kind {
	case Commitment:
		x.commitment(e, b, s)
	case Connect:
		err = x.connect(ctx, e, b, zone, s)
	case UsageKind, Overage:
		if line.PeakMS == NoInstant {
			err = x.distinctAgents(ctx, e, b, zone, s)
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
	e.Price = &PriceOf{s.ID, v.From, from, to, list, name, e.Line.Price()}
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
	return fmt.Sprintf("%s = %s, rounded once, half to even, to %s %s", text, written,
		e.Invoice.Money(l.Amount), e.Invoice.Currency)
}

// check notes where what was found does not add up to the line's quantity.
func (e *Explanation) check(what string, found decimal.Decimal) {
	if !found.Equal(e.Line.Quantity) {
		e.Differences = append(e.Differences,
			fmt.Sprintf("the line has %s, and there are %s %s", e.Line.Quantity, found, what))
	}
}

// timelines are those of the tenant alone.
func (x *Explainer) timelines(zone *civil.Zone) aggregate.Timelines {
	return aggregate.Timelines{x.Tenant.ID: aggregate.Known(x.Tenant.Timelines(zone, x.Rules.IVRPortFactor))}
}

// gather settles the events that are wanted, and keeps those that count on the meter and pass.
func (x *Explainer) gather(
	ctx context.Context, zone *civil.Zone, meter string, wanted aggregate.EventFilter, keep func(*aggregate.Evidence) bool,
) ([]aggregate.Evidence, error) {
	timelines := x.timelines(zone)
	var kept []aggregate.Evidence
	err := x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
		if e := timelines.ResolveEvent(event, x.Rules.Rules, x.NowMS); e.Counts() && e.To.Meter == meter && keep(&e) {
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
	case meter == schemas.IVRPort:
		return []schemas.Type{schemas.IVRSession}
	case strings.HasPrefix(meter, schemas.ConnectPrefix):
		return []schemas.Type{schemas.ConnectUsage}
	default:
		return []schemas.Type{schemas.AgentSession}
	}
}

// reach is how long before an instant sessions can begin that are live at it.
func (x *Explainer) reach() int64 {
	return max(schemas.MaxSessionMS, int64(x.Rules.OpenSessionHours)*3600_000)
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
	return fmt.Sprintf("%s is %s: of those active then its first term began first, on %s (R4); that of %s", s.ID, what,
		s.FirstStart(), strings.Join(others, ", of "))
}

func earlier(a, b *aggregate.Evidence) bool {
	return cmp.Or(cmp.Compare(a.Winner.OccurredMS(), b.Winner.OccurredMS()), cmp.Compare(a.Winner.Source, b.Winner.Source),
		cmp.Compare(a.Winner.ID, b.Winner.ID)) < 0
}

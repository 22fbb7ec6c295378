package billing

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Reason is why an adjustment is what it is (R21), as it is recorded with the issue: files say it, and nothing that is
// known later changes them (R20).
type Reason struct {
	Subscription string `json:"subscription"`
	Line         int    `json:"line"` // of the adjustment
	// From and To are those of the line that is corrected, of the period where it had none.
	From civil.Date `json:"from"`
	To   civil.Date `json:"to"`
	// Then is what had been issued, and Now what the issue has made of it.
	Then Charged `json:"then"`
	Now  Charged `json:"now"`
	// Late and Corrected count the events that came, or were changed, after the tenant's previous issue and make a
	// difference: of an overage at its peak, then or now.
	Late      int `json:"late,omitempty"`
	Corrected int `json:"corrected,omitempty"`
	// Registry says that what was agreed for the period has changed since the previous issue or, where no event makes the
	// difference, that anything in the tenant's document has.
	Registry bool `json:"registry,omitempty"`
}

// Charged is what a subscription is charged for one kind and meter of a period, over all versions.
type Charged struct {
	Quantity decimal.Decimal `json:"quantity"`
	Amount   decimal.Decimal `json:"amount"`
	// PeakMS is that of an overage, NoInstant where it has none, and Entitled the pool behind it.
	PeakMS   int64 `json:"peak"`
	Entitled int64 `json:"entitled,omitempty"`
}

func (c Charged) add(l Line) Charged {
	c.Quantity, c.Amount = c.Quantity.Add(l.Quantity), c.Amount.Add(l.Amount)
	if l.Kind == Overage {
		c.PeakMS, c.Entitled = l.PeakMS, l.Entitled
	}
	return c
}

// Peaks are the instants of an overage's peaks, then and now, as far as it has any.
func (r Reason) Peaks() (peaks []int64) {
	for _, c := range []Charged{r.Then, r.Now} {
		if c.PeakMS != NoInstant && !slices.Contains(peaks, c.PeakMS) {
			peaks = append(peaks, c.PeakMS)
		}
	}
	return peaks
}

// count notes how many events make the difference.
func (r *Reason) count(events []ChangedEvent) {
	for i := range events {
		if events[i].Late {
			r.Late++
		} else {
			r.Corrected++
		}
	}
}

// ReasonFor returns why a line of an invoice is there; nil for one that is no adjustment, or of an issue that did not
// record it.
func (a Account) ReasonFor(i Invoice, l Line) *Reason {
	at := slices.IndexFunc(a.Reasons, func(r Reason) bool { return r.Subscription == i.Subscription && r.Line == l.No })
	if l.Kind != Adjustment || at < 0 {
		return nil
	}
	return &a.Reasons[at]
}

// reasonOf compares what was issued for the charge that an adjustment corrects with what it is now. Since are the
// issues of the tenant from that of the corrected period on, with the invoices of that in issued.
func reasonOf(i Invoice, l Line, issued, now []Invoice, since []Issue) Reason {
	r := Reason{Subscription: i.Subscription, Line: l.No, From: l.From, To: l.To,
		Then: Charged{PeakMS: NoInstant}, Now: Charged{PeakMS: NoInstant}}
	period := l.From.Month()
	of := func(invoices []Invoice, side *Charged) {
		first := true
		for _, o := range invoices {
			if o.Subscription != i.Subscription || o.Period != period {
				continue
			}
			for _, c := range o.Lines {
				if c.Kind != l.CorrectsKind || c.Meter != l.Meter {
					continue
				}
				*side = side.add(c)
				if side == &r.Then && first {
					r.From, r.To, first = c.From, c.To, false
				}
			}
		}
	}
	of(issued, &r.Then)
	of(now, &r.Now)
	// What was adjusted since is what stood before this issue.
	for _, issue := range since {
		for _, o := range issue.Reasons {
			at := slices.IndexFunc(issue.Invoices, func(x Invoice) bool { return x.Subscription == o.Subscription })
			if o.Subscription != i.Subscription || at < 0 {
				continue
			}
			for _, c := range issue.Invoices[at].Lines {
				if c.No == o.Line && c.Meter == l.Meter && c.CorrectsKind == l.CorrectsKind && c.From == l.From {
					r.Then = o.Now
				}
			}
		}
	}
	return r
}

// ChangedEvent is an event that counts otherwise than it did before some deliveries came.
type ChangedEvent struct {
	// Late says that none of its deliveries had come before; else it was corrected.
	Late bool
	// Then and Now are how it counted and counts; Then has no deliveries where it is late.
	Then, Now aggregate.Evidence
}

// Cause is late or correction.
func (c *ChangedEvent) Cause() string {
	if c.Late {
		return "late"
	}
	return "correction"
}

// counted is what an event counts for.
type counted struct {
	meter, subscription, who string
	fromMS, toMS, atMS       int64
	units                    int64
}

func countedOf(e *aggregate.Evidence) counted {
	if len(e.Deliveries) == 0 || !e.Counts() {
		return counted{}
	}
	c := counted{meter: e.To.Meter, subscription: e.To.Subscription, fromMS: e.FromMS, toMS: e.ToMS,
		atMS: e.Winner.OccurredMS(), units: e.Winner.Quantity}
	if e.Winner.Type != schemas.ConnectUsage {
		c.who = who(e)
	}
	return c
}

// changes are the events that count otherwise than they did before some deliveries came.
type changes struct {
	events []ChangedEvent
	// fromMS and toMS, in UTC epoch milliseconds, are when the period starts and ends. Sessions that start before it can
	// be live in it.
	fromMS, toMS int64
}

// mattering returns those of the events that make a difference to a charge: at one of its peaks, or where it has none
// anywhere in the period; of an overage those of all subscriptions (R15), else those of its own.
func (all changes) mattering(of charge, peaks []int64) (those []ChangedEvent) {
	if of.kind == Commitment {
		return nil
	}
	side := func(e *aggregate.Evidence) counted {
		c := countedOf(e)
		if c.meter != of.meter || of.kind != Overage && c.subscription != of.subscription ||
			len(peaks) == 0 && (c.atMS < all.fromMS || c.atMS >= all.toMS) {
			return counted{}
		}
		return c
	}
	live := func(c counted, at int64) string {
		if c.fromMS <= at && at < c.toMS {
			return c.who
		}
		return ""
	}
	for i := range all.events {
		then, now := side(&all.events[i].Then), side(&all.events[i].Now)
		if len(peaks) == 0 && then != now ||
			slices.ContainsFunc(peaks, func(at int64) bool { return live(then, at) != live(now, at) }) {
			those = append(those, all.events[i])
		}
	}
	return those
}

// changedSince returns the events of a period, of the type that a meter measures, that count otherwise than they did by
// the deliveries of a bound alone; by the registry as the explainer has it, so that only deliveries are to blame. In,
// which may be nil, is when all deliveries of such events are.
func (x *Explainer) changedSince(
	ctx context.Context, then aggregate.ReadBound, period civil.Month, meter string, in *aggregate.Span,
) (all changes, err error) {
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return all, err
	}
	timelines := x.timelines(zone)
	all.fromMS, all.toMS = zone.Start(period.First()), zone.Start(period.Next().First())
	wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(meter), Beyond: &then, BeyondIn: in,
		FromMS: all.fromMS - x.reach(), ToMS: all.toMS}
	if in != nil && (in.FromMS >= wanted.ToMS || in.ToMS <= wanted.FromMS) {
		return all, nil
	}
	err = x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
		before := slices.DeleteFunc(slices.Clone(event), func(d aggregate.Delivery) bool { return !then.Has(d) })
		c := ChangedEvent{Late: len(before) == 0, Now: timelines.ResolveEvent(event, x.Rules.Rules, x.NowMS)}
		if !c.Late {
			c.Then = timelines.ResolveEvent(before, x.Rules.Rules, x.NowMS)
		}
		if countedOf(&c.Then) != countedOf(&c.Now) {
			all.events = append(all.events, c)
		}
		return nil
	})
	if err != nil {
		return all, fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
	}
	slices.SortFunc(all.events, func(a, b ChangedEvent) int {
		return cmp.Or(strings.Compare(a.Now.Winner.Source, b.Now.Winner.Source),
			strings.Compare(a.Now.Winner.ID, b.Now.Winner.ID))
	})
	return all, nil
}

// arrivedSince returns those of the tenants billed again that have a delivery which their issue before did not know,
// with when those of such events are. Those that were issued by the same positions are asked for together.
func (b *Biller) arrivedSince(
	ctx context.Context, again map[string][]rerated, on basis,
) (map[string]aggregate.Span, error) {
	after, groups := map[string][]aggregate.Position{}, map[string][]string{}
	for tenant, of := range again {
		since := of[0].since
		before := since[len(since)-1].Positions
		key := fmt.Sprint(before)
		after[key], groups[key] = before, append(groups[key], tenant)
	}
	all := map[string]aggregate.Span{}
	for key, tenants := range groups {
		arrived, err := b.Deliveries.Arrived(ctx, tenants, after[key], on.Positions)
		if err != nil {
			return nil, fmt.Errorf("reading who has deliveries that are new: %w", err)
		}
		maps.Copy(all, arrived)
	}
	return all, nil
}

// addReasons records with an issue why its adjustments are what they are; arrived is when events are that
// have deliveries which its issue before did not know; none where it has nothing.
func (b *Biller) addReasons(ctx context.Context, issue *Issue, t *registry.Tenant, again []rerated,
	corrections []Correction, on basis, arrived aggregate.Span) error {
	for n, c := range corrections {
		since := again[n].since
		last := since[len(since)-1]
		x := &Explainer{Tenant: t, Rules: b.Rules, Deliveries: b.Deliveries, NowMS: aggregate.EndOfTime,
			Bound: aggregate.ReadBound{Positions: on.Positions, ArrivedBy: on.arrivedBy}}
		then := aggregate.ReadBound{Positions: last.Positions, ArrivedBy: aggregate.EndOfTime}
		was, err := b.Log.At(last.RegistryOffset)
		if err != nil {
			return err
		}
		changed := map[schemas.Type]changes{}
		agreedOtherwise := sync.OnceValue(func() bool {
			return agreed(was.Tenant(t.ID), c.Period) != agreed(t, c.Period)
		})
		for _, i := range issue.Invoices {
			for _, l := range i.Lines {
				if l.Kind != Adjustment || l.From != c.Period.First() {
					continue
				}
				r := reasonOf(i, l, c.Issued, c.Now, since)
				if l.CorrectsKind != Commitment {
					of := typesOf(l.Meter)[0]
					if _, read := changed[of]; !read {
						if changed[of], err = x.changedSince(ctx, then, c.Period, l.Meter, &arrived); err != nil {
							return err
						}
					}
					r.count(changed[of].mattering(charge{i.Subscription, l.CorrectsKind, l.Meter}, r.Peaks()))
				}
				r.Registry = b.State.Base(t.ID) >= last.RegistryOffset &&
					(r.Late+r.Corrected == 0 || agreedOtherwise())
				issue.Reasons = append(issue.Reasons, r)
			}
		}
	}
	return nil
}

// agreed is what the subscriptions of a tenant say of the dates of a period, to be compared; who is mapped to which is
// no part of it.
func agreed(t *registry.Tenant, period civil.Month) string {
	type contract struct {
		Subscription, Model, Plan, Deployment, Currency, Billing string
		Version                                                  registry.Version
	}
	var dates [][]contract
	for date := period.First(); date < period.Next().First(); date++ {
		var active []contract // the oldest, which is the primary, first
		for _, s := range t.ActiveOn(date) {
			c := contract{s.ID, s.LicenceModel, s.Plan, s.Deployment, s.Currency, s.Billing, registry.Version{}}
			if v := s.VersionOn(date); v != nil {
				c.Version = *v
			}
			c.Version.From = date // it says the same whenever it took effect
			active = append(active, c)
		}
		dates = append(dates, active)
	}
	text, err := json.Marshal(dates)
	if err != nil {
		panic(err) // the model holds nothing that JSON cannot write
	}
	return string(text)
}

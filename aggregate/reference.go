package aggregate

import (
	"cmp"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// Reference computes the usage and the balance of the days from all deliveries of their tenants, whatever the bound, as
// the SQL does and far more slowly. Both results are in the order of their columns; a day without any has none.
func Reference(deliveries []schemas.Event, in Inputs) ([]Usage, []DayBalance) {
	m := NewMeasurement(in)
	for _, c := range ResolveRevisions(deliveries) {
		m.Add(c)
	}
	f := m.Figures()
	return f.Usage, f.Balances
}

// Measurement is [Reference] for deliveries that are too many for memory: it takes them event by event, as
// their winners are found, and keeps of each what the figures need.
type Measurement struct {
	in      Inputs
	days    map[string][]Day // by tenant
	usage   map[usageOf]*gathered
	agents  map[AgentsOf]map[string]bool
	balance map[Day]Balance
}

type usageOf struct {
	day                 Day
	meter, subscription string
}

type gathered struct {
	Usage
	live   []Interval
	agents map[string]bool
}

// NewMeasurement begins to measure the days.
func NewMeasurement(in Inputs) *Measurement {
	m := &Measurement{in, map[string][]Day{}, map[usageOf]*gathered{}, map[AgentsOf]map[string]bool{}, map[Day]Balance{}}
	for _, d := range in.Days {
		m.days[d.Tenant] = append(m.days[d.Tenant], d)
	}
	return m
}

// Add takes a content of an event whose winner is known (R8).
func (m *Measurement) Add(c Content) {
	attribution := m.in.Timelines.Attribute(&c.Event)
	counts := c.Counts(attribution)
	var liveFrom, liveTo int64
	who := c.Agent
	if c.Type != schemas.ConnectUsage {
		liveFrom, liveTo = m.in.Rules.Live(&c.Event, m.in.NowMS)
	}
	if c.Type == schemas.IVRSession {
		who = c.Source + "\x00" + c.ID
	}
	for _, day := range m.days[c.Tenant] {
		starts := day.FromMS <= c.OccurredMS() && c.OccurredMS() < day.ToMS
		if starts {
			m.balance[day] = m.balance[day].Add(classify(c, attribution))
		}
		from, to := max(liveFrom, day.FromMS), min(liveTo, day.ToMS)
		if !counts || !starts && from >= to {
			continue
		}
		for _, subscription := range []string{"", attribution.Subscription} {
			k := usageOf{day, attribution.Meter, subscription}
			g := m.usage[k]
			if g == nil {
				g = &gathered{agents: map[string]bool{},
					Usage: Usage{Tenant: c.Tenant, Date: day.Date, Meter: k.meter, Subscription: subscription}}
				m.usage[k] = g
			}
			if starts {
				g.Events++
				g.Units = g.Units.Add(decimal.New(c.Quantity, -6))
				if c.Type == schemas.AgentSession {
					g.agents[c.Agent] = true
					m.head(AgentsOf{c.Tenant, day.Date.Month(), attribution.Meter, subscription}, c.Agent)
				}
			}
			if from < to {
				g.live = append(g.live, Interval{who, from, to})
				g.Milliseconds += to - from
			}
		}
	}
}

func (m *Measurement) head(of AgentsOf, agent string) {
	if m.agents[of] == nil {
		m.agents[of] = map[string]bool{}
	}
	m.agents[of][agent] = true
}

// Figures returns the figures of the events that have been added.
func (m *Measurement) Figures() *Figures {
	f := &Figures{Agents: map[AgentsOf]int64{}}
	for _, g := range m.usage {
		g.Peak, g.PeakMS = Peak(g.live)
		g.Usage.Agents = int64(len(g.agents))
		f.Usage = append(f.Usage, g.Usage)
	}
	slices.SortFunc(f.Usage, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Date, b.Date),
			cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Subscription, b.Subscription))
	})
	for of, agents := range m.agents {
		f.Agents[of] = int64(len(agents))
	}
	for day, b := range m.balance {
		f.Balances = append(f.Balances, DayBalance{day.Tenant, day.Date, b})
	}
	slices.SortFunc(f.Balances, func(a, b DayBalance) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Date, b.Date))
	})
	return f
}

// Counts reports whether a content counts as usage: it wins, voids nothing, and goes to a subscription.
func (c Content) Counts(a Attribution) bool {
	return c.Wins && !c.Voided && !a.UnknownTenant && a.Subscription != ""
}

// ReferenceProfile computes the profiles of the days from all deliveries of their tenants, in the order of tenant,
// date and meter.
func ReferenceProfile(deliveries []schemas.Event, in Inputs) []Profile {
	m := NewMeasurement(in)
	for _, c := range ResolveRevisions(deliveries) {
		m.Add(c)
	}
	var profiles []Profile
	for k, g := range m.usage {
		if k.subscription != "" || len(g.live) == 0 {
			continue
		}
		p := Profile{Tenant: k.day.Tenant, Date: k.day.Date, Meter: k.meter}
		for from := k.day.FromMS; from < k.day.ToMS; from += ProfileStep {
			var live []Interval
			for _, i := range g.live {
				live = append(live, Interval{i.Who, max(i.From, from), min(i.To, from+ProfileStep)})
			}
			most, _ := Peak(live)
			p.Points = append(p.Points, ProfilePoint{from, most})
		}
		profiles = append(profiles, p)
	}
	slices.SortFunc(profiles, func(a, b Profile) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Date, b.Date), cmp.Compare(a.Meter, b.Meter))
	})
	return profiles
}

// DayBalance is the balance of one date of a tenant.
type DayBalance struct {
	Tenant string
	Date   civil.Date
	Balance
}

// classify says what became of the deliveries of one content (R22).
func classify(c Content, a Attribution) Balance {
	b := Balance{Accepted: c.Deliveries}
	if a.UnknownTenant {
		b.UnknownTenant = c.Deliveries
		return b
	}
	b.Duplicate = c.Deliveries - 1
	if !c.Wins {
		b.Superseded = 1
		return b
	}
	b.Conflicts = count(c.Conflict)
	if c.Voided {
		b.Voided = 1
		return b
	}
	b.UnknownSubscription = count(a.UnknownSubscription)
	b.OpenSessions = count(c.Type != schemas.ConnectUsage && c.EndMS == schemas.Absent)
	b.Unmapped = count(a.Unmapped)
	if a.Subscription == "" {
		b.Unallocated = 1
	} else {
		b.Counted = 1
	}
	return b
}

func count(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

package aggregate

import (
	"cmp"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// Reference works out the usage and the balance of some days from all deliveries of their tenants, as the SQL
// does and far more slowly. Both results are in the order of their columns; a day without any has none.
func Reference(deliveries []schemas.Event, timelines Timelines, days []Day, rules Rules, now int64) ([]Usage, []DayBalance) {
	usage, balance := gather(deliveries, timelines, days, rules, now)

	var rows []Usage
	for _, g := range usage {
		g.Peak, g.PeakMS = Peak(g.live)
		g.Usage.Agents = int64(len(g.agents))
		rows = append(rows, g.Usage)
	}
	slices.SortFunc(rows, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Date, b.Date), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Subscription, b.Subscription))
	})
	var balances []DayBalance
	for day, b := range balance {
		balances = append(balances, DayBalance{day.Tenant, day.Date, b})
	}
	slices.SortFunc(balances, func(a, b DayBalance) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Date, b.Date))
	})
	return rows, balances
}

// key says of whom usage is gathered; subscription is empty for the tenant as a whole.
type key struct {
	day                 Day
	meter, subscription string
}

// gathered is usage before its peak and its agents are counted.
type gathered struct {
	Usage
	live   []Interval
	agents map[string]bool
}

// gather sorts the deliveries of the days by whom they count for, and by what became of them.
func gather(deliveries []schemas.Event, timelines Timelines, days []Day, rules Rules, now int64) (map[key]*gathered, map[Day]Balance) {
	usage := map[key]*gathered{}
	balance := map[Day]Balance{}
	lookup := NewLookup(timelines)

	byTenant := map[string][]Day{}
	for _, d := range days {
		byTenant[d.Tenant] = append(byTenant[d.Tenant], d)
	}
	for _, c := range Settle(deliveries) {
		attribution := lookup.Attribute(&c.Event)
		counts := c.Wins && !c.Voided && !attribution.Held && attribution.Subscription != ""
		for _, day := range byTenant[c.Tenant] {
			starts := day.FromMS <= c.AtMS() && c.AtMS() < day.ToMS
			if starts {
				balance[day] = balance[day].Add(classify(c, attribution))
			}
			if !counts {
				continue
			}
			var from, to int64
			if c.Type != schemas.ConnectUsage {
				from, to = rules.Live(&c.Event, now)
				from, to = max(from, day.FromMS), min(to, day.ToMS)
			}
			if !starts && from >= to {
				continue
			}
			for _, subscription := range []string{"", attribution.Subscription} {
				k := key{day, attribution.Meter, subscription}
				g := usage[k]
				if g == nil {
					g = &gathered{Usage: Usage{Tenant: c.Tenant, Date: day.Date, Meter: k.meter, Subscription: subscription}, agents: map[string]bool{}}
					usage[k] = g
				}
				if starts {
					g.Events++
					g.Units = g.Units.Add(decimal.New(c.Quantity, -6))
					if c.Type == schemas.AgentSession {
						g.agents[c.Agent] = true
					}
				}
				if from < to {
					who := c.Agent
					if c.Type == schemas.IVRSession {
						who = c.Source + "\x00" + c.ID
					}
					g.live = append(g.live, Interval{who, from, to})
					g.Milliseconds += to - from
				}
			}
		}
	}
	return usage, balance
}

// ReferenceProfile works out the profiles of some days from all deliveries of their tenants, in the order of tenant,
// date and meter.
func ReferenceProfile(deliveries []schemas.Event, timelines Timelines, days []Day, rules Rules, now int64) []Profile {
	usage, _ := gather(deliveries, timelines, days, rules, now)
	var profiles []Profile
	for k, g := range usage {
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
	if a.Held {
		b.Held = c.Deliveries
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

package registry

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"

	"apportion/schemas/civil"
)

// Beginning is where every timeline's first step stands: before any instant that an event can have, and far
// enough from the ends of int64 that differences do not overflow.
const Beginning int64 = math.MinInt64 / 2

// Step says that a value holds from an instant, in UTC epoch milliseconds, until the next step.
type Step[V comparable] struct {
	FromMS int64
	Value  V
}

// Timeline is a value over all of time: steps in order, the first at [Beginning], no two neighbours equal. It is
// a rule by date turned into what SQL can look up by instant.
type Timeline[V comparable] []Step[V]

// At returns the value at an instant, in UTC epoch milliseconds.
func (t Timeline[V]) At(ms int64) V {
	after := sort.Search(len(t), func(i int) bool { return t[i].FromMS > ms })
	return t[after-1].Value
}

// AgentMapping is what an agent's sessions take from the registry when they start: the subscription of R10.2,
// "" when there is none, and whether they are premium when they name no class (R9).
type AgentMapping struct {
	Subscription string
	Premium      bool
}

// EntitlementOf says what may be used by whom: a subscription, or with "" the tenant as a whole.
type EntitlementOf struct{ Subscription, Meter string }

// Compare is the order of the ids, then of the meters.
func (e EntitlementOf) Compare(o EntitlementOf) int {
	return cmp.Or(strings.Compare(e.Subscription, o.Subscription), strings.Compare(e.Meter, o.Meter))
}

// Timelines are one tenant's: Primary is the id of R4's primary, "" while there is none; EntryPoints is R10.2's
// subscription, "" while there is none; Active is by subscription id (R3); Entitlements is R14's.
type Timelines struct {
	Primary      Timeline[string]
	Active       map[string]Timeline[bool]
	Agents       map[string]Timeline[AgentMapping]
	EntryPoints  map[string]Timeline[string]
	Entitlements map[EntitlementOf]Timeline[int64]
}

// Timelines returns the tenant's timelines in its zone. Every seat brings ivrFactor IVR ports with it (R14).
func (t *Tenant) Timelines(z *civil.Zone, ivrFactor int64) Timelines {
	starts := make(map[civil.Date]int64) // the same dates come back for every user
	start := func(d civil.Date) int64 {
		ms, ok := starts[d]
		if !ok {
			ms = z.Start(d)
			starts[d] = ms
		}
		return ms
	}
	all := t.all()
	lines := Timelines{
		Primary: timeline(changes(all, nil), start, func(d civil.Date) string { return idOf(oldest(d, all)) }),
		Active:  make(map[string]Timeline[bool], len(all)),
	}
	for _, s := range all {
		lines.Active[s.ID] = timeline(changes([]*Subscription{s}, nil), start, s.ActiveOn)
	}
	lines.Entitlements = make(map[EntitlementOf]Timeline[int64])
	for _, meter := range pooledMeters {
		lines.Entitlements[EntitlementOf{"", meter}] = timeline(entitlementChanges(all), start, func(d civil.Date) int64 {
			return t.Entitlement(d, meter, ivrFactor)
		})
		for _, s := range all {
			lines.Entitlements[EntitlementOf{s.ID, meter}] = timeline(entitlementChanges([]*Subscription{s}), start, func(d civil.Date) int64 {
				return s.Entitlement(d, meter, ivrFactor)
			})
		}
	}
	users := t.mappedUsers()
	lines.Agents = make(map[string]Timeline[AgentMapping], len(users))
	for user, mappings := range users {
		lines.Agents[user] = timeline(changes(nil, mappings), start, func(d civil.Date) AgentMapping {
			active, premium := standing(d, mappings)
			return AgentMapping{idOf(oldest(d, active)), premium}
		})
	}
	entryPoints := t.mappedEntryPoints()
	lines.EntryPoints = make(map[string]Timeline[string], len(entryPoints))
	for entryPoint, mappings := range entryPoints {
		lines.EntryPoints[entryPoint] = timeline(changes(nil, mappings), start, func(d civil.Date) string {
			active, _ := standing(d, mappings)
			return idOf(oldest(d, active))
		})
	}
	return lines
}

func idOf(s *Subscription) string {
	if s == nil {
		return ""
	}
	return s.ID
}

// changes returns the dates, in order, on which anything about the subscriptions or the mappings can change.
func changes(subscriptions []*Subscription, mappings []mapping) []civil.Date {
	var dates []civil.Date
	add := func(s *Subscription) {
		for _, t := range s.activeTerms() {
			dates = append(dates, t.From, t.To)
		}
	}
	for _, s := range subscriptions {
		add(s)
	}
	for _, m := range mappings {
		add(m.to)
		dates = append(dates, m.during.From)
		if m.during.To != forever {
			dates = append(dates, m.during.To)
		}
	}
	slices.Sort(dates)
	return slices.Compact(dates)
}

// entitlementChanges returns the dates on which what the subscriptions commit to can change.
func entitlementChanges(subscriptions []*Subscription) []civil.Date {
	dates := changes(subscriptions, nil)
	for _, s := range subscriptions {
		for _, v := range s.Versions {
			dates = append(dates, v.From)
		}
	}
	slices.Sort(dates)
	return slices.Compact(dates)
}

// timeline turns a rule by date, which changes only on the given dates, into steps. A date that the zone skips
// starts where the next one does, and then the next one's value holds.
func timeline[V comparable](dates []civil.Date, start func(civil.Date) int64, rule func(civil.Date) V) Timeline[V] {
	var none V
	steps := Timeline[V]{{Beginning, none}}
	for _, d := range dates {
		step := Step[V]{start(d), rule(d)}
		if last := len(steps) - 1; steps[last].FromMS == step.FromMS {
			steps = steps[:last]
		}
		if steps[len(steps)-1].Value != step.Value {
			steps = append(steps, step)
		}
	}
	return steps
}

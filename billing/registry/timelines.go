package registry

import (
	"slices"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// Timelines returns the tenant's timelines in its zone. Every seat brings ivrFactor IVR ports with it (R14).
func (t *Tenant) Timelines(z *civil.Zone, ivrFactor int64) timeline.Tenant {
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
	lines := timeline.Tenant{
		Zone:    z,
		Primary: steps(changes(all, nil), start, func(d civil.Date) string { return idOf(oldest(d, all)) }),
		Active:  make(map[string]timeline.Line[bool], len(all)),
	}
	for _, s := range all {
		lines.Active[s.ID] = steps(changes([]*Subscription{s}, nil), start, s.ActiveOn)
	}
	lines.Entitlements = make(map[timeline.EntitlementOf]timeline.Line[int64])
	for _, meter := range schemas.PooledMeters {
		pool := func(d civil.Date) int64 { return t.Entitlement(d, meter, ivrFactor) }
		lines.Entitlements[timeline.EntitlementOf{Meter: meter}] = steps(entitlementChanges(all), start, pool)
		for _, s := range all {
			of := timeline.EntitlementOf{Subscription: s.ID, Meter: meter}
			own := func(d civil.Date) int64 { return s.Entitlement(d, meter, ivrFactor) }
			lines.Entitlements[of] = steps(entitlementChanges([]*Subscription{s}), start, own)
		}
	}
	users := t.mappedUsers()
	lines.Agents = make(map[string]timeline.Line[timeline.Mapping], len(users))
	for user, mappings := range users {
		lines.Agents[user] = steps(changes(nil, mappings), start, func(d civil.Date) timeline.Mapping {
			active, premium := activeMapped(d, mappings)
			return timeline.Mapping{Subscription: idOf(oldest(d, active)), Premium: premium}
		})
	}
	entryPoints := t.mappedEntryPoints()
	lines.EntryPoints = make(map[string]timeline.Line[string], len(entryPoints))
	for entryPoint, mappings := range entryPoints {
		lines.EntryPoints[entryPoint] = steps(changes(nil, mappings), start, func(d civil.Date) string {
			active, _ := activeMapped(d, mappings)
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
		for _, t := range s.ActiveTerms() {
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

// steps turns a rule by date, which changes only on the given dates, into steps. A date that the zone skips
// starts where the next one does, and then the next one's value holds.
func steps[V comparable](dates []civil.Date, start func(civil.Date) int64, rule func(civil.Date) V) timeline.Line[V] {
	var none V
	line := timeline.Line[V]{{FromMS: timeline.Start, Value: none}}
	for _, d := range dates {
		step := timeline.Step[V]{FromMS: start(d), Value: rule(d)}
		if last := len(line) - 1; line[last].FromMS == step.FromMS {
			line = line[:last]
		}
		if line[len(line)-1].Value != step.Value {
			line = append(line, step)
		}
	}
	return line
}

package registry

import (
	"maps"
	"slices"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// TimelineStep is what holds of a tenant during [From, To).
type TimelineStep struct {
	From civil.Date `json:"from"`
	To   civil.Date `json:"to,omitzero"` // the first date after it; NoDate: it goes on
	// Primary is the oldest active subscription (R4), none where no subscription is active.
	Primary string `json:"primary,omitempty"`
	// Payers are the payers of overage, by meter, where they are not the primary (R16).
	Payers map[string]string `json:"payers,omitempty"`
	Active []string          `json:"active"` // ids, oldest first (R3)
	// Pool is how much the tenant may use at once, by meter, and Shares what each active subscription brings of it (R14).
	Pool   map[string]int64            `json:"pool"`
	Shares map[string]map[string]int64 `json:"shares"`
}

func (s TimelineStep) same(o TimelineStep) bool {
	return s.Primary == o.Primary && maps.Equal(s.Payers, o.Payers) && slices.Equal(s.Active, o.Active) &&
		maps.Equal(s.Pool, o.Pool) && maps.EqualFunc(s.Shares, o.Shares, maps.Equal[map[string]int64])
}

// ClosingPrimary returns the primary at the last instant of a period at which the tenant has one, in its zone, and nil
// where it has none all period (R16).
func (t *Tenant) ClosingPrimary(m civil.Month, z *civil.Zone) *Subscription {
	for d := m.Next().First() - 1; d >= m.First(); d-- {
		if z.Start(d) < z.Start(d+1) {
			if primary := t.PrimaryOn(d); primary != nil {
				return primary
			}
		}
	}
	return nil
}

// Payers returns who pays for an overage of each meter whose peak is on a date (R16): the primary of that date or, of
// the agent meters of a tenant that is named for the period, the closing primary. Without a primary nobody does.
func (t *Tenant) Payers(d civil.Date, z *civil.Zone) map[string]string {
	payers := map[string]string{}
	primary := t.PrimaryOn(d)
	if primary == nil {
		return payers
	}
	closing := t.ClosingPrimary(d.Month(), z)
	for _, meter := range schemas.PooledMeters {
		payers[meter] = primary.ID
		if meter != schemas.IVRPort && closing != nil && closing.LicenceModel == Named {
			payers[meter] = closing.ID
		}
	}
	return payers
}

// Steps returns what holds of the tenant in the dates of [from, to), in its zone: steps in order, no two neighbours
// equal. NoDate for either goes as far as anything changes. Every seat brings ivrFactor IVR ports with it (R14).
func (t *Tenant) Steps(from, to civil.Date, z *civil.Zone, ivrFactor int64) []TimelineStep {
	steps := []TimelineStep{}
	var dates []civil.Date
	for _, d := range entitlementChanges(t.all()) {
		// Who pays can change where the month does of which a subscription closes (R16).
		dates = append(dates, d, d.Month().First(), d.Month().Next().First())
	}
	if from == civil.NoDate && len(dates) > 0 {
		from = changes(t.all(), nil)[0]
	}
	if len(dates) == 0 || to != civil.NoDate && to <= from {
		return steps
	}
	dates = append(dates, from)
	slices.Sort(dates)
	for _, d := range slices.Compact(dates) {
		if d < from || to != civil.NoDate && d >= to {
			continue
		}
		step := t.stepOn(d, z, ivrFactor)
		if n := len(steps) - 1; n >= 0 && steps[n].same(step) {
			continue
		} else if n >= 0 {
			steps[n].To = d
		}
		steps = append(steps, step)
	}
	if last := &steps[len(steps)-1]; to != civil.NoDate {
		last.To = to
	}
	return steps
}

func (t *Tenant) stepOn(d civil.Date, z *civil.Zone, ivrFactor int64) TimelineStep {
	step := TimelineStep{From: d, To: civil.NoDate, Active: t.activeIDs(d), Payers: t.Payers(d, z),
		Pool: map[string]int64{}, Shares: map[string]map[string]int64{}}
	if primary := t.PrimaryOn(d); primary != nil {
		step.Primary = primary.ID
	}
	maps.DeleteFunc(step.Payers, func(_, payer string) bool { return payer == step.Primary })
	for _, meter := range schemas.PooledMeters {
		step.Pool[meter] = t.Entitlement(d, meter, ivrFactor)
		for _, id := range step.Active {
			if step.Shares[id] == nil {
				step.Shares[id] = map[string]int64{}
			}
			step.Shares[id][meter] = t.Subscription(id).Entitlement(d, meter, ivrFactor)
		}
	}
	return step
}

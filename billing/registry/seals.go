package registry

import (
	"cmp"
	"fmt"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// Seal closes all periods up to one for good, of all tenants (R25): what reaches them later is kept and reported, and
// adjusts nothing. It is of no tenant, and stands in the one order of the command log.
type Seal struct {
	// Through is the last period that is sealed.
	Through civil.Month `json:"through"`
	// From is the first period that anybody was to issue by these books, 0 where it is each tenant's own first.
	From   civil.Month `json:"from,omitempty"`
	Reason string      `json:"reason"`
	By     Actor       `json:"by"`
	AtMS   int64       `json:"-"` // when it was given, UTC epoch milliseconds
	// Offset is that of the command that seals them.
	Offset int64 `json:"offset"`
}

// Seals returns every seal, in the order in which they were given; each goes further than the one before.
func (s State) Seals() []Seal { return s.seals[:len(s.seals):len(s.seals)] }

// SealedThrough returns the last period that is sealed; 0 for none.
func (s State) SealedThrough() civil.Month {
	if len(s.seals) == 0 {
		return 0
	}
	return s.seals[len(s.seals)-1].Through
}

// Sealed reports whether a period is sealed.
func (s State) Sealed(period civil.Month) bool {
	return len(s.seals) > 0 && period <= s.SealedThrough()
}

// mostUnissued is how many tenants a refusal to seal names.
const mostUnissued = 10

// decideSeal returns every reason to refuse that the periods up to one are sealed. Whether the grace has been over for
// long enough is for whoever gives the command to see: the log has no clock.
func decideSeal(s State, c Command) []Refusal {
	var check checker
	check.reason("data.reason", c.Reason)
	if s.Sealed(c.Period) {
		check.refuse(schemas.AlreadySealed, "data.through", c.Period.String(),
			"all periods up to %s are sealed already; seal a later one", s.SealedThrough())
		return check.refusals
	}
	from := c.From
	if len(s.seals) > 0 {
		from = max(from, s.SealedThrough()+1)
	}
	unissued := 0
	for _, t := range s.Tenants() {
		first, count := s.unissued(t, from, c.Period)
		if count == 0 {
			continue
		}
		if unissued++; unissued <= mostUnissued {
			more := ""
			if count > 1 {
				more = fmt.Sprintf(", and %d after it", count-1)
			}
			check.refuse(schemas.NotIssued, "data.through", c.Period.String(), "%s of %s is not issued%s (R25)",
				first, t.ID, more)
		}
	}
	if unissued > mostUnissued {
		check.refuse(schemas.NotIssued, "data.through", c.Period.String(),
			"%d more tenants have periods that are not issued (R25)", unissued-mostUnissued)
	}
	return check.refusals
}

// unissued returns the first of a tenant's periods from one to another that is not issued, and how many are not. Its
// periods begin with the first month that it has a term in, or is issued.
func (s State) unissued(t *Tenant, from, to civil.Month) (first civil.Month, count int) {
	issued := map[civil.Month]bool{}
	begins := to + 1
	for _, i := range s.Issues(t.ID) {
		issued[i.Period], begins = true, min(begins, i.Period)
	}
	for i := range t.Subscriptions {
		for _, term := range t.Subscriptions[i].ActiveTerms() {
			begins = min(begins, term.From.Month())
		}
	}
	for period := max(begins, from); period <= to; period++ {
		if !issued[period] {
			first = cmp.Or(first, period)
			count++
		}
	}
	return first, count
}

// notSealed refuses what would happen to a period that is sealed.
func (c *checker) notSealed(s State, period civil.Month) {
	if s.Sealed(period) {
		c.refuse(schemas.Sealed, "data.period", period.String(),
			"all periods up to %s are sealed, for good (R25): nothing is issued in them any more", s.SealedThrough())
	}
}

// tenantless are the commands that are of no tenant.
func tenantless(command string) bool {
	switch command {
	case AcceptHole, SealPeriods, RemoveDeliveries:
		return true
	}
	return false
}

// describeSeal says what a seal changes.
func describeSeal(old State, c Command) string {
	if len(old.seals) == 0 {
		return "+ sealed through " + c.Period.String()
	}
	return "+ sealed from " + old.SealedThrough().Next().String() + " through " + c.Period.String()
}

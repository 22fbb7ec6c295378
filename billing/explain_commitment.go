package billing

import (
	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Proration is what a commitment line is charged for (R18).
type Proration struct {
	Committed int64 `json:"committed"`
	Days      int   `json:"days"`
	MonthDays int   `json:"monthDays"`
	// Terms are those of the subscription that meet the dates of the line, and Cancelled when it was, or NoDate.
	Terms     []registry.Term `json:"terms"`
	Cancelled civil.Date      `json:"cancelled,omitzero"`
}

func (x *Explainer) commitment(e *Explanation, b *bill, s *registry.Subscription) {
	l, v := e.Line, s.VersionOn(e.Line.From)
	from, to := b.inForce(s, v)
	days, _, _ := s.ActiveDates(from, to)
	e.Commitment = &Proration{v.Commitments[l.Meter], days, b.period.Days(), []registry.Term{}, s.Cancelled}
	for _, t := range s.Terms {
		if t.From < to && from < t.To {
			e.Commitment.Terms = append(e.Commitment.Terms, t)
		}
	}
	x.price(e, b, s, v, string(Commitment), l.Meter)
	e.Sum = e.sum(int64(days), int64(b.period.Days()))
	e.check("seats or ports committed", decimal.NewFromInt(e.Commitment.Committed))
}

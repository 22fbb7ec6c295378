package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Verify works a line out again from the registry and the deliveries alone, and returns what differs. An overage is
// thereby the greatest of the whole period, not only what the sessions at its peak instant add up to. Progress is
// called with how many deliveries have been read.
func (x *Explainer) Verify(
	ctx context.Context, invoice Invoice, line Line, progress func(deliveries int64),
) (differences []string, err error) {
	compare := func(what, has, want string) {
		if has != want {
			differences = append(differences,
				fmt.Sprintf("the line has the %s %s, and it is computed as %s", what, cmp.Or(has, "none"), cmp.Or(want, "none")))
		}
	}
	if line.Kind == Adjustment {
		c, _, err := x.issuedBefore(ctx, invoice, line)
		if err != nil {
			return nil, err
		}
		if _, err := x.recomputePeriod(ctx, c, invoice.Subscription, line.Meter, progress); err != nil {
			return nil, err
		}
		compare("quantity", line.Quantity.String(), c.Quantity.Difference().String())
		compare("amount", invoice.Money(line.Amount), invoice.Money(c.Amount.Difference()))
		return differences, nil
	}
	invoices, err := x.recompute(ctx, invoice.Period, line.Kind, line.Meter, progress)
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
	return []string{"recomputed, there is no such line"}, nil
}

// recomputedOf says what was billed again: a period from its events of a type, or with none its commitments alone.
type recomputedOf struct {
	period civil.Month
	events schemas.Type
}

// recomputed is a period as it was billed again, from how many deliveries.
type recomputed struct {
	invoices   []Invoice
	deliveries int64
	err        error
}

// recompute bills a period again from its deliveries, by the rules in plain Go: all the lines that are based on the
// same type of events as one kind and meter do, and the commitments. Lines of one type share what was read.
func (x *Explainer) recompute(
	ctx context.Context, period civil.Month, kind Kind, meter string, progress func(deliveries int64),
) ([]Invoice, error) {
	var types []schemas.Type
	if kind != Commitment {
		types = typesOf(meter)
	}
	key := recomputedOf{period: period}
	if len(types) > 0 {
		key.events = types[0]
	}
	result, known := x.recomputed[key]
	if !known {
		result = x.recomputeOf(ctx, period, types, progress)
		if result.err != nil && !errors.As(result.err, new(*Stop)) {
			return nil, result.err
		}
		if x.recomputed == nil {
			x.recomputed = map[recomputedOf]recomputed{}
		}
		x.recomputed[key] = result
	} else if progress != nil && result.deliveries > 0 {
		progress(result.deliveries)
	}
	return result.invoices, result.err
}

// recomputeOf bills a period from the events of some types.
func (x *Explainer) recomputeOf(
	ctx context.Context, period civil.Month, types []schemas.Type, progress func(deliveries int64),
) (result recomputed) {
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return recomputed{err: err}
	}
	days := aggregate.Days(x.Tenant.ID, zone, period.First(), period.Next().First())
	measured := aggregate.NewMeasurement(aggregate.Inputs{Days: days, Timelines: x.timelines(zone),
		Rules: x.Rules.Rules, NowMS: x.NowMS})
	if len(types) > 0 {
		wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: types, FromMS: days[0].FromMS - x.reach(),
			ToMS: days[len(days)-1].ToMS}
		err := x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
			for _, c := range aggregate.ResolveRevisions(aggregate.Events(event)) {
				measured.Add(c)
			}
			result.deliveries += int64(len(event))
			if progress != nil {
				progress(result.deliveries)
			}
			return nil
		})
		if err != nil {
			return recomputed{err: fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)}
		}
	}
	usage := ByTenant(measured.Figures())[x.Tenant.ID]
	result.invoices, result.err = Bill(x.Tenant, zone, period, usage, x.Rules)
	return result
}

package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"apportion/aggregate"
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

// recompute bills a period again from its deliveries, by the rules in plain Go: all the lines that are based on the
// same type of events as one kind and meter do, and the commitments.
func (x *Explainer) recompute(
	ctx context.Context, period civil.Month, kind Kind, meter string, progress func(deliveries int64),
) ([]Invoice, error) {
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return nil, err
	}
	days := aggregate.Days(x.Tenant.ID, zone, period.First(), period.Next().First())
	measured := aggregate.NewMeasurement(aggregate.Inputs{Days: days, Timelines: x.timelines(zone),
		Rules: x.Rules.Rules, NowMS: x.NowMS})
	if kind != Commitment {
		wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: typesOf(meter), FromMS: days[0].FromMS - x.reach(),
			ToMS: days[len(days)-1].ToMS}
		var read int64
		err := x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
			for _, c := range aggregate.ResolveRevisions(aggregate.Events(event)) {
				measured.Add(c)
			}
			read += int64(len(event))
			if progress != nil {
				progress(read)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
		}
	}
	usage := ByTenant(measured.Figures())[x.Tenant.ID]
	return Bill(x.Tenant, zone, period, usage, x.Rules)
}

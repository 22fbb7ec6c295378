package service

import (
	"context"

	"github.com/google/uuid"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// SealRequest asks to seal all periods up to one, for all tenants (R25).
type SealRequest struct {
	Through civil.Month
	// From is the first period of the schedule, 0 for none: what is before it is for nobody to issue.
	From   civil.Month
	Reason string
}

// Seal seals all periods up to one, in somebody's name, or says why not (R25). The clock says whether their grace has
// been over for long enough; another one cannot be asked for, since a seal is final.
func (s *Invoices) Seal(ctx context.Context, by registry.Actor, ask SealRequest) ([]*Outcome, error) {
	if _, err := s.CheckClocks(ctx); err != nil {
		return nil, err
	}
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	tooEarly, err := billing.TooEarlyToSeal(state, ask.Through, s.SealAfterMonths, s.Clock().UnixMilli(), s.Rules)
	if err != nil {
		return nil, err
	}
	give := Single(registry.Command{
		ID: uuid.NewString(), Source: "apportion/billing", Command: registry.SealPeriods,
		Period: ask.Through, From: ask.From, Reason: ask.Reason,
	})
	return s.Registry.Give(ctx, by, func(state registry.State) []*Outcome {
		outcomes := give(state)
		if o := outcomes[0]; tooEarly != nil {
			o.Accepted, o.Event, o.Changes = false, nil, nil
			o.Refusals = append([]registry.Refusal{*tooEarly}, o.Refusals...)
		}
		return outcomes
	})
}

// Sealing is what is to be said of a period that is sealed: nothing adjusts it any more (R25).
type Sealing struct {
	Through civil.Month `json:"through"`
	Reason  string      `json:"reason"`
	By      string      `json:"by"`
	At      string      `json:"at"`
	Offset  int64       `json:"offset"`
	// Removed says that its deliveries are removed, so that nothing of it can be computed again; nil while they are kept.
	Removed *Removal `json:"removed,omitempty"`
}

// Like reports whether the same is to be said of two periods.
func (s *Sealing) Like(o *Sealing) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Offset == o.Offset && (s.Removed == nil) == (o.Removed == nil) &&
		(s.Removed == nil || s.Removed.Offset == o.Removed.Offset)
}

// Removal says when the deliveries of periods were removed, and where what they were billed from is.
type Removal struct {
	Through    civil.Month `json:"through"`
	At         string      `json:"at"`
	By         string      `json:"by"`
	Deliveries int64       `json:"deliveries"`
	Evidence   string      `json:"evidence"`
	Offset     int64       `json:"offset"`
}

// sealingOf returns what is to be said of a period that is sealed, nil of others.
func sealingOf(state registry.State, period civil.Month) *Sealing {
	var sealing *Sealing
	for _, seal := range state.Seals() {
		if period <= seal.Through && sealing == nil {
			sealing = &Sealing{Through: seal.Through, Reason: seal.Reason, By: seal.By.String(),
				At: civil.FormatMillis(seal.AtMS), Offset: seal.Offset}
		}
	}
	if sealing == nil {
		return nil
	}
	if removed := state.RemovedOf(period); removed != nil {
		sealing.Removed = &Removal{Through: *removed.Through, At: civil.FormatMillis(removed.AtMS), By: removed.By.String(),
			Deliveries: removed.Deliveries(), Evidence: removed.Evidence.Directory, Offset: removed.Offset}
	}
	return sealing
}

// computable returns an error of the code [schemas.Removed] if the deliveries of a period are removed: nothing can be
// computed of it any more, and what is left of them would give other figures.
func computable(state registry.State, period civil.Month) error {
	removed := state.RemovedOf(period)
	if removed == nil {
		return nil
	}
	return errorf(schemas.Removed, period, "%s: the deliveries of %s, which is sealed, were removed at %s (%s, R25): "+
		"nothing can be computed of it any more. Its invoices stand as they were issued, and the evidence of them is in %s",
		schemas.Removed, period, civil.FormatMillis(removed.AtMS), removed.By, removed.Evidence.Directory)
}

package service

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"apportion/billing/registry"
	"apportion/schemas"
)

// OpenHole is a hole of the ledger that nobody has accepted; it stops every issue (R22).
type OpenHole struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
}

// Holes are the offsets that were never taken in.
type Holes struct {
	Open     []OpenHole              `json:"open"`
	Accepted []registry.AcceptedHole `json:"accepted"`
}

// Holes returns the holes of the ledger.
func (s *Invoices) Holes(ctx context.Context) (*Holes, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	balances, err := s.Ledger.Balance(ctx, acceptedHoles(state)...)
	if err != nil {
		return nil, err
	}
	holes := &Holes{Open: []OpenHole{}, Accepted: append([]registry.AcceptedHole{}, state.AcceptedHoles()...)}
	for _, b := range balances {
		for _, h := range b.Holes {
			holes.Open = append(holes.Open, OpenHole{b.Topic, b.Partition, h.First, h.Last})
		}
	}
	return holes, nil
}

// AcceptHole accepts, in somebody's name, that offsets will never be taken in; they must lie in an open hole.
func (s *Invoices) AcceptHole(
	ctx context.Context, by registry.Actor, hole registry.Hole, reason string,
) ([]*Outcome, error) {
	holes, err := s.Holes(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(holes.Open, func(h OpenHole) bool {
		return h.Topic == hole.Topic && h.Partition == int(hole.Partition) && h.First <= hole.First && hole.Last <= h.Last
	}) {
		return nil, errorf(schemas.NoHole, 0, "the ledger has no open hole %s/%d with the offsets %d-%d",
			hole.Topic, hole.Partition, hole.First, hole.Last)
	}
	return s.Registry.Give(ctx, by, Single(registry.Command{
		ID: uuid.NewString(), Source: "apportion/ledger",
		Command: registry.AcceptHole, Hole: hole, Reason: reason,
	}))
}

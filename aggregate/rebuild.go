package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/google/uuid"

	"apportion/schemas/civil"
)

// Rebuilder is a Store that can do without anything that is derived from the deliveries.
type Rebuilder interface {
	Store
	// Refill records again the dates of the deliveries of the tenants or, with nil, of all.
	Refill(ctx context.Context, tenants []string) error
	// Highest returns the highest number of a pass that any day is current by.
	Highest(ctx context.Context) (uint64, error)
	// Clear deletes all figures that are no longer current.
	Clear(ctx context.Context) error
}

// aboveOthers is by how much the number of a rebuild is above all others: more than a pass that is under way can have
// taken in since the last.
const aboveOthers = 1 << 30

// Rebuild computes again all days of the tenants (nil: of all) in the period (nil: in all) from the deliveries,
// whatever is current for them. It can be stopped anywhere and run again. Figures that were right come out the same, so
// nothing that is issued is adjusted for it. A tenant whose days cannot be computed is left behind alone.
//
// Its pass is based on what the last one was based on, and is recorded before its days become current: a pass that
// begins later has a higher number and wins, and one that was under way has a lower one, and is repeated.
func Rebuild(ctx context.Context, store Rebuilder, registry Snapshot, rules Rules, tenants []string,
	period *civil.Month, progress func(done, total int)) (Report, error) {
	if err := store.Refill(ctx, tenants); err != nil {
		return Report{}, fmt.Errorf("recording the dates of deliveries: %w", err)
	}
	pass, err := above(ctx, store, registry, rules)
	if err != nil {
		return Report{}, err
	}
	dirty, err := store.DirtyDays(ctx, nil, pass.Positions, nil, rules)
	if err != nil {
		return Report{}, fmt.Errorf("finding the days to compute: %w", err)
	}
	ofShards := make([][][]Day, len(dirty))
	for shard, dates := range dirty {
		maps.DeleteFunc(dates, func(tenant string, _ map[civil.Date]int64) bool {
			return tenants != nil && !slices.Contains(tenants, tenant)
		})
		for _, days := range chunks(dates, registry.Timelines) {
			days = slices.DeleteFunc(days, func(d Day) bool { return period != nil && d.Date.Month() != *period })
			if len(days) > 0 {
				ofShards[shard] = append(ofShards[shard], days)
			}
		}
	}
	report, err := recomputeAll(ctx, store, pass, ofShards, registry.Timelines, rules, progress)
	if err != nil {
		return report, err
	}
	if err := leave(ctx, store, pass, report.Behind); err != nil {
		return report, fmt.Errorf("recording the pass of aggregation: %w", err)
	}
	if err := store.Clear(ctx); err != nil {
		return report, fmt.Errorf("deleting what is no longer current: %w", err)
	}
	return report, nil
}

// leave records, under the next number, that the pass has left tenants behind beside those that were before.
func leave(ctx context.Context, store Store, pass Pass, behind []Behind) error {
	was := len(pass.Behind)
	for _, b := range behind {
		if _, known := pass.BehindOn(b.Tenant); !known {
			pass.Behind = append(pass.Behind, b)
		}
	}
	if len(pass.Behind) == was {
		return nil
	}
	slices.SortFunc(pass.Behind, func(x, y Behind) int { return cmp.Compare(x.Tenant, y.Tenant) })
	pass.Pass, pass.Attempt = pass.Pass+1, uuid.New()
	return store.Finish(ctx, pass)
}

// above records the last pass once more under a number above all that are current.
func above(ctx context.Context, store Rebuilder, registry Snapshot, rules Rules) (Pass, error) {
	pass, err := Refresher(store, rules)(ctx, registry)
	if err != nil {
		return Pass{}, err
	}
	if pass.RegistryOffset != registry.RegistryOffset {
		return Pass{}, fmt.Errorf("the last row of usage_passes is based on the registry up to offset %d, "+
			"and the registry ends at %d; where it has just changed, run this again, else delete the rows of usage_passes first",
			pass.RegistryOffset-1, registry.RegistryOffset-1)
	}
	highest, err := store.Highest(ctx)
	if err != nil {
		return Pass{}, fmt.Errorf("reading which days are current: %w", err)
	}
	if highest = max(highest, pass.Pass); highest > math.MaxUint64-2*aboveOthers {
		return Pass{}, errors.New("usage_days or usage_passes has a number that no pass has made, and none can be above; " +
			"delete its rows")
	}
	pass.Pass, pass.Attempt = highest+aboveOthers, uuid.New()
	if err := store.Finish(ctx, pass); err != nil {
		return Pass{}, fmt.Errorf("recording the pass of aggregation: %w", err)
	}
	return pass, nil
}

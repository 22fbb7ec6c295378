package billing

import (
	"fmt"
	"slices"
	"sync"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// Snapshot gives aggregation what it needs of the registry: the zones of the tenants and, as timelines that SQL
// can look up, the answers of the rules; of all tenants, or of those named.
func Snapshot(state registry.State, rules Rules, only ...string) (aggregate.Snapshot, error) {
	snapshot := aggregate.Snapshot{RegistryOffset: state.Version(), Timelines: aggregate.Timelines{}}
	for _, tenant := range state.Tenants() {
		if len(only) > 0 && !slices.Contains(only, tenant.ID) {
			continue
		}
		zone, err := zoneOf(tenant, rules)
		if err != nil {
			return aggregate.Snapshot{}, err
		}
		snapshot.Tenants = append(snapshot.Tenants, aggregate.Tenant{ID: tenant.ID, Version: state.Base(tenant.ID),
			ChangedFrom: func(offset int64) civil.Date { return state.ChangedFrom(tenant.ID, offset) }})
		snapshot.Timelines[tenant.ID] = aggregate.Timeline{Zone: zone, Lines: sync.OnceValue(func() timeline.Tenant {
			return tenant.Timelines(zone, rules.IVRPortFactor)
		})}
	}
	return snapshot, nil
}

func zoneOf(tenant *registry.Tenant, rules Rules) (*civil.Zone, error) {
	zone, err := rules.zones().Load(tenant.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", tenant.ID, err)
	}
	return zone, nil
}

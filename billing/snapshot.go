package billing

import (
	"fmt"
	"maps"
	"slices"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Snapshot gives aggregation what it needs of the registry: the zones of the tenants and, as timelines that SQL
// can look up, the answers of the rules; of all tenants, or of those named.
func Snapshot(state registry.State, rules Rules, only ...string) (aggregate.Snapshot, error) {
	snapshot := aggregate.Snapshot{Offset: state.Version(), IVRPortFactor: rules.IVRPortFactor}
	snapshot.Timelines.Zones = map[string]*civil.Zone{}
	for _, tenant := range state.Tenants() {
		if len(only) > 0 && !slices.Contains(only, tenant.ID) {
			continue
		}
		zone, err := zoneOf(tenant, rules)
		if err != nil {
			return aggregate.Snapshot{}, err
		}
		snapshot.Tenants = append(snapshot.Tenants, aggregate.Tenant{ID: tenant.ID, Zone: zone, Version: state.Base(tenant.ID)})
		snapshot.Timelines.Zones[tenant.ID] = zone
		addTimelines(&snapshot.Timelines, tenant.ID, tenant.Timelines(zone, rules.IVRPortFactor))
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

// addTimelines appends a tenant's timelines, keys in byte order so that equal registries give equal queries.
func addTimelines(to *aggregate.Timelines, tenant string, from registry.Timelines) {
	for _, step := range from.Primary {
		to.Primary = append(to.Primary, aggregate.PrimaryStep{Tenant: tenant, FromMS: step.FromMS, Subscription: step.Value})
	}
	for _, id := range slices.Sorted(maps.Keys(from.Active)) {
		for _, step := range from.Active[id] {
			to.Active = append(to.Active, aggregate.ActiveStep{Tenant: tenant, Subscription: id, FromMS: step.FromMS, Active: step.Value})
		}
	}
	for _, agent := range slices.Sorted(maps.Keys(from.Agents)) {
		for _, step := range from.Agents[agent] {
			to.Agents = append(to.Agents, aggregate.AgentStep{Tenant: tenant, Agent: agent, FromMS: step.FromMS,
				Subscription: step.Value.Subscription, Premium: step.Value.Premium})
		}
	}
	for _, of := range slices.SortedFunc(maps.Keys(from.Entitlements), registry.EntitlementOf.Compare) {
		for _, step := range from.Entitlements[of] {
			to.Entitlements = append(to.Entitlements, aggregate.EntitlementStep{Tenant: tenant, Subscription: of.Subscription, Meter: of.Meter, FromMS: step.FromMS, Quantity: step.Value})
		}
	}
	for _, entryPoint := range slices.Sorted(maps.Keys(from.EntryPoints)) {
		for _, step := range from.EntryPoints[entryPoint] {
			to.EntryPoints = append(to.EntryPoints, aggregate.EntryPointStep{Tenant: tenant, EntryPoint: entryPoint, FromMS: step.FromMS, Subscription: step.Value})
		}
	}
}

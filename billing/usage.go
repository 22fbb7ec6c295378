package billing

import (
	"context"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// Usage is where a run reads usage from; aggregate/clickhouse has it.
type Usage interface {
	// LastPass returns the pass that finished last, and the zero Pass before the first.
	LastPass(ctx context.Context) (aggregate.Pass, error)
	// Positions returns the end of the ledger, in the order of topic and partition.
	Positions(ctx context.Context) ([]aggregate.Position, error)
	// Load returns the current figures of the dates `[from, to)`, of the tenants or, with nil, of all
	// that have any.
	Load(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error)
	// Peaks returns the peaks of a tenant as a whole on the dates `[from, to)`, as the current figures have them.
	Peaks(ctx context.Context, tenant string, from, to civil.Date) ([]aggregate.Usage, error)
	// Proof counts what the dates `[from, to)` of the tenants or, with nil, of all that have a zone have, from the
	// deliveries as stored up to the positions of the pass: in the order of tenant and date, those alone that have any.
	Proof(ctx context.Context, tenants []string, from, to civil.Date, pass aggregate.Pass,
		timelines aggregate.Timelines) ([]aggregate.Proof, error)
	// Compute computes the figures of the days from the deliveries within the bound, and stores nothing.
	Compute(ctx context.Context, in aggregate.Inputs) (*aggregate.Figures, error)
	// MonthsChangedSince returns the months of each of the tenants or, with nil, of all that have a day whose current
	// figures are of a pass after the given one, with the number of the last such pass.
	MonthsChangedSince(ctx context.Context, tenants []string, after uint64) (map[string]map[civil.Month]uint64, error)
	// Noted finds what is to be said of single events that start on the days and, where after is not nil, have a delivery
	// behind those positions (R24), in the order of tenant and code.
	Noted(ctx context.Context, in aggregate.Inputs, after []aggregate.Position) ([]aggregate.Noted, error)
	// AtPeaks finds what is live at the peaks that somebody should look at, of those alone that have any; the days are
	// those that the peaks lie on.
	AtPeaks(ctx context.Context, in aggregate.Inputs, peaks []aggregate.PeakAt) ([]aggregate.AtPeak, error)
	// Unbilled returns the dates of the tenants that have usage which no invoice will carry, and those from a date
	// on that have any usage, by tenant and date.
	Unbilled(ctx context.Context, tenants []string, from civil.Date) (map[string][]civil.Date, error)
	// Refused returns, of the tenants, what was refused behind some positions and up to others: of events that have an
	// accepted delivery each refused one, in the order of events and records; of the others, by tenant, how many events
	// there are, and the first of them.
	Refused(ctx context.Context, tenants []string, after, upTo []aggregate.Position) (corrections []aggregate.Refused,
		others []aggregate.Noted, err error)
	// Reaching finds the accepted deliveries behind some positions and up to others of events that have one before an
	// instant given of their tenant, in UTC epoch milliseconds: by tenant, how many events there are, and the first of
	// them.
	Reaching(ctx context.Context, before map[string]int64, after, upTo []aggregate.Position) ([]aggregate.Noted, error)
	// UnknownTenants returns the tenants that the registry did not know when their usage was computed, in byte order
	// (R22).
	UnknownTenants(ctx context.Context) ([]string, error)
	// Profile returns the concurrency over each of the days, as Compute would have it, in the order of tenant, date and
	// meter.
	Profile(ctx context.Context, in aggregate.Inputs) ([]aggregate.Profile, error)
}

// TenantUsage is what a tenant used in a period.
type TenantUsage struct {
	// Days has the usage of the dates of the period, in the order of date, meter and subscription.
	Days []aggregate.Usage
	// Agents counts distinct agents over whole periods (R15).
	Agents map[aggregate.AgentsOf]int64
	// Balance says what became of the period's deliveries (R22).
	Balance aggregate.Balance
	// Unproved says on which dates, and how, these do not agree with the deliveries as stored (R22).
	Unproved []string
}

// ByTenant gives each tenant its own part of the figures.
func ByTenant(figures *aggregate.Figures) map[string]TenantUsage {
	usage := map[string]TenantUsage{}
	for _, u := range figures.Usage {
		t := usage[u.Tenant]
		t.Days = append(t.Days, u)
		usage[u.Tenant] = t
	}
	for _, d := range figures.Balances {
		t := usage[d.Tenant]
		t.Balance = t.Balance.Add(d.Balance)
		usage[d.Tenant] = t
	}
	for tenant, unproved := range figures.Unproved {
		t := usage[tenant]
		t.Unproved = unproved
		usage[tenant] = t
	}
	for tenant, t := range usage {
		t.Agents = figures.Agents
		usage[tenant] = t
	}
	return usage
}

// Differences says what is lost or doubled between the deliveries of the period and the usage of the
// subscriptions; nothing where it balances (R22).
func (u TenantUsage) Differences() []string {
	found := slices.Clone(u.Unproved)
	if d := u.Balance.Difference(); d != 0 {
		found = append(found, fmt.Sprintf("of %d accepted deliveries %d are in no class", u.Balance.Accepted, d))
	}
	var tenant, subscriptions aggregate.Usage
	for _, day := range u.Days {
		sum := &subscriptions
		if day.Subscription == "" {
			sum = &tenant
		}
		sum.Events += day.Events
		sum.Milliseconds += day.Milliseconds
		sum.Units = sum.Units.Add(day.Units)
	}
	whole := decimal.NewFromInt
	for _, c := range []struct {
		what          string
		whole, summed decimal.Decimal
	}{
		{"deliveries counted and events of the subscriptions", whole(u.Balance.Counted), whole(subscriptions.Events)},
		{"events of the tenant and of its subscriptions", whole(tenant.Events), whole(subscriptions.Events)},
		{"milliseconds of the tenant and of its subscriptions", whole(tenant.Milliseconds),
			whole(subscriptions.Milliseconds)},
		{"units of the tenant and of its subscriptions", tenant.Units, subscriptions.Units},
	} {
		if !c.whole.Equal(c.summed) {
			found = append(found, fmt.Sprintf("%s differ: %s and %s", c.what, c.whole, c.summed))
		}
	}
	return found
}

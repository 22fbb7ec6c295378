package service

import (
	"context"
	"math"
	"slices"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// TenantAt is what the registry says of a tenant at an instant.
type TenantAt struct {
	Tenant        string     `json:"tenantId"`
	Name          string     `json:"name"`
	TimeZone      string     `json:"timeZone"`
	Telephony     string     `json:"telephony"`
	Offset        int64      `json:"offset"` // of the last command that changed it
	At            string     `json:"at"`
	Date          civil.Date `json:"date"` // of that instant, in the tenant's zone
	Subscriptions int        `json:"subscriptions"`
	Active        []string   `json:"active"`            // ids, in byte order (R3)
	Primary       string     `json:"primary,omitempty"` // id (R4); none without an active subscription
	// Payers pay for an overage whose peak is on that date, by meter (R16); none without an active subscription.
	Payers map[string]string `json:"payers"`
	// Pool is how much it may use at once, by meter (R14), and Entitlement the same by an older name.
	Pool        map[string]int64 `json:"pool"`
	Entitlement map[string]int64 `json:"entitlement"`
	// Findings are those of its last issue and of the months after it, as somebody looked last (R24).
	Findings []billing.KeptFinding `json:"findings,omitempty"`
	// Changed is the last command that changed it.
	Changed  *registry.Change `json:"changed,omitempty"`
	Document *registry.Tenant `json:"document,omitempty"`
}

// NewTenantAt returns what a state of the registry says of one of its tenants at an instant, in UTC epoch milliseconds;
// the last change and the document are left out.
func NewTenantAt(state registry.State, t *registry.Tenant, ms int64, rules billing.Rules) (*TenantAt, error) {
	zone, err := civil.LoadZone(t.TimeZone)
	if err != nil {
		return nil, err
	}
	date := zone.DateOf(ms)
	at := &TenantAt{
		Tenant: t.ID, Name: t.Name, TimeZone: t.TimeZone, Telephony: t.Telephony, Offset: state.Base(t.ID),
		At: civil.FormatMillis(ms), Date: date, Subscriptions: len(t.Subscriptions),
		Active: []string{}, Payers: t.Payers(date, zone), Pool: map[string]int64{},
	}
	for _, s := range t.ActiveOn(date) {
		at.Active = append(at.Active, s.ID)
	}
	slices.Sort(at.Active)
	if primary := t.PrimaryOn(date); primary != nil {
		at.Primary = primary.ID
	}
	for _, meter := range schemas.PooledMeters {
		at.Pool[meter] = t.Entitlement(date, meter, rules.IVRPortFactor)
	}
	at.Entitlement = at.Pool
	return at, nil
}

// FindingsNow returns what was found at the last issue of a tenant, and of the months after that when somebody looked
// last (R24); of every month that was looked at before the first issue.
func (s *Invoices) FindingsNow(
	ctx context.Context, state registry.State, tenant string,
) ([]billing.KeptFinding, error) {
	ask := billing.FindingFilter{Tenants: []string{tenant}, Limit: math.MaxInt32}
	if issues := state.Issues(tenant); len(issues) > 0 {
		ask.From = issues[len(issues)-1].Period
	}
	return s.Findings.List(ctx, ask)
}

// AccessLoss is a user of a tenant who loses access.
type AccessLoss struct {
	Tenant string `json:"tenantId"`
	registry.AccessLoss
}

// LosingAccess returns the users who lose access on a date, which begins in each tenant's zone (R7), in the order of
// tenant and user.
func LosingAccess(state registry.State, date civil.Date) []AccessLoss {
	losses := []AccessLoss{}
	for _, t := range state.Tenants() {
		for _, l := range t.LosingAccess(date) {
			losses = append(losses, AccessLoss{t.ID, l})
		}
	}
	return losses
}

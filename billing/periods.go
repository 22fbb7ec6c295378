package billing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Statuses says how far periods of tenants are, which are in any order, and leaves out those that their tenants do not
// have. Of what is not issued it has what an issue would give, by the daily figures, which are brought up to date
// first: of all periods in the same few queries, since most have no usage and all ask the same of their tenants.
func (b *Biller) Statuses(ctx context.Context, periods []TenantPeriod, nowMS int64) ([]TenantStatus, error) {
	for range rounds {
		chains, err := AllIssues(b.State, tenantsOf(periods))
		if err != nil {
			return nil, err
		}
		d := &drafter{b, chains, nowMS, map[TenantPeriod]*TenantStatus{}}
		var open []TenantPeriod
		var issued []Issue
		for _, p := range periods {
			begun, err := b.hasPeriod(b.State.Tenant(p.Tenant), p.Period)
			if err != nil {
				return nil, err
			}
			if !begun {
				continue
			}
			if d.statuses[p], err = b.status(b.State.Tenant(p.Tenant), p.Period, nowMS); err != nil {
				return nil, err
			}
			if issue := issueOf(chains[p.Tenant], p.Period); issue != nil {
				issued = append(issued, *issue)
			} else {
				open = append(open, p)
			}
		}
		again, err := d.draft(ctx, open)
		if err != nil {
			return nil, err
		}
		if again {
			continue
		}
		if err := d.addIssued(ctx, issued); err != nil {
			return nil, err
		}
		statuses := []TenantStatus{}
		for _, p := range periods {
			if s := d.statuses[p]; s != nil {
				statuses = append(statuses, *s)
			}
		}
		return statuses, nil
	}
	return nil, errors.New("the registry kept changing while periods were looked at; run it again")
}

// tenantsOf returns the tenants of periods, each once.
func tenantsOf(periods []TenantPeriod) []string {
	tenants := []string{}
	for _, p := range periods {
		tenants = append(tenants, p.Tenant)
	}
	slices.Sort(tenants)
	return slices.Compact(tenants)
}

// StateOf says how far a period of a tenant is by the clock and the log, which do not know what else may stop it, and
// whether the tenant has the period.
func (b *Biller) StateOf(p TenantPeriod, nowMS int64) (state PeriodState, has bool, err error) {
	t := b.State.Tenant(p.Tenant)
	if has, err = b.hasPeriod(t, p.Period); err != nil || !has {
		return "", false, err
	}
	s, err := b.status(t, p.Period, nowMS)
	if err != nil {
		return "", false, err
	}
	return s.State, true, nil
}

// hasPeriod reports whether a period of a tenant is, or will be, to be issued: from the month on in which a
// subscription is first active, or that was issued first. One that is sealed and not issued never will be (R25).
func (b *Biller) hasPeriod(t *registry.Tenant, period civil.Month) (bool, error) {
	if b.State.Sealed(period) {
		return b.State.IsIssued(t.ID, period), nil
	}
	if slices.ContainsFunc(b.State.Issues(t.ID), func(i registry.Issued) bool { return i.Period <= period }) {
		return true, nil
	}
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return false, err
	}
	first := t.FirstActive(zone)
	return first != civil.NoDate && first.Month() <= period, nil
}

// drafter adds to the statuses of periods what is issued of them, or would be.
type drafter struct {
	*Biller
	// chains are all issues of the tenants.
	chains   map[string][]Issue
	nowMS    int64
	statuses map[TenantPeriod]*TenantStatus
}

// addInvoices adds what the invoices of a period add up to, and what was found.
func (d *drafter) addInvoices(p TenantPeriod, invoices []Invoice, account Account) {
	s := d.statuses[p]
	for _, i := range invoices {
		s.Invoices++
		s.Totals = AddTotals(s.Totals, account.TotalsOf(i))
	}
	s.Findings = append(s.Findings, account.Findings...)
}

func (d *drafter) stop(p TenantPeriod, stop *Stop) {
	d.statuses[p].State, d.statuses[p].Stop = PeriodStopped, stop
}

// addIssued adds what is issued.
func (d *drafter) addIssued(ctx context.Context, issues []Issue) error {
	stops, err := d.readIssued(ctx, issues, d.chains, func(issue Issue, account Account) {
		d.addInvoices(TenantPeriod{issue.Tenant, issue.Period}, issue.Invoices, account)
	})
	for _, stop := range stops {
		d.stop(TenantPeriod{stop.Tenant, stop.Period}, stop)
	}
	return err
}

// draft adds what an issue of periods would give now, by the stored figures. Passes go on meanwhile: only a period that
// does not balance, and whose tenant one of them changed while it was read, is read again. It reports whether the
// registry changed meanwhile, and all has to be done again.
func (d *drafter) draft(ctx context.Context, periods []TenantPeriod) (again bool, err error) {
	for round := 1; len(periods) > 0; round++ {
		snapshot, err := Snapshot(d.State, d.Rules)
		if err != nil {
			return false, err
		}
		pass, err := d.refresh(ctx, snapshot)
		if err != nil || pass.RegistryOffset > snapshot.RegistryOffset {
			return true, err
		}
		moving, err := d.addStored(ctx, periods, snapshot, pass)
		if err != nil {
			return false, err
		}
		periods = nil
		for _, stop := range moving {
			if p := (TenantPeriod{stop.Tenant, stop.Period}); round < drafts {
				periods = append(periods, p)
			} else {
				d.stop(p, stop)
			}
		}
	}
	return false, nil
}

// drafts is how often a period is read that does not balance and keeps changing.
const drafts = 10

// addStored adds what an issue of periods would give, by the figures of a pass. It returns the stops of those that do
// not balance and whose tenant changed while they were read: part of that may be of a later pass.
func (d *drafter) addStored(ctx context.Context, periods []TenantPeriod, snapshot aggregate.Snapshot,
	pass aggregate.Pass) (moving []*Stop, err error) {
	figures, err := d.provedMonths(ctx, periods, pass, snapshot.Timelines)
	if err != nil {
		return nil, err
	}
	var tenants []*registry.Tenant
	for _, id := range tenantsOf(periods) {
		tenants = append(tenants, d.State.Tenant(id))
	}
	rerated, err := d.rerate(ctx, tenants, d.chains, pass, snapshot.Timelines, slices.Collect(maps.Keys(figures))...)
	if err != nil {
		return nil, err
	}
	usage := map[civil.Month]map[string]TenantUsage{}
	for month, of := range figures {
		usage[month] = ByTenant(of)
	}
	issues := map[civil.Month][]Issue{}
	for _, p := range periods {
		stop := stopBehind(p, pass)
		if stop == nil {
			stop = rerated.changed[p.Tenant]
		}
		if stop != nil {
			d.stop(p, stop)
			continue
		}
		invoices, _, err := d.billTenant(d.State.Tenant(p.Tenant), p.Period, usage[p.Period][p.Tenant],
			rerated.periods[p.Tenant])
		switch {
		case errors.As(err, &stop) && stop.Code == schemas.Unbalanced && rerated.moved[p.Tenant]:
			moving = append(moving, stop)
		case errors.As(err, &stop):
			d.stop(p, stop)
		case err != nil:
			return nil, err
		default:
			issues[p.Period] = append(issues[p.Period], Issue{Tenant: p.Tenant, Period: p.Period, Invoices: invoices})
		}
	}
	return moving, d.addDrafts(ctx, issues, figures, d.basisOf(snapshot, pass.Pass, pass.Positions))
}

// addDrafts adds what issues would be, by month.
func (d *drafter) addDrafts(ctx context.Context, issues map[civil.Month][]Issue,
	figures map[civil.Month]*aggregate.Figures, on basis) error {
	// What has come since a tenant was issued is found in all of its drafts.
	all := slices.Concat(slices.Collect(maps.Values(issues))...)
	var balances []aggregate.DayBalance
	for _, of := range figures {
		balances = append(balances, of.Balances...)
	}
	since, err := d.sinceIssue(ctx, all, balances, d.chains, on, d.nowMS)
	if err != nil {
		return err
	}
	documents := documents{}
	for month, of := range issues {
		found, err := d.findingsBeside(ctx, since, of, figures[month], on, d.nowMS)
		if err != nil {
			return err
		}
		for _, issue := range of {
			account := Account{Tenant: d.State.Tenant(issue.Tenant), Findings: found[issue.Tenant]}
			account.TaxedAs, err = d.taxedAs(account.Tenant, issue.Invoices, d.chains[issue.Tenant], documents)
			if err != nil {
				return err
			}
			d.addInvoices(TenantPeriod{issue.Tenant, month}, issue.Invoices, account)
		}
	}
	return nil
}

// provedMonths returns the figures of each month, as [Proved] does: those of months that follow each other, of all
// tenants that any of them is wanted of, are read together.
func (d *drafter) provedMonths(ctx context.Context, periods []TenantPeriod, pass aggregate.Pass,
	timelines aggregate.Timelines) (map[civil.Month]*aggregate.Figures, error) {
	of := map[civil.Month][]TenantPeriod{}
	for _, p := range periods {
		of[p.Period] = append(of[p.Period], p)
	}
	months := slices.Sorted(maps.Keys(of))
	figures := map[civil.Month]*aggregate.Figures{}
	for len(months) > 0 {
		n := 1
		for n < len(months) && months[n] == months[n-1].Next() {
			n++
		}
		var some []TenantPeriod
		for _, month := range months[:n] {
			some = append(some, of[month]...)
		}
		proved, err := provedByMonth(ctx, d.Usage, tenantsOf(some), months[0], months[n-1], pass, timelines)
		if err != nil {
			return nil, fmt.Errorf("reading the usage from %s to %s: %w", months[0], months[n-1], err)
		}
		maps.Copy(figures, proved)
		months = months[n:]
	}
	return figures, nil
}

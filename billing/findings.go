package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Finding is something about a tenant that a person should look at before the month is signed. It stops nothing (R24).
type Finding struct {
	Code schemas.Code `json:"code"`
	// Tenant is empty where it is of all: usage of tenants that the registry lacks.
	Tenant string      `json:"tenantId"`
	Period civil.Month `json:"period"`
	// Count says of how many events, or names, it is; and Names are up to ten of them in byte order, events by source
	// and id.
	Count  int64    `json:"count"`
	Names  []string `json:"names"`
	Rule   string   `json:"rule"`
	Advice string   `json:"advice"`
	// Records are the refused deliveries. They depend on the order and number of deliveries, so files leave them out
	// (R23).
	Records []schemas.RecordID `json:"records,omitempty"`
}

// Found is a finding as it is recorded with an issue.
type Found struct {
	Code  schemas.Code `json:"code"`
	Count int64        `json:"count"`
	Names []string     `json:"names"`
}

// Look is what was found of a tenant's period when somebody looked, which may be nothing.
type Look struct {
	// Tenant is empty for what is of all.
	Tenant   string
	Period   civil.Month
	Findings []Finding
	// Issued says that it was found at the issue, which is for good.
	Issued bool
	// Pass and RegistryOffset say what was looked at, as in [aggregate.Basis], and AtMS when, in UTC epoch milliseconds.
	Pass           uint64
	RegistryOffset int64
	AtMS           int64
}

// KeptFinding is a finding as it was kept, with when it was looked for: what has come since is not in it.
type KeptFinding struct {
	Finding
	LookedAt civil.Millis `json:"lookedAt" doc:"When it was looked for: what has come since is not in it."`
}

// FindingFilter asks for findings that were kept.
type FindingFilter struct {
	// Everyone asks for those of all tenants, and those that are of all together; else they are of Tenants.
	Everyone bool
	Tenants  []string
	Code     schemas.Code // empty for all
	From     civil.Month  // the first period; 0 for all
	// AfterTenant, AfterPeriod and AfterCode are of the finding that they follow, and Limit is how many there are at the
	// most.
	AfterTenant, AfterPeriod, AfterCode string
	Limit                               int
}

// Look returns what was found at an issue.
func (i Issue) Look() Look {
	return Look{Tenant: i.Tenant, Period: i.Period, Findings: i.findings(), Issued: true, Pass: i.Pass,
		RegistryOffset: i.RegistryOffset, AtMS: i.AtMS}
}

func (i Issue) findings() (all []Finding) {
	for _, f := range i.Findings {
		all = append(all, newFinding(f, i.Tenant, i.Period))
	}
	return all
}

// newFinding returns a finding of a tenant's period, with the rule and the advice of its code.
func newFinding(f Found, tenant string, period civil.Month) Finding {
	return Finding{Code: f.Code, Tenant: tenant, Period: period, Count: f.Count, Names: f.Names,
		Rule: f.Code.Rule(), Advice: f.Code.Advice()}
}

// Lacking reports whether a bill with this finding is known to lack something: an issue with one ends as done, with
// findings (R24).
func (f Finding) Lacking() bool {
	return f.Code == schemas.RefusedCorrection || f.Code == schemas.NeverBilled || f.Code == schemas.Ahead
}

// String says the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s): %s: %d (%s); %s", strings.TrimSpace(f.Tenant+" "+f.Period.String()),
		f.Code, f.Rule, cmp.Or(f.Code.Title(), "to be looked at"), f.Count, f.Named(), f.Advice)
}

// Named lists the names, in quotes where outer spaces would be lost on the reader.
func (f Finding) Named() string {
	names := slices.Clone(f.Names)
	for n, name := range names {
		if strings.TrimSpace(name) != name {
			names[n] = strconv.Quote(name)
		}
	}
	if int64(len(names)) < f.Count {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// Findings returns what there is to be looked at in a period of all tenants (R24): of those that are issued what was
// found at the issue, and of the others what an issue would find now, by their figures as the pass has them. Now is in
// UTC epoch milliseconds.
func (b *Biller) Findings(ctx context.Context, period civil.Month, figures *aggregate.Figures, pass aggregate.Pass,
	nowMS int64) ([]Finding, error) {
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	chains, err := AllIssues(b.State, nil)
	if err != nil {
		return nil, err
	}
	usage := ByTenant(figures)
	run := &Run{Period: period}
	var open []Issue
	for _, t := range b.State.Tenants() {
		if issue := issueOf(chains[t.ID], period); issue != nil {
			run.Findings = append(run.Findings, issue.findings()...)
			continue
		}
		// One that is stopped has no invoices to look at.
		invoices, err := Bill(t, snapshot.Timelines.Zone(t.ID), period, usage[t.ID], b.Rules)
		if err != nil && !errors.As(err, new(*Stop)) {
			return nil, err
		}
		open = append(open, Issue{Tenant: t.ID, Period: period, Invoices: invoices})
	}
	on := b.basisOf(snapshot, pass.Pass, pass.Positions)
	found, err := b.findingsOf(ctx, open, figures, chains, on, nowMS)
	if err != nil {
		return nil, err
	}
	for _, findings := range found {
		run.Findings = append(run.Findings, findings...)
	}
	if err := b.addUnknownTenants(ctx, run); err != nil {
		return nil, err
	}
	sortFindings(run.Findings)
	return run.Findings, nil
}

// LastFindings counts, by code, what was found at the last issue of each tenant, and the tenants that the registry
// lacks.
func (b *Biller) LastFindings(ctx context.Context) (map[schemas.Code]int64, error) {
	counts := map[schemas.Code]int64{}
	for _, code := range schemas.CodesOf(schemas.IsFinding) {
		counts[code] = 0
	}
	chains, err := AllIssues(b.State, nil)
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		for _, f := range chain[len(chain)-1].Findings {
			counts[f.Code]++
		}
	}
	var run Run
	err = b.addUnknownTenants(ctx, &run)
	for _, f := range run.Findings {
		counts[f.Code] = f.Count
	}
	return counts, err
}

// sortFindings puts findings in the order of tenant and code.
func sortFindings(findings []Finding) {
	order := schemas.CodesOf(schemas.IsFinding)
	rank := func(f Finding) int {
		if at := slices.Index(order, f.Code); at >= 0 {
			return at
		}
		return len(order) // of another release
	}
	slices.SortFunc(findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(rank(x), rank(y)))
	})
}

// addUnknownTenants adds to the findings of a run that the registry lacks tenants that have usage.
func (b *Biller) addUnknownTenants(ctx context.Context, run *Run) error {
	unknown, err := b.Usage.UnknownTenants(ctx)
	if err != nil {
		return fmt.Errorf("reading which tenants the registry lacks: %w", err)
	}
	unknown = slices.DeleteFunc(slices.Clone(unknown), func(id string) bool { return b.State.Tenant(id) != nil })
	if len(unknown) > 0 {
		names := unknown[:min(len(unknown), aggregate.MostNames)]
		run.Findings = append(run.Findings,
			newFinding(Found{schemas.UnknownTenant, int64(len(unknown)), names}, "", run.Period))
	}
	return nil
}

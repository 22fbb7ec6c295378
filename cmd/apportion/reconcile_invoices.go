package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/schemas/civil"

	"github.com/shopspring/decimal"
)

// followToInvoices says of every tenant what of its units is on invoices (R22). What is issued must be what the
// deliveries come to that the issue rested on; what differs beyond that has come in since, and is for the next
// adjustment (R21).
func (a *app) followToInvoices(ctx context.Context, r *reconciliation, period civil.Month) error {
	chains, err := a.issuesInTable(ctx, r)
	if err != nil {
		return err
	}
	issues := map[string][]billing.Issue{} // by tenant: that of the period, and those since
	var all []billing.Issue
	for tenant, chain := range chains {
		if at := slices.IndexFunc(chain, func(i billing.Issue) bool { return i.Period == period }); at >= 0 {
			issues[tenant] = chain[at:]
			all = append(all, chain[at:]...)
		}
	}
	invoices, err := a.invoiceLines(a.conn).Invoices(ctx, all)
	if err != nil {
		return err
	}
	for _, issue := range all {
		if stop := issue.Changed(invoices[issue.ID]); stop != nil {
			r.differ(issue.Tenant, fmt.Sprintf("%s: %s; %s", issue.Period, stop.Message, stop.Advice))
		}
	}
	for tenant := range issues {
		for i, issue := range issues[tenant] {
			issues[tenant][i].Invoices = invoices[issue.ID]
		}
	}
	for tenant := range issues {
		if !slices.ContainsFunc(r.Tenants, func(t tenantBalance) bool { return t.Tenant == tenant }) {
			r.Tenants = append(r.Tenants, tenantBalance{Tenant: tenant})
		}
	}
	slices.SortFunc(r.Tenants, func(x, y tenantBalance) int { return strings.Compare(x.Tenant, y.Tenant) })
	for i := range r.Tenants {
		t := &r.Tenants[i]
		of := issues[t.Tenant]
		t.Issued = len(of) > 0 && of[0].Period == period
		if !t.Issued {
			for j := range t.Usage {
				t.Usage[j].NotIssued = t.Usage[j].Units
			}
			continue
		}
		invoiced := billing.InvoicedUnits(period, of)
		changed := t.takeInvoiced(invoiced)
		if !changed {
			continue
		}
		latest := of[len(of)-1]
		rested, err := a.countedAt(ctx, latest, period)
		if err != nil {
			return err
		}
		for _, meter := range slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(slices.Collect(maps.Keys(invoiced)), maps.Keys(rested))))) {
			if !invoiced[meter].Equal(rested[meter]) {
				t.Differences = append(t.Differences, fmt.Sprintf("%s: %s units of %s are on invoices, but the deliveries that pass %d rested on come to %s",
					period, invoiced[meter], meter, latest.Pass, rested[meter]))
			}
		}
	}
	return nil
}

// issuesInTable returns what is issued of each tenant, as the registry's log has it, and says where issued_periods differs
// from that.
func (a *app) issuesInTable(ctx context.Context, r *reconciliation) (map[string][]billing.Issue, error) {
	var fold registryFold
	if err := fold.catchUp(ctx, a); err != nil {
		return nil, err
	}
	log := a.registryLog(a.conn)
	if err := recordVerdicts(ctx, log, fold.judged); err != nil {
		return nil, err
	}
	chains, err := billing.AllIssues(fold.state, nil)
	if err != nil {
		return nil, err
	}
	rows, err := log.IssuedHashes(ctx)
	if err != nil {
		return nil, err
	}
	const mend = "; `apportion registry rebuild` writes the table again from the log"
	seen := map[string]bool{}
	for _, row := range rows {
		chain := chains[row.Tenant]
		if row.Seq < 1 || row.Seq > len(chain) || chain[row.Seq-1].Hash != row.Hash || chain[row.Seq-1].Period.String() != row.Period {
			r.differ(row.Tenant, fmt.Sprintf("issued_periods has %s as issue %d, which the registry's log has not%s", row.Period, row.Seq, mend))
		}
		seen[row.Hash] = true
	}
	for _, tenant := range slices.Sorted(maps.Keys(chains)) {
		for _, i := range chains[tenant] {
			if !seen[i.Hash] {
				r.differ(tenant, fmt.Sprintf("issued_periods lacks %s, issue %d on the registry's log%s", i.Period, i.Seq, mend))
			}
		}
	}
	return chains, nil
}

// takeInvoiced enters what is on invoices, and reports whether that is anything but what is counted now.
func (t *tenantBalance) takeInvoiced(invoiced map[string]decimal.Decimal) (changed bool) {
	for _, meter := range slices.Sorted(maps.Keys(invoiced)) {
		at := slices.IndexFunc(t.Usage, func(c billing.Counted) bool { return c.Meter == meter })
		if at < 0 {
			at = len(t.Usage)
			t.Usage = append(t.Usage, billing.Counted{Meter: meter})
		}
		t.Usage[at].Invoiced = invoiced[meter]
	}
	slices.SortFunc(t.Usage, func(x, y billing.Counted) int { return strings.Compare(x.Meter, y.Meter) })
	for j := range t.Usage {
		c := &t.Usage[j]
		c.Since = c.Units.Sub(c.Invoiced)
		changed = changed || !c.Since.IsZero()
	}
	return changed
}

// countedAt works out the units of a tenant's period by meter, from what an issue rested on.
func (a *app) countedAt(ctx context.Context, issue billing.Issue, period civil.Month) (map[string]decimal.Decimal, error) {
	store := a.usage(a.conn)
	explainer := &billing.Explainer{Rules: a.billingRules()}
	if err := a.restOnIssue(ctx, explainer, new(basis), issue); err != nil {
		return nil, err
	}
	state, err := a.registryUpTo(ctx, issue.RegistryOffset)
	if err != nil {
		return nil, err
	}
	snapshot, err := billing.Snapshot(state, explainer.Rules, issue.Tenant)
	if err != nil {
		return nil, err
	}
	days := aggregate.Days(issue.Tenant, snapshot.Timelines.Zone(issue.Tenant), period.First(), period.Next().First())
	figures, err := store.Compute(ctx, aggregate.Inputs{Days: days, Bound: explainer.Bound, Timelines: snapshot.Timelines,
		Rules: explainer.Rules.Rules, NowMS: explainer.Now})
	if err != nil {
		return nil, fmt.Errorf("working out what %s of %s rested on: %w", period, issue.Tenant, err)
	}
	units := map[string]decimal.Decimal{}
	for _, c := range billing.ByTenant(figures)[issue.Tenant].Counted() {
		if c.IsConnect() {
			units[c.Meter] = c.Units
		}
	}
	return units, nil
}

// writeCounted writes what was counted by meter and where it went on, sessions and units apart, and checks for the
// reader that both together are all that counted.
func (r *reconciliation) writeCounted(w io.Writer) {
	meters := map[string]billing.Counted{}
	var sessions, events int64
	for _, t := range r.Tenants {
		for _, c := range t.Usage {
			meters[c.Meter] = c.Add(meters[c.Meter])
			if c.IsConnect() {
				events += c.Events
			} else {
				sessions += c.Events
			}
		}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	var ofSessions, ofUnits [][]string
	for _, meter := range slices.Sorted(maps.Keys(meters)) {
		c := meters[meter]
		if c.IsConnect() {
			ofUnits = append(ofUnits, []string{meter, number(c.Events), c.Units.String(), c.UnitsOnSubscriptions.String(), c.Invoiced.String(), c.NotIssued.String(), c.Since.String()})
		} else {
			ofSessions = append(ofSessions, []string{meter, number(c.Events), number(c.OnSubscriptions), number(c.Milliseconds), number(c.MillisecondsOnSubscriptions)})
		}
	}
	fmt.Fprintf(w, "\nCounted: %d = %s + %s.\n\n", r.Total.Counted, counted(int(sessions), "session", "sessions"), counted(int(events), "Connect event", "Connect events"))
	if len(ofSessions) > 0 {
		writeTable(w, []string{"METER", "SESSIONS", "ON SUBSCRIPTIONS", "MILLISECONDS", "ON SUBSCRIPTIONS"}, ofSessions, 2, 3, 4, 5)
		fmt.Fprintln(w)
	}
	if len(ofUnits) > 0 {
		writeTable(w, []string{"METER", "EVENTS", "UNITS", "ON SUBSCRIPTIONS", "ON INVOICES", "NOT ISSUED", "SINCE THE ISSUE"}, ofUnits, 2, 3, 4, 5, 6, 7)
		fmt.Fprintln(w)
	}
}

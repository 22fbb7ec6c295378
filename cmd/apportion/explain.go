package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"apportion/aggregate"
	usage "apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

func newExplainCommand(a *app) *cobra.Command {
	var asOf string
	var verify bool
	cmd := &cobra.Command{
		Use:   "explain INVOICE/LINE",
		Short: "Show how an invoice line came about, down to the deliveries",
		Long: `Shows the rule and the figures behind a line, whose price it is and who pays it, and the
deliveries that it rests on, by topic, partition and offset: for an overage every session that
was live at the peak instant, with its subscription and how it came to it. --json has all of
them, however many there are.

An issued line is explained by what its issue rested on, whatever has come in since. Where the
period is not issued, the line is that of a preview as of now, or --as-of.

With --verify, the line is worked out again from those deliveries and the registry alone, by
the rules in plain Go and not by stored figures or SQL: all sessions of the period, for an
overage, since it has to be the greatest. The exit code is 3 if anything differs.`,
		Example: `  apportion explain --config data/apportion.yaml INV-Sub100001-202610/3
  apportion explain --config data/apportion.yaml INV-Sub100001-202610/3 --verify
  apportion explain --config data/apportion.yaml INV-Sub100001-202610/3 --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error {
			line, err := parseLine(args[0])
			if err != nil {
				return err
			}
			now, err := parseAsOf(asOf, time.Now)
			if err != nil {
				return err
			}
			return a.explainLine(ctx, line, now, verify)
		}),
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "work the line out again from the deliveries and the registry alone")
	asOfFlag(cmd, &asOf)
	return cmd
}

// lineName is which line is asked for.
type lineName struct {
	invoice, subscription string
	period                civil.Month
	no                    int
}

// parseLine reads a line's name, such as INV-Sub100001-202610/3.
func parseLine(s string) (l lineName, err error) {
	if l.invoice, l.no, err = billing.ParseLineID(s); err != nil {
		return l, usageError{err}
	}
	l.subscription, l.period, err = billing.ParseInvoiceID(l.invoice)
	return l, err
}

// basis is what an explanation rests on.
type basis struct {
	// Issued is false for a line of a preview, which has no pass.
	Issued         bool           `json:"issued"`
	Pass           uint64         `json:"pass,omitempty"`
	RegistryOffset int64          `json:"registryOffset"`
	Positions      []positionJSON `json:"positions"`
	TimeZones      string         `json:"timeZones"`
	Now            string         `json:"now,omitempty"`
}

type positionJSON struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	LastOffset int64  `json:"lastOffset"`
}

type verification struct {
	Equal       bool     `json:"equal"`
	Deliveries  int64    `json:"deliveries"`
	Differences []string `json:"differences"`
}

// explained is the result of the command.
type explained struct {
	RestsOn     basis                `json:"basis"`
	Explanation *billing.Explanation `json:"explanation"`
	Verified    *verification        `json:"verified,omitempty"`

	zone string
}

func (a *app) explainLine(ctx context.Context, name lineName, now int64, verify bool) error {
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return err
	}
	store := a.usage(conn)
	explainer := &billing.Explainer{Rules: a.billingRules(), Deliveries: store, Lines: a.invoiceLines(conn)}
	var result explained
	invoice, err := a.findInvoice(ctx, store, explainer, &result.RestsOn, name, now)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(invoice.Lines, func(l billing.Line) bool { return l.No == name.no })
	if at < 0 {
		return fmt.Errorf("%s has no line %d: its lines are 1 to %d", name.invoice, name.no, len(invoice.Lines))
	}
	line := invoice.Lines[at]
	if result.Explanation, err = explainer.Explain(ctx, *invoice, line); err != nil {
		return err
	}
	result.zone = explainer.Tenant.TimeZone
	if verify {
		progress := a.progress("deliveries read", -1)
		v := &verification{}
		v.Differences, err = explainer.Verify(ctx, *invoice, line, func(read int64) {
			v.Deliveries = read
			progress.set(read)
		})
		if err != nil {
			return err
		}
		if v.Deliveries > 0 {
			progress.end()
		}
		v.Equal, v.Differences = len(v.Differences) == 0, append([]string{}, v.Differences...)
		result.Verified = v
	}
	if err := a.print(result, func(w io.Writer) { result.write(w) }); err != nil {
		return err
	}
	if n := len(result.Explanation.Differences); n > 0 || verify && !result.Verified.Equal {
		return findings("the line is not what the deliveries come to, as said above; `apportion reconcile --period " + name.period.String() + "` shows what was lost")
	}
	return nil
}

// findInvoice finds an invoice, gives the explainer what it rests on, and says so.
func (a *app) findInvoice(ctx context.Context, store *usage.Store, explainer *billing.Explainer, rests *basis, name lineName, now int64) (*billing.Invoice, error) {
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return nil, err
	}
	of := slices.IndexFunc(state.Tenants(), func(t *registry.Tenant) bool { return t.Subscription(name.subscription) != nil })
	if of < 0 {
		return nil, fmt.Errorf("there is no invoice %s: no tenant has a subscription %s; `apportion registry show TENANT` lists a tenant's, and `apportion bill preview --period %s` the invoices",
			name.invoice, name.subscription, name.period)
	}
	tenant := state.Tenants()[of]
	if explainer.Chain, err = billing.Issues(state, tenant.ID); err != nil {
		return nil, err
	}
	for _, issue := range explainer.Chain {
		if issue.Period != name.period {
			continue
		}
		invoices, err := billing.IssuedInvoices(ctx, explainer.Lines, []billing.Issue{issue})
		if err != nil {
			return nil, err
		}
		for i, invoice := range invoices[issue.ID] {
			if invoice.ID == name.invoice {
				return &invoices[issue.ID][i], a.restOnIssue(ctx, explainer, rests, issue)
			}
		}
		return nil, fmt.Errorf("%s of %s is issued, and %s has no invoice in it; those it has: %s",
			name.period, tenant.ID, name.subscription, idsOf(invoices[issue.ID]))
	}
	return a.restOnPreview(ctx, store, explainer, rests, name, state, tenant, now)
}

func idsOf(invoices []billing.Invoice) string {
	var ids []string
	for _, i := range invoices {
		ids = append(ids, i.ID)
	}
	if ids == nil {
		return "none"
	}
	return strings.Join(ids, ", ")
}

// restOnIssue sets the explainer on what an issue rested on.
func (a *app) restOnIssue(ctx context.Context, explainer *billing.Explainer, rests *basis, issue billing.Issue) error {
	state, err := a.registryUpTo(ctx, issue.RegistryOffset)
	if err != nil {
		return err
	}
	if explainer.Tenant = state.Tenant(issue.Tenant); explainer.Tenant == nil {
		return fmt.Errorf("the registry before offset %d, which %s of %s rests on, has no such tenant: restore the command topic", issue.RegistryOffset, issue.Period, issue.Tenant)
	}
	if explainer.Rules, err = billing.ParseRules(issue.Rules); err != nil {
		return fmt.Errorf("%s of %s is issued by rules that this program does not know: %w; use the release that issued it, or a later one", issue.Period, issue.Tenant, err)
	}
	zone, err := civil.ReadZone(explainer.Tenant.TimeZone, issue.Zone)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", issue.Period, issue.Tenant, err)
	}
	explainer.Rules.Zones = civil.Only(issue.TZVersion, zone)
	explainer.Bound = aggregate.ReadBound{Positions: issue.Positions, ArrivedBy: aggregate.EndOfTime}
	explainer.Now = aggregate.EndOfTime
	*rests = basis{Issued: true, Pass: issue.Pass, RegistryOffset: issue.RegistryOffset, Positions: positionsOf(issue.Positions), TimeZones: issue.TZVersion}
	return nil
}

// restOnPreview previews the period of one tenant, and sets the explainer on what that rests on.
func (a *app) restOnPreview(ctx context.Context, store *usage.Store, explainer *billing.Explainer, rests *basis, name lineName, state registry.State, tenant *registry.Tenant, now int64) (*billing.Invoice, error) {
	positions, err := store.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	explainer.Tenant, explainer.Now = tenant, now
	explainer.Bound = aggregate.ReadBound{Positions: positions, ArrivedBy: aggregate.EndOfTime}
	*rests = basis{RegistryOffset: state.Version(), Positions: positionsOf(positions), TimeZones: civil.Edition(), Now: civil.FormatMillis(now)}
	biller := &billing.Biller{State: state, Rules: explainer.Rules, Usage: billing.Pinned(store, positions), Lines: explainer.Lines, Log: issueLog{a: a, fold: &registryFold{}}, Progress: func(int, int) {}}
	run, err := biller.Preview(ctx, name.period, []string{tenant.ID}, now)
	if err != nil {
		return nil, err
	}
	for _, s := range run.Stopped {
		return nil, fmt.Errorf("the period is not issued, and a preview of it stops: %w", s)
	}
	for i := range run.Invoices {
		if run.Invoices[i].ID == name.invoice {
			return &run.Invoices[i], nil
		}
	}
	return nil, fmt.Errorf("there is no invoice %s: %s of %s is not issued, and a preview gives: %s", name.invoice, name.period, tenant.ID, idsOf(run.Invoices))
}

func positionsOf(positions []aggregate.Position) []positionJSON {
	all := []positionJSON{}
	for _, p := range positions {
		all = append(all, positionJSON{p.Topic, p.Partition, p.LastOffset})
	}
	return all
}

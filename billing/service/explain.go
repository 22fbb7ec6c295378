package service

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Basis is what an explanation is based on.
type Basis struct {
	// Issued is false for a line of a preview, which has no pass.
	Issued bool `json:"issued"`
	aggregate.Basis
	Now string `json:"now,omitempty"`
}

// Verification is what came of computing a line again from the deliveries and the registry alone.
type Verification struct {
	Equal       bool     `json:"equal"`
	Deliveries  int64    `json:"deliveries"`
	Differences []string `json:"differences"`
}

// Explained is how a line came about.
type Explained struct {
	Basis       Basis                `json:"basis"`
	Explanation *billing.Explanation `json:"explanation"`
	Verified    *Verification        `json:"verified,omitempty"`
	// TimeZone is the tenant's.
	TimeZone string `json:"timeZone"`
}

// Agrees reports whether the line is what the deliveries total.
func (e *Explained) Agrees() bool {
	return len(e.Explanation.Differences) == 0 && (e.Verified == nil || e.Verified.Equal)
}

// Verdict returns what came of computing the line again, with where its explanation does not add up to it.
func (e *Explained) Verdict() Verification {
	v := *e.Verified
	v.Differences = append(slices.Clone(e.Explanation.Differences), v.Differences...)
	v.Equal = e.Agrees()
	return v
}

// ExplainedInvoice is how every line of an invoice came about.
type ExplainedInvoice struct {
	Basis    Basis               `json:"basis"`
	TimeZone string              `json:"timeZone"`
	Invoice  billing.InvoiceJSON `json:"invoice"`
	Lines    []*Explained        `json:"lines"`
}

// ExplainRequest asks how a line came about, or every line of an invoice.
type ExplainRequest struct {
	Invoice billing.InvoiceName
	// Line is its number, 0 for all.
	Line int
	// NowMS is the now of R12 where the period is not issued, in UTC epoch milliseconds.
	NowMS int64
	// Verify asks for the line to be computed again, and Read is called with the deliveries read for that; it may be nil.
	Verify bool
	Read   func(deliveries int64)
}

// Explain says how a line came about: an issued one from what its issue was based on, else that of a preview.
func (s *Invoices) Explain(ctx context.Context, ask ExplainRequest) (*Explained, error) {
	var basis Basis
	of, err := s.findInvoice(ctx, ask, &basis)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(of.invoice.Lines, func(l billing.Line) bool { return l.No == ask.Line })
	if at < 0 {
		return nil, errorf(schemas.NoLine, ask.Invoice.Period, "%s has no line %d: its lines are 1 to %d",
			ask.Invoice, ask.Line, len(of.invoice.Lines))
	}
	return of.explain(ctx, ask, basis, of.invoice.Lines[at])
}

// ExplainInvoice says how every line of an invoice came about.
func (s *Invoices) ExplainInvoice(ctx context.Context, ask ExplainRequest) (*ExplainedInvoice, error) {
	result := &ExplainedInvoice{}
	of, err := s.findInvoice(ctx, ask, &result.Basis)
	if err != nil {
		return nil, err
	}
	result.TimeZone, result.Invoice = of.explainer.Tenant.TimeZone, of.account.JSON(*of.invoice, !result.Basis.Issued)
	for _, line := range of.invoice.Lines {
		explained, err := of.explain(ctx, ask, result.Basis, line)
		if err != nil {
			return nil, err
		}
		result.Lines = append(result.Lines, explained)
	}
	return result, nil
}

// explainable is an invoice with what explains it.
type explainable struct {
	explainer *billing.Explainer
	invoice   *billing.Invoice
	account   billing.Account
}

// explain says how a line of the invoice came about.
func (of *explainable) explain(
	ctx context.Context, ask ExplainRequest, basis Basis, line billing.Line,
) (*Explained, error) {
	explanation, err := of.explainer.Explain(ctx, *of.invoice, line)
	if err != nil {
		return nil, err
	}
	result := &Explained{Basis: basis, Explanation: explanation, TimeZone: of.explainer.Tenant.TimeZone}
	if !ask.Verify {
		return result, nil
	}
	v := &Verification{}
	v.Differences, err = of.explainer.Verify(ctx, *of.invoice, line, func(read int64) {
		v.Deliveries = read
		if ask.Read != nil {
			ask.Read(read)
		}
	})
	v.Equal, v.Differences = len(v.Differences) == 0, append([]string{}, v.Differences...)
	result.Verified = v
	return result, err
}

// findInvoice finds an invoice, and returns it with what explains it.
func (s *Invoices) findInvoice(
	ctx context.Context, ask ExplainRequest, basis *Basis,
) (*explainable, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.lookUp(ctx, state, ask.Invoice)
	if err != nil {
		return nil, err
	}
	if found.issue == nil {
		return s.findDraft(ctx, ask, state, found.tenant, found.chain, basis)
	}
	if found.invoice == nil {
		return nil, errorf(schemas.NoInvoice, ask.Invoice.Period,
			"%s of %s is issued, and %s has no invoice in it; those it has: %s",
			ask.Invoice.Period, found.tenant.ID, ask.Invoice.Subscription, idsOf(found.invoices))
	}
	if err := computable(state, ask.Invoice.Period); err != nil {
		return nil, err
	}
	explainer, err := s.explainerOf(*found.issue)
	if err != nil {
		return nil, err
	}
	explainer.Chain = found.chain
	at := slices.IndexFunc(found.chain, func(i billing.Issue) bool { return i.Seq == found.issue.Seq })
	if err := s.explainSince(explainer, found.chain[:at], found.issue.RegistryOffset); err != nil {
		return nil, err
	}
	*basis = Basis{Issued: true, Basis: found.issue.Basis.Basis}
	return &explainable{explainer, found.invoice, found.account}, nil
}

// lookedUp is what there is of an invoice that is asked for by its id.
type lookedUp struct {
	tenant *registry.Tenant // as it stands now
	chain  []billing.Issue  // of the tenant
	// issue is that of the period, nil where it is not issued; then there are no invoices either.
	issue    *billing.Issue
	invoices []billing.Invoice
	account  billing.Account
	invoice  *billing.Invoice // nil where the issue has none for the subscription
}

// lookUp looks for an invoice among what is issued.
func (s *Invoices) lookUp(
	ctx context.Context, state registry.State, id billing.InvoiceName,
) (found lookedUp, err error) {
	if found.tenant, err = payerOf(state, id); err != nil {
		return found, err
	}
	if found.chain, err = billing.Issues(state, found.tenant.ID); err != nil {
		return found, err
	}
	at := slices.IndexFunc(found.chain, func(i billing.Issue) bool { return i.Period == id.Period })
	if at < 0 {
		return found, nil
	}
	found.issue = &found.chain[at]
	run, err := s.billerOn(state, registry.Actor{}).Issued(ctx, id.Period, found.tenant.ID)
	if err != nil {
		return found, err
	}
	for _, stop := range run.Stopped {
		return found, stop
	}
	found.invoices, found.account = run.Invoices, run.Accounts[found.tenant.ID]
	if n := slices.IndexFunc(found.invoices, func(i billing.Invoice) bool { return i.ID == id.String() }); n >= 0 {
		found.invoice = &found.invoices[n]
	}
	return found, nil
}

// payerOf returns the tenant whose subscription an invoice is sent to.
func payerOf(state registry.State, id billing.InvoiceName) (*registry.Tenant, error) {
	if tenant := state.Owner(id.Subscription); tenant != nil {
		return tenant, nil
	}
	return nil, errorf(schemas.NoInvoice, id.Period, "there is no invoice %s: no tenant has a subscription %s",
		id, id.Subscription)
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

// explainerOf returns what explains an issue, from what it was based on.
func (s *Invoices) explainerOf(issue billing.Issue) (*billing.Explainer, error) {
	state, err := s.Registry.At(issue.RegistryOffset)
	if err != nil {
		return nil, err
	}
	tenant := state.Tenant(issue.Tenant)
	if tenant == nil {
		return nil, fmt.Errorf(
			"the registry before offset %d, which %s of %s is based on, has no such tenant: restore the command topic",
			issue.RegistryOffset, issue.Period, issue.Tenant)
	}
	rules, err := billing.ParseRules(issue.Rules)
	if err != nil {
		return nil, fmt.Errorf("%s of %s is issued by rules that this program does not know: %w; "+
			"use the release that issued it, or a later one",
			issue.Period, issue.Tenant, err)
	}
	zone, err := civil.ReadZone(tenant.TimeZone, issue.Zone)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", issue.Period, issue.Tenant, err)
	}
	rules.Zones = civil.Only(issue.TZVersion, zone)
	return &billing.Explainer{
		Tenant: tenant, Rules: rules, Deliveries: s.Usage, Lines: s.Lines,
		Bound: aggregate.ReadBound{Positions: issue.Positions, ArrivedBy: aggregate.EndOfTime}, NowMS: aggregate.EndOfTime,
	}, nil
}

// explainSince lets an explainer, whose registry ends before an offset, say what has come since the last of the issues
// before.
func (s *Invoices) explainSince(x *billing.Explainer, before []billing.Issue, offset int64) (err error) {
	if len(before) == 0 {
		return nil
	}
	last := before[len(before)-1]
	if x.Then, err = s.explainerOf(last); err != nil {
		return err
	}
	x.Commands = s.Registry.Changes(func(tenant string, o, _ int64) bool {
		return tenant == x.Tenant.ID && o >= last.RegistryOffset && o < offset
	})[x.Tenant.ID]
	return nil
}

// findDraft previews the period of one tenant, and returns the invoice with what explains it.
func (s *Invoices) findDraft(
	ctx context.Context, ask ExplainRequest, state registry.State, tenant *registry.Tenant, chain []billing.Issue,
	basis *Basis,
) (*explainable, error) {
	if err := computable(state, ask.Invoice.Period); err != nil {
		return nil, err
	}
	biller := s.billerOn(state, registry.Actor{})
	biller.Progress = nil
	run, err := biller.Preview(ctx, ask.Invoice.Period, []string{tenant.ID}, ask.NowMS)
	if err != nil {
		return nil, err
	}
	for _, stop := range run.Stopped {
		return nil, fmt.Errorf("the period is not issued, and a preview of it stops: %w", stop)
	}
	account := run.Accounts[tenant.ID]
	*basis = Basis{Now: civil.FormatMillis(ask.NowMS), Basis: account.Basis}
	explainer := &billing.Explainer{
		Tenant: account.Tenant, Rules: s.Rules, Deliveries: s.Usage, Lines: s.Lines, Chain: chain,
		Bound: aggregate.ReadBound{Positions: account.Positions, ArrivedBy: aggregate.EndOfTime}, NowMS: ask.NowMS,
	}
	if err := s.explainSince(explainer, chain, account.RegistryOffset); err != nil {
		return nil, err
	}
	for i := range run.Invoices {
		if run.Invoices[i].ID == ask.Invoice.String() {
			return &explainable{explainer, &run.Invoices[i], account}, nil
		}
	}
	return nil, errorf(schemas.NoInvoice, ask.Invoice.Period,
		"there is no invoice %s: %s of %s is not issued, and a preview gives: %s",
		ask.Invoice, ask.Invoice.Period, tenant.ID, idsOf(run.Invoices))
}

// IssuedInvoice is an invoice that is issued, with what it was based on.
type IssuedInvoice struct {
	Invoice billing.Invoice
	Account billing.Account
	ID      billing.InvoiceName
	Tenant  *registry.Tenant // as it stands now
	Zone    *civil.Zone      // as it was at the issue
	Issue   billing.Issue
	Rules   billing.Rules // as they were at the issue
}

// Run returns the invoice by itself, as files are written of it.
func (i IssuedInvoice) Run() *billing.Run {
	return &billing.Run{Period: i.Issue.Period, Invoices: []billing.Invoice{i.Invoice},
		Accounts: map[string]billing.Account{i.Tenant.ID: i.Account}}
}

// The files of evidence of an invoice.
const (
	EvidenceDeliveries = "deliveries.parquet" // every delivery of the events of the period, as far as the issue knew them
	EvidenceDaily      = "daily.parquet"      // the daily figures of the period, as they are now
)

// WriteEvidence writes a file of evidence of an invoice, without the ids of agents for those who may not see them.
type WriteEvidence func(ctx context.Context, w io.Writer, of IssuedInvoice, file string, agents bool) error

// FindIssued finds an invoice that is issued.
func (s *Invoices) FindIssued(ctx context.Context, id billing.InvoiceName) (of IssuedInvoice, err error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return of, err
	}
	found, err := s.lookUp(ctx, state, id)
	if err != nil {
		return of, err
	}
	if found.invoice == nil {
		return of, errorf(schemas.NotIssued, id.Period, "invoice %s is not issued", id)
	}
	of = IssuedInvoice{Invoice: *found.invoice, Account: found.account, ID: id, Tenant: found.tenant, Issue: *found.issue}
	if of.Rules, err = billing.ParseRules(of.Issue.Rules); err != nil {
		return of, err
	}
	of.Zone, err = civil.ReadZone(of.Tenant.TimeZone, of.Issue.Zone)
	return of, err
}

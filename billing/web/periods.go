package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// periodRoutes registers the routes of periods, drafts, differences, issues, holds, balances and files.
func (s *Server) periodRoutes() {
	const ofTenant = "/tenants/{tenant}/periods"
	asCSV := []string{"text/csv"}
	conflict := []int{http.StatusConflict}
	verdicts := []int{http.StatusConflict, http.StatusUnprocessableEntity}
	register(s, route{ID: "listPeriods", Method: http.MethodGet, Path: "/periods", Tag: "Periods", Heavy: true,
		Summary: "How far the months of all tenants are, the latest month first (R20)", Types: asCSV}, s.listPeriods)
	register(s, route{ID: "listMonths", Method: http.MethodGet, Path: "/months", Tag: "Periods", Heavy: true,
		Summary: "How many tenants are how far with each month, and what is issued, the latest month first (R20)",
		Description: "No figures are read: a tenant whose month a rule would stop counts as the clock and the holds have " +
			"it. GET /periods knows.", Errors: conflict}, s.listMonths)
	register(s, route{ID: "listTenantPeriods", Method: http.MethodGet, Path: ofTenant, Tag: "Periods", Heavy: true,
		Summary: "How far the months of a tenant are, the latest first (R20)", Types: asCSV}, s.listTenantPeriods)
	register(s, route{ID: "getDraft", Method: http.MethodGet, Path: ofTenant + "/{period}/draft", Tag: "Periods",
		Summary: "The invoices of a period as they stand, as invoices.json has them", Heavy: true, Errors: conflict,
	}, s.getDraft)
	register(s, route{ID: "getDiff", Method: http.MethodGet, Path: ofTenant + "/{period}/diff", Tag: "Periods",
		Summary: "What changed in a period since it was issued, or between two instants, and what made it",
		Heavy:   true, Errors: conflict}, s.getDiff)
	register(s, route{ID: "holdPeriod", Method: http.MethodPut, Path: ofTenant + "/{period}/hold", Tag: "Periods",
		Summary: "Keep a period of a tenant from being issued (R20)", Errors: verdicts}, s.holdPeriod)
	register(s, route{ID: "releasePeriod", Method: http.MethodDelete, Path: ofTenant + "/{period}/hold", Tag: "Periods",
		Summary: "Let a period of a tenant be issued again (R20)", Errors: verdicts}, s.releasePeriod)
	register(s, route{ID: "issuePeriod", Method: http.MethodPost, Path: "/periods/{period}/issue", Tag: "Periods",
		Summary: "Issue a period, once and for good (R20)", Heavy: true, Errors: conflict,
		Description: "What is issued never changes: asked again, the answer is the same. An issue that has begun goes on " +
			"when nobody waits for its answer. It is a conflict where nothing of the period is issued, before or now."},
		s.issuePeriod)
	register(s, route{ID: "getBalance", Method: http.MethodGet, Path: "/periods/{period}/balance", Tag: "Periods",
		Summary: "That nothing was lost between Kafka and the invoices (R22)", Heavy: true,
		Description: "The daily figures are brought up to date first. Those who may see some tenants alone get their part, " +
			"without what is of all: partitions, holes, other topics and refused deliveries."}, s.getBalance)
	s.fileRoutes()
}

// monthOf reads a month of a parameter, 0 where it is not given.
func monthOf(name string, text monthText) (civil.Month, error) {
	if text == "" {
		return 0, nil
	}
	month, err := civil.ParseMonth(string(text))
	if err != nil {
		return 0, badRequest(name, string(text), name+" must be a month, such as 2026-10")
	}
	return month, nil
}

// TenantPeriodPath is a period of a tenant.
type TenantPeriodPath struct {
	TenantPath
	PeriodPath
}

// of returns the period, if the tenant is there and within the scope.
func (p TenantPeriodPath) of(
	ctx context.Context, s *Server, scope access.Scope,
) (tenant access.TenantID, period civil.Month, err error) {
	if period, err = p.month(); err != nil {
		return tenant, period, err
	}
	if tenant, err = p.TenantPath.of(scope); err != nil {
		return tenant, period, err
	}
	_, _, err = s.tenantNow(ctx, scope, p.TenantPath)
	return tenant, period, err
}

// PeriodFilter chooses periods.
type PeriodFilter struct {
	From  monthText  `query:"from" doc:"The first month, such as 2026-10; any by default."`
	To    monthText  `query:"to" doc:"The last month; any by default."`
	State []string   `query:"state" enum:"open,closing,due,held,stopped,issued" minItems:"1" maxItems:"6" doc:"How far."`
	Code  periodCode `query:"code" doc:"Of a finding of the period, or of what stops it."`
}

type listPeriodsInput struct {
	ListInput
	PeriodFilter
	Tenants []string `query:"tenants" maxItems:"100" doc:"Only of these, with commas between; all by default."`
}

func (s *Server) listPeriods(
	ctx context.Context, scope access.Scope, in *listPeriodsInput,
) (*listOutput[billing.TenantStatus], error) {
	tenants, everyone := scope.Tenants("")
	if in.Tenants != nil {
		tenants = slices.DeleteFunc(in.Tenants, func(id string) bool { return !scope.HasTenant(id) })
		everyone = false
	}
	if len(tenants) == 0 && !everyone {
		return pageOf(&in.ListInput, []billing.TenantStatus{}, keyOfPeriod), nil
	}
	return s.periods(ctx, scope, &in.ListInput, in.PeriodFilter, tenants)
}

type listTenantPeriodsInput struct {
	ListInput
	TenantPath
	PeriodFilter
}

func (s *Server) listTenantPeriods(
	ctx context.Context, scope access.Scope, in *listTenantPeriodsInput,
) (*listOutput[billing.TenantStatus], error) {
	_, t, err := s.tenantNow(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	return s.periods(ctx, scope, &in.ListInput, in.PeriodFilter, []string{t.ID})
}

// periods returns a page of the periods of tenants, none for all.
func (s *Server) periods(ctx context.Context, scope access.Scope, in *ListInput, filter PeriodFilter,
	tenants []string) (*listOutput[billing.TenantStatus], error) {
	ask := service.PeriodsRequest{Tenants: tenants, Scheduled: s.Scheduled,
		Code: schemas.Code(filter.Code), Limit: in.Limit + 1, NowMS: s.Clock().UnixMilli()}
	for _, state := range filter.State {
		ask.States = append(ask.States, billing.PeriodState(state))
	}
	var err error
	if ask.From, err = monthOf("from", filter.From); err != nil {
		return nil, err
	}
	if ask.To, err = monthOf("to", filter.To); err != nil {
		return nil, err
	}
	after, err := in.keyParts(2)
	if err != nil {
		return nil, err
	}
	if after != nil {
		period, err := keyMonth(after[0])
		if err != nil {
			return nil, err
		}
		ask.After = &billing.TenantPeriod{Tenant: after[1], Period: period}
	}
	found, err := s.Invoices.Periods(ctx, ask)
	if err != nil {
		return nil, err
	}
	for n := range found {
		found[n].Findings = findingsFor(scope, found[n].Findings)
	}
	return pageOf(in, found, keyOfPeriod), nil
}

type listMonthsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"36" default:"12" doc:"How many months, at the most."`
}

// Months are how far months are.
type Months struct {
	Items []service.Month `json:"items"`
}

type monthsOutput struct{ Body Months }

func (s *Server) listMonths(ctx context.Context, scope access.Scope, in *listMonthsInput) (*monthsOutput, error) {
	out := &monthsOutput{Months{[]service.Month{}}}
	tenants, everyone := scope.Tenants("")
	if len(tenants) == 0 && !everyone {
		return out, nil
	}
	var err error
	out.Body.Items, err = s.Invoices.IssuedMonths(ctx, tenants, s.Scheduled, s.Clock().UnixMilli(), in.Limit)
	return out, err
}

func keyOfPeriod(s billing.TenantStatus) string { return keyOf(s.Period.String(), s.Tenant) }

// findingsFor returns findings as they may be told: agents are persons.
func findingsFor(scope access.Scope, findings []billing.Finding) []billing.Finding {
	if scope.SeesAgents() {
		return findings
	}
	return billing.WithoutAgents(findings)
}

type getDraftInput struct {
	TenantPeriodPath
	AsOf      string `query:"asOf" format:"date-time" doc:"Counts as now (R12); by default asKnownAt, or now."`
	AsKnownAt string `query:"asKnownAt" format:"date-time" doc:"What was on Kafka by then counts; by default all."`
}

// Draft is a period of a tenant as it stands.
type Draft struct {
	export.Document
	Issued []billing.AlreadyIssued `json:"issued" doc:"What the next issue adjusts (R21), where this one is issued."`
	Held   string                  `json:"held,omitempty" doc:"Why the period is not issued until it is released."`
}

type draftOutput struct{ Body Draft }

func (s *Server) getDraft(ctx context.Context, scope access.Scope, in *getDraftInput) (*draftOutput, error) {
	tenant, period, err := in.of(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	ask := service.PreviewRequest{Period: period, Tenants: []string{tenant.String()}}
	clock := s.Clock
	if in.AsKnownAt != "" {
		known, err := instantOf("asKnownAt", in.AsKnownAt, s.Clock)
		if err != nil {
			return nil, err
		}
		ask.KnownAtMS, clock = &known, func() time.Time { return time.UnixMilli(known) }
	}
	if ask.NowMS, err = instantOf("asOf", in.AsOf, clock); err != nil {
		return nil, err
	}
	draft, err := s.Invoices.Preview(ctx, ask)
	if err != nil {
		return nil, err
	}
	if len(draft.Stopped) > 0 {
		return nil, stopped(draft.Stopped...)
	}
	out := &draftOutput{Draft{Document: export.NewDocument(draft.Run), Issued: append([]billing.AlreadyIssued{},
		draft.Already...)}}
	for n := range out.Body.Accounts {
		out.Body.Accounts[n].Findings = findingsFor(scope, out.Body.Accounts[n].Findings)
	}
	for _, hold := range draft.Held {
		out.Body.Held = hold.Reason
	}
	return out, nil
}

type getDiffInput struct {
	TenantPeriodPath
	From string `query:"from" format:"date-time" doc:"Compare what was known at this instant; what was issued by default."`
	To   string `query:"to" format:"date-time" doc:"With what was known at this instant; now by default."`
}

type diffOutput struct{ Body service.DiffJSON }

func (s *Server) getDiff(ctx context.Context, scope access.Scope, in *getDiffInput) (*diffOutput, error) {
	tenant, period, err := in.of(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	ask := service.DiffRequest{Period: period, Tenants: []string{tenant.String()}}
	for _, end := range []struct {
		name, text string
		ms         **int64
	}{{"from", in.From, &ask.FromMS}, {"to", in.To, &ask.ToMS}} {
		if end.text == "" {
			continue
		}
		ms, err := instantOf(end.name, end.text, s.Clock)
		if err != nil {
			return nil, err
		}
		*end.ms = &ms
	}
	difference, err := s.Invoices.Diff(ctx, ask)
	if err != nil {
		return nil, err
	}
	if len(difference.NotIssued) > 0 {
		return nil, newProblem(http.StatusConflict, schemas.NotIssued, fmt.Sprintf(
			"%s of %s is not issued, so there is nothing to compare with: say from which instant", period, tenant))
	}
	if !scope.SeesAgents() {
		difference.LeaveOutAgents()
	}
	return &diffOutput{difference.JSON(ask)}, nil
}

type holdInput struct {
	TenantPeriodPath
	WriteInput
	Body struct {
		Reason string `json:"reason" maxLength:"1000" pattern:"\\S" doc:"Why, for whoever looks at the period."`
	}
}

func (s *Server) holdPeriod(ctx context.Context, scope access.Scope, in *holdInput) (*verdictOutput, error) {
	return s.hold(ctx, scope, in, registry.HoldPeriod)
}

func (s *Server) releasePeriod(ctx context.Context, scope access.Scope, in *holdInput) (*verdictOutput, error) {
	return s.hold(ctx, scope, in, registry.ReleasePeriod)
}

func (s *Server) hold(
	ctx context.Context, scope access.Scope, in *holdInput, command string,
) (*verdictOutput, error) {
	tenant, period, err := in.of(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	return s.give(ctx, scope, in.WriteInput, in.command(tenant, registry.Command{
		Command: command, Period: period, Reason: in.Body.Reason, Base: registry.NoBase}))
}

type issueInput struct {
	PeriodPath
	Body *IssueBody
}

// IssueBody says to whom a period is issued.
type IssueBody struct {
	Tenants []string `json:"tenants,omitempty" minItems:"1" maxItems:"10000" doc:"Their ids; by default all."`
}

type runOutput struct{ Body service.RunJSON }

// issuePatience is how long ingest may stand still before what it has not read stops all.
const issuePatience = 10 * time.Second

func (s *Server) issuePeriod(ctx context.Context, scope access.Scope, in *issueInput) (*runOutput, error) {
	period, err := in.month()
	if err != nil {
		return nil, err
	}
	tenants, everyone := scope.Tenants("")
	if in.Body != nil && in.Body.Tenants != nil {
		tenants, everyone = nil, false
		for _, named := range in.Body.Tenants {
			id, ok := scope.Tenant(named)
			if !ok {
				return nil, notFound("tenant", named)
			}
			tenants = append(tenants, id.String())
		}
	}
	if len(tenants) == 0 && !everyone {
		return &runOutput{service.NewRunJSON(&billing.Run{Period: period}, nil)}, nil
	}
	issuing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Issue)
	defer cancel()
	run, err := s.Invoices.Issue(issuing, scope.Actor(), service.IssueRequest{
		Period: period, Tenants: tenants, NowMS: s.Clock().UnixMilli(), Wait: issuePatience})
	if err != nil {
		return nil, err
	}
	if len(run.Accounts) == 0 && len(run.Stopped) > 0 {
		return nil, stopped(run.Stopped...)
	}
	run.Findings = findingsFor(scope, run.Findings)
	return &runOutput{service.NewRunJSON(run, nil)}, nil
}

type getBalanceInput struct {
	PeriodPath
	Tenant string `query:"tenant" maxLength:"200" doc:"The tenant whose part is wanted; all by default."`
}

// ReconciledBalance is what became of the deliveries of a period, and of all that was read.
type ReconciledBalance struct {
	*service.Reconciliation
	Ledger *LedgerTotals `json:"ledger,omitempty" doc:"The sums of the partitions; none for those who may not see all."`
}

// LedgerTotals are sums of all partitions, whatever the period.
type LedgerTotals struct {
	Published int64  `json:"published" doc:"The offsets that Kafka has given, of partitions under the configured prefix."`
	NotRead   int64  `json:"notRead"`
	Read      uint64 `json:"read"`
	Skipped   uint64 `json:"skipped"`
	Accepted  uint64 `json:"accepted"`
	Rejected  uint64 `json:"rejected"`
	Elsewhere int64  `json:"elsewhere" doc:"Accepted, and not of the period and the tenants of the answer."`
}

// ledgerTotals are those of the balance of all.
func ledgerTotals(of *service.Reconciliation) *LedgerTotals {
	t := &LedgerTotals{NotRead: of.NotRead()}
	for _, p := range of.Partitions {
		if p.Published != nil {
			t.Published += *p.Published
		}
		t.Read, t.Skipped = t.Read+p.Read, t.Skipped+p.Skipped
		t.Accepted, t.Rejected = t.Accepted+p.Accepted, t.Rejected+p.Rejected
	}
	t.Elsewhere = int64(t.Accepted) - int64(of.Total.Accepted)
	return t
}

type balanceOutput struct{ Body ReconciledBalance }

func (s *Server) getBalance(ctx context.Context, scope access.Scope, in *getBalanceInput) (*balanceOutput, error) {
	period, err := in.month()
	if err != nil {
		return nil, err
	}
	if in.Tenant != "" {
		if _, err := (TenantPath{in.Tenant}).of(scope); err != nil {
			return nil, err
		}
	}
	balance, err := s.Invoices.Reconcile(ctx, period)
	if err != nil {
		return nil, err
	}
	ledger := balance.LedgerBalance
	if tenants, everyone := scope.Tenants(in.Tenant); !everyone {
		balance = balance.Of(tenants)
	}
	out := &balanceOutput{ReconciledBalance{Reconciliation: balance}}
	if _, everyone := scope.Tenants(""); everyone {
		balance.LedgerBalance = ledger
		out.Body.Ledger = ledgerTotals(balance)
	}
	balance.Findings = findingsFor(scope, balance.Findings)
	return out, nil
}

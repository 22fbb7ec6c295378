package web

import (
	"context"
	"net/http"
	"slices"

	"apportion/billing"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
)

// pipelineRoutes registers the routes of how current everything is, and findings.
func (s *Server) pipelineRoutes() {
	register(s, route{ID: "listFindings", Method: http.MethodGet, Path: "/findings", Tag: "Pipeline",
		Summary: "What somebody should look at before a month is signed (R24), by tenant, period and code",
		Description: "Of an issued period what was found at the issue, of an open one what was found last. Findings " +
			"without a tenant are of all together; only those see them who see every tenant.",
		Types: []string{"text/csv"}}, s.listFindings)
	register(s, route{ID: "getPipeline", Method: http.MethodGet, Path: "/pipeline", Tag: "Pipeline",
		Summary: "How current everything is: ingest, aggregation, the registry and the schedule"}, s.getPipeline)
}

type listFindingsInput struct {
	ListInput
	Tenant string      `query:"tenant" maxLength:"200" doc:"Of this tenant alone."`
	Code   findingCode `query:"code" doc:"Of this code alone, such as never_billed."`
}

func (s *Server) listFindings(
	ctx context.Context, scope access.Scope, in *listFindingsInput,
) (*listOutput[billing.KeptFinding], error) {
	key, err := in.keyParts(3)
	if err != nil {
		return nil, err
	}
	if in.Tenant != "" {
		if _, _, err := s.tenantNow(ctx, scope, TenantPath{in.Tenant}); err != nil {
			return nil, err
		}
	}
	ask := billing.FindingFilter{Code: schemas.Code(in.Code), Limit: in.Limit + 1}
	if key != nil {
		ask.AfterTenant, ask.AfterPeriod, ask.AfterCode = key[0], key[1], key[2]
	}
	var found []billing.KeptFinding
	if ask.Tenants, ask.Everyone = scope.Tenants(in.Tenant); ask.Everyone || len(ask.Tenants) > 0 {
		if found, err = s.Invoices.Findings.List(ctx, ask); err != nil {
			return nil, err
		}
	}
	leaveOutAgents(scope, found)
	return pageOf(&in.ListInput, found, func(f billing.KeptFinding) string {
		return keyOf(f.Tenant, f.Period.String(), string(f.Code))
	}), nil
}

// leaveOutAgents leaves out of findings who is an agent, for those who may not see that.
func leaveOutAgents(scope access.Scope, found []billing.KeptFinding) {
	if scope.SeesAgents() {
		return
	}
	for n := range found {
		found[n].Finding = billing.WithoutAgents([]billing.Finding{found[n].Finding})[0]
	}
}

type pipelineOutput struct{ Body service.PipelineStatus }

func (s *Server) getPipeline(ctx context.Context, scope access.Scope, _ *struct{}) (*pipelineOutput, error) {
	status, err := s.Pipeline.Status(ctx)
	if err != nil {
		return nil, err
	}
	if status.Pass != nil {
		status.Pass.Behind = slices.DeleteFunc(status.Pass.Behind, func(b service.BehindTenant) bool {
			return !scope.HasTenant(b.Tenant)
		})
	}
	return &pipelineOutput{*status}, nil
}

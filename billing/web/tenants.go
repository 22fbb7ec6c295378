package web

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas/civil"
)

func (s *Server) tenantRoutes() {
	register(s, route{ID: "getMe", Method: http.MethodGet, Path: "/me", Tag: "Access",
		Summary: "Who asks, and what they may"}, s.getMe)
	register(s, route{ID: "listTenants", Method: http.MethodGet, Path: "/tenants", Tag: "Tenants",
		Summary: "Tenants, by id", Types: []string{"text/csv"}}, s.listTenants)
	register(s, route{ID: "getTenant", Method: http.MethodGet, Path: "/tenants/{tenant}", Tag: "Tenants",
		Summary: "A tenant with its document", Errors: []int{http.StatusNotModified}}, s.getTenant)
	register(s, route{ID: "putTenant", Method: http.MethodPut, Path: "/tenants/{tenant}", Tag: "Tenants",
		Summary: "Put a tenant's document in place of what stands", BodyBytes: maxDocument,
		Errors: []int{http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity,
			http.StatusPreconditionRequired},
		Request: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true,
				Description: "A tenant of a registry document, as getTenant has it in `document`."}}}},
	}, s.putTenant)
	register(s, route{ID: "changeTelephony", Method: http.MethodPost, Path: "/tenants/{tenant}/telephony", Tag: "Tenants",
		Summary: "Change the telephony option of all of a tenant's subscriptions (R6)",
		Errors:  []int{http.StatusConflict, http.StatusUnprocessableEntity}}, s.changeTelephony)
}

// maxDocument is how long a document may be: a Kafka record takes a mebibyte.
const maxDocument = 1 << 20

// Me is who asks.
type Me struct {
	Subject string         `json:"subject"`
	Roles   []access.Grant `json:"roles"`
}

type meOutput struct{ Body Me }

func (s *Server) getMe(_ context.Context, scope access.Scope, _ *struct{}) (*meOutput, error) {
	who := scope.Identity()
	return &meOutput{Me{who.Subject, who.Grants}}, nil
}

// TenantPath is the tenant that a path names.
type TenantPath struct {
	Tenant string `path:"tenant" maxLength:"200" doc:"The tenant's id."`
}

// of returns the tenant, if it is within the scope.
func (p TenantPath) of(scope access.Scope) (access.TenantID, error) {
	id, ok := scope.Tenant(p.Tenant)
	if !ok {
		return id, notFound("tenant", p.Tenant)
	}
	return id, nil
}

// tenantOf returns a tenant within the scope, as it stands in a state of the registry.
func (p TenantPath) tenantOf(scope access.Scope, state registry.State) (*registry.Tenant, error) {
	id, err := p.of(scope)
	if err != nil {
		return nil, err
	}
	if t := state.Tenant(id.String()); t != nil {
		return t, nil
	}
	return nil, notFound("tenant", p.Tenant)
}

// AtInput is the instant that an answer is of.
type AtInput struct {
	At string `query:"at" format:"date-time" doc:"The instant that counts as now; now by default."`
}

func (in AtInput) ms(clock service.Clock) (int64, error) { return instantOf("at", in.At, clock) }

// instantOf reads an instant of a parameter, in UTC epoch milliseconds; now where it is not given.
func instantOf(name, text string, clock service.Clock) (int64, error) {
	if text == "" {
		return clock().UnixMilli(), nil
	}
	ms, err := civil.ParseInstant(text)
	if err != nil {
		return 0, badRequest(name, text, name+" must be an instant, such as 2026-10-31T23:59:59Z: "+err.Error())
	}
	return ms, nil
}

// ListedTenant is a tenant in a list.
type ListedTenant struct {
	service.TenantAt
	ETag string `json:"etag"`
}

type listTenantsInput struct {
	ListInput
	AtInput
	Q string `query:"q" maxLength:"200" doc:"Part of an id or of a name, in any case."`
}

func (s *Server) listTenants(
	ctx context.Context, scope access.Scope, in *listTenantsInput,
) (*listOutput[ListedTenant], error) {
	ms, err := in.ms(s.Clock)
	if err != nil {
		return nil, err
	}
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	q := strings.ToLower(in.Q)
	tenants := slices.DeleteFunc(slices.Clone(state.Tenants()), func(t *registry.Tenant) bool {
		return !scope.HasTenant(t.ID) ||
			!strings.Contains(strings.ToLower(t.ID), q) && !strings.Contains(strings.ToLower(t.Name), q)
	})
	shown, err := page(&in.ListInput, tenants, func(t *registry.Tenant) string { return t.ID })
	if err != nil {
		return nil, err
	}
	out := &listOutput[ListedTenant]{Link: shown.Link, Body: Page[ListedTenant]{[]ListedTenant{}, shown.Body.Next}}
	for _, t := range shown.Body.Items {
		at, err := service.NewTenantAt(state, t, ms, s.Invoices.Rules)
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, ListedTenant{*at, etag(at.Offset)})
	}
	return out, nil
}

type getTenantInput struct {
	TenantPath
	AtInput
	IfNoneMatch string `header:"If-None-Match"`
}

type tenantOutput struct {
	ETag string `header:"ETag"`
	Body service.TenantAt
}

func (s *Server) getTenant(ctx context.Context, scope access.Scope, in *getTenantInput) (*tenantOutput, error) {
	ms, err := in.ms(s.Clock)
	if err != nil {
		return nil, err
	}
	state, t, err := s.tenantNow(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	at, err := service.NewTenantAt(state, t, ms, s.Invoices.Rules)
	if err != nil {
		return nil, err
	}
	out := &tenantOutput{ETag: etag(at.Offset), Body: *at}
	if in.At == "" && in.IfNoneMatch == out.ETag {
		return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"Etag": {out.ETag}})
	}
	if out.Body.Document = t; !seesUsers(scope, t.ID) {
		document := *t
		document.Licences, out.Body.Document = nil, &document
	}
	out.Body.Findings, err = s.Invoices.FindingsNow(ctx, state, t.ID)
	leaveOutAgents(scope, out.Body.Findings)
	return out, err
}

type putTenantInput struct {
	TenantPath
	WriteInput
	IfMatch     string `header:"If-Match" doc:"The ETag of the tenant that the document was made from."`
	IfNoneMatch string `header:"If-None-Match" doc:"* for a tenant that is new."`
	RawBody     []byte
}

func (s *Server) putTenant(ctx context.Context, scope access.Scope, in *putTenantInput) (*verdictOutput, error) {
	id, err := in.of(scope)
	if err != nil {
		return nil, err
	}
	base, err := baseOf(in.IfMatch, in.IfNoneMatch)
	if err != nil {
		return nil, err
	}
	t, err := readTenant(id, in.RawBody)
	if err != nil {
		return nil, err
	}
	return s.give(ctx, scope, in.WriteInput,
		in.command(id, registry.Command{Command: registry.PutTenant, Base: base, Tenant: t}))
}

// readTenant reads the document of one tenant, by which no rule of its own is broken.
func readTenant(id access.TenantID, body []byte) (*registry.Tenant, error) {
	t, err := parseTenant(id, body)
	if err != nil {
		return nil, err
	}
	if refusals := t.Validate(); len(refusals) > 0 {
		return nil, refused(refusals)
	}
	return t, nil
}

// parseTenant reads the document of one tenant.
func parseTenant(id access.TenantID, body []byte) (*registry.Tenant, error) {
	doc, problems := registry.Parse("document", bytes.Join([][]byte{[]byte(`{"tenants":[`), body, []byte(`]}`)}, nil))
	if len(problems) > 0 {
		p := newProblem(http.StatusBadRequest, problems[0].Code, "the document cannot be read")
		for _, problem := range problems {
			p.Errors = append(p.Errors, FieldProblem{problem.Code, problem.Field, problem.Value, problem.Message})
		}
		return nil, p
	}
	if len(doc.Tenants) != 1 || doc.Tenants[0].ID != id.String() {
		return nil, badRequest("id", "", "the document is of another tenant than the path, "+id.String())
	}
	return &doc.Tenants[0], nil
}

type telephonyInput struct {
	TenantPath
	WriteInput
	Body struct {
		Telephony string `json:"telephony" doc:"The option that all subscriptions get."`
		Reason    string `json:"reason,omitempty" maxLength:"1000"`
	}
}

func (s *Server) changeTelephony(ctx context.Context, scope access.Scope, in *telephonyInput) (*verdictOutput, error) {
	id, err := in.of(scope)
	if err != nil {
		return nil, err
	}
	return s.give(ctx, scope, in.WriteInput, in.command(id, registry.Command{
		Command: registry.ChangeTelephony, Telephony: in.Body.Telephony, Reason: in.Body.Reason, Base: registry.NoBase}))
}

package web

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strconv"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// commandRoutes registers the routes of the log of commands, and what-if.
func (s *Server) commandRoutes() {
	register(s, route{ID: "listCommands", Method: http.MethodGet, Path: "/commands", Tag: "Commands",
		Summary: "The registry's log, the last command first: who, when, verdict, difference", Types: []string{"text/csv"},
		Description: "Commands of no tenant are for those who may see all tenants."}, s.listCommands)
	register(s, route{ID: "getCommand", Method: http.MethodGet, Path: "/commands/{offset}", Tag: "Commands",
		Summary: "A command of the registry's log, and what became of it"}, s.getCommand)
	register(s, route{ID: "postWhatIf", Method: http.MethodPost, Path: "/tenants/{tenant}/what-if", Tag: "Commands",
		Summary: "What a tenant's document would change: periods now and then, access gained and lost, refusals",
		Description: "Nothing is given. A document that would be refused is answered with why, and without periods. Who " +
			"may not see users need not say what they are mapped to: it stays as it is.",
		Heavy: true, BodyBytes: maxDocument}, s.postWhatIf)
	register(s, route{ID: "getAdvice", Method: http.MethodGet, Path: "/tenants/{tenant}/advice", Tag: "Commands",
		Summary: "Which commitments would have cost least over the last 3, 6 and 12 months (R14, R15, R18)",
		Description: "Each changes one commitment of one subscription and nothing else, so that savings cannot be added " +
			"up. The daily figures are brought up to date first.", Heavy: true}, s.getAdvice)
}

type listCommandsInput struct {
	ListInput
	Tenant   string `query:"tenant" maxLength:"200" doc:"Only commands of this tenant."`
	Actor    string `query:"actor" maxLength:"200" doc:"Only commands that this person or machine gave."`
	Command  string `query:"command" maxLength:"50" doc:"Only commands of this kind, such as set_licences."`
	Accepted string `query:"accepted" enum:"true,false" doc:"Only those that were accepted, or that were refused."`
}

// may reports whether a command is within a scope: those of no tenant are so for those who may see all.
func may(ids []string, everyone bool) func(registry.Logged) bool {
	return func(l registry.Logged) bool { return everyone || slices.Contains(ids, l.Tenant()) }
}

func (in listCommandsInput) chosen(scope access.Scope) func(registry.Logged) bool {
	mayBeSeen := may(scope.Tenants(in.Tenant))
	return func(l registry.Logged) bool {
		by := l.Command.By
		return mayBeSeen(l) &&
			(in.Actor == "" || in.Actor == by.ID || in.Actor == by.String()) &&
			(in.Command == "" || in.Command == l.Command.Command) &&
			(in.Accepted == "" || in.Accepted == strconv.FormatBool(l.Accepted()))
	}
}

func (s *Server) listCommands(
	ctx context.Context, scope access.Scope, in *listCommandsInput,
) (*listOutput[service.LoggedCommand], error) {
	before := int64(math.MaxInt64)
	key, err := in.key()
	if err == nil && key != "" {
		before, err = keyNumber(key)
	}
	if err != nil {
		return nil, err
	}
	log, err := s.Registry.Log(ctx, before, in.Limit+1, in.chosen(scope))
	if err != nil {
		return nil, err
	}
	rest := make([]service.LoggedCommand, len(log))
	for i, l := range log {
		rest[i] = told(scope, l)
	}
	return pageOf(&in.ListInput, rest, func(c service.LoggedCommand) string {
		return strconv.FormatInt(c.Offset, 10)
	}), nil
}

// told returns a command as somebody may be told of it: whose licences it changes is for those who may see users.
func told(scope access.Scope, l registry.Logged) service.LoggedCommand {
	c := service.NewLoggedCommand(l)
	if !seesUsers(scope, l.Tenant()) {
		c.Changes, c.Refusals = registry.WithoutUsers(c.Changes), withoutUsers(c.Command, c.Refusals)
	}
	return c
}

type getCommandInput struct {
	Offset int64 `path:"offset" minimum:"0" doc:"Of the command on the log."`
}

type commandOutput struct{ Body service.LoggedCommand }

func (s *Server) getCommand(ctx context.Context, scope access.Scope, in *getCommandInput) (*commandOutput, error) {
	mayBeSeen := may(scope.Tenants(""))
	log, err := s.Registry.Log(ctx, in.Offset+1, 1, func(registry.Logged) bool { return true })
	if err != nil {
		return nil, err
	}
	if len(log) == 0 || log[0].Offset != in.Offset || !mayBeSeen(log[0]) {
		return nil, notFound("command", strconv.FormatInt(in.Offset, 10))
	}
	return &commandOutput{told(scope, log[0])}, nil
}

// WhatIfWanted is a document of a tenant, and the periods to compare under it.
type WhatIfWanted struct {
	Document documentJSON  `json:"document" doc:"The tenant as it would be, as getTenant has it in document."`
	Periods  []civil.Month `json:"periods" minItems:"1" maxItems:"12" doc:"The periods to compare."`
}

type whatIfInput struct {
	TenantPath
	AtInput
	Body WhatIfWanted
}

type whatIfOutput struct{ Body service.WhatIf }

func (s *Server) postWhatIf(ctx context.Context, scope access.Scope, in *whatIfInput) (*whatIfOutput, error) {
	id, err := in.of(scope)
	if err != nil {
		return nil, err
	}
	ms, err := in.ms(s.Clock)
	if err != nil {
		return nil, err
	}
	document, err := parseTenant(id, in.Body.Document.RawMessage)
	if err != nil {
		return nil, err
	}
	if !seesUsers(scope, id.String()) { // who may not see users was not told of their mappings
		if _, t, err := s.tenantNow(ctx, scope, in.TenantPath); err == nil {
			document.Licences = t.Licences
		}
	}
	periods := slices.Compact(slices.Sorted(slices.Values(in.Body.Periods)))
	result, err := s.Invoices.WhatIfTenant(ctx, document, periods, ms)
	if err != nil {
		return nil, err
	}
	for i := range result.Refusals {
		// Who else has a subscription of that id is for those who may see everybody.
		if r := &result.Refusals[i]; r.Code == schemas.DuplicateSubscription {
			if _, everyone := scope.Tenants(""); !everyone {
				r.Message = r.Code.Title()
			}
		}
	}
	if !seesUsers(scope, id.String()) {
		result.Changes = registry.WithoutUsers(result.Changes)
		result.Refusals = withoutUsers(registry.PutTenant, result.Refusals)
		for _, spans := range [][]registry.AccessSpan{result.Access.Gained, result.Access.Lost} {
			for i := range spans {
				spans[i].User = ""
			}
		}
	}
	return &whatIfOutput{*result}, nil
}

type adviceInput struct {
	TenantPath
	AtInput
}

type adviceOutput struct{ Body billing.Advice }

func (s *Server) getAdvice(ctx context.Context, scope access.Scope, in *adviceInput) (*adviceOutput, error) {
	ms, err := in.ms(s.Clock)
	if err != nil {
		return nil, err
	}
	_, t, err := s.tenantNow(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	advice, err := s.Invoices.Advise(ctx, t.ID, ms)
	if err != nil {
		return nil, err
	}
	return &adviceOutput{*advice}, nil
}

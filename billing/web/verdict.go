package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
)

// WriteInput is what every command can be given with.
type WriteInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"200" doc:"The command's id: the same is done once."`
	DryRun         bool   `query:"dryRun" doc:"Decide, and publish nothing."`
}

// command returns a command with the id and source of a request's.
func (in WriteInput) command(tenant access.TenantID, c registry.Command) registry.Command {
	c.ID, c.Source, c.TenantID = in.IdempotencyKey, "apportion/api", tenant.String()
	if c.ID == "" {
		c.ID = uuid.NewString()
	}
	return c
}

// verdictOutput is what became of a command.
type verdictOutput struct {
	Status   int
	ETag     string `header:"ETag" doc:"Of the tenant, after the command."`
	Location string `header:"Location" doc:"Of the command, where its verdict was not known in time."`
	Body     Verdict
}

// Verdict is what became of a command, or would.
type Verdict struct {
	Offset   *int64   `json:"offset,omitempty" doc:"Of the command on the registry's log; none on a dry run."`
	Accepted bool     `json:"accepted"`
	Changes  []string `json:"changes" doc:"What it changed, a line each, for people."`
	Warnings []string `json:"warnings" doc:"What to look at, though it is accepted."`
}

// give gives a command, or says on a dry run what would become of it.
func (s *Server) give(
	ctx context.Context, scope access.Scope, in WriteInput, c registry.Command,
) (*verdictOutput, error) {
	if in.DryRun {
		state, err := s.Registry.CatchUp(ctx)
		if err != nil {
			return nil, err
		}
		_, outcome := service.DryRun(state, c)
		return verdictOf(outcome)
	}
	outcomes, err := s.Registry.Give(ctx, scope.Actor(), service.Single(c))
	var undecided *service.Undecided
	switch {
	case errors.As(err, &undecided):
		return &verdictOutput{Status: http.StatusAccepted,
			Location: fmt.Sprintf("%s/commands/%d", Prefix, undecided.Offset),
			Body:     Verdict{Offset: &undecided.Offset, Changes: []string{}, Warnings: []string{}}}, nil
	case err != nil:
		return nil, err
	}
	return verdictOf(outcomes[0])
}

func verdictOf(o *service.Outcome) (*verdictOutput, error) {
	if !o.Accepted {
		return nil, refused(o.Refusals)
	}
	out := &verdictOutput{Status: http.StatusOK,
		Body: Verdict{Offset: o.Offset, Accepted: true, Changes: append([]string{}, o.Changes...), Warnings: []string{}}}
	for _, w := range o.Warnings {
		out.Body.Warnings = append(out.Body.Warnings, w.String())
	}
	if o.Offset != nil {
		out.ETag = etag(*o.Offset)
	}
	return out, nil
}

// etag is that of a tenant that the command at an offset changed last.
func etag(offset int64) string { return `"` + strconv.FormatInt(offset, 10) + `"` }

// baseOf reads If-Match, or If-None-Match: *, as the base of a whole document: the offset of the command that changed
// the tenant last, or -1 for a tenant that is new.
func baseOf(ifMatch, ifNoneMatch string) (int64, error) {
	switch {
	case ifMatch == "" && ifNoneMatch == "*":
		return -1, nil
	case ifMatch == "":
		return 0, newProblem(http.StatusPreconditionRequired, schemas.PreconditionRequired,
			"a whole document needs If-Match with the ETag of the tenant that it was made from, or If-None-Match: * "+
				"for a new one")
	}
	text, err := strconv.Unquote(ifMatch)
	offset, bad := strconv.ParseInt(text, 10, 64)
	if err != nil || bad != nil || offset < 0 || ifNoneMatch != "" {
		return 0, badRequest("If-Match", ifMatch, "If-Match must be the ETag of a tenant, such as \"57\"")
	}
	return offset, nil
}

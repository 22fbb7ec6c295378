package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas/civil"
)

// userRoutes registers the routes of what holds of a tenant when, and of users: what they are mapped to, and who has
// access until when (R7).
func (s *Server) userRoutes() {
	register(s, route{ID: "getTimeline", Method: http.MethodGet, Path: "/tenants/{tenant}/timeline", Tag: "Tenants",
		Summary: "Who is the primary, who pays, who is active, and the pool, step by step (R3, R4, R14, R16)"}, s.getTimeline)
	register(s, route{ID: "listUsers", Method: http.MethodGet, Path: "/tenants/{tenant}/users", Tag: "Users",
		Summary: "Users, by id, with their access (R7)", Types: []string{"text/csv"}}, s.listUsers)
	register(s, route{ID: "getUser", Method: http.MethodGet, Path: "/tenants/{tenant}/users/{user}", Tag: "Users",
		Summary: "A user: role, class, mappings, access now, until when and why (R7)"}, s.getUser)
	commands := []int{http.StatusConflict, http.StatusUnprocessableEntity}
	register(s, route{ID: "putUserLicences", Method: http.MethodPut, Path: "/tenants/{tenant}/users/{user}/licences",
		Tag: "Users", Summary: "Map a user to these subscriptions, and to no others, from a date on",
		Description: "Gives the command set_licences. A mapping that is taken away ends on that date; what was before stays.",
		Errors:      commands}, s.putUserLicences)
	register(s, route{ID: "mapLicences", Method: http.MethodPost, Path: "/tenants/{tenant}/licences:map", Tag: "Users",
		Summary: "Map many users to one subscription from a date on",
		Description: "Gives a command set_licences for every 1,000 users, in byte order: all of them or none. What they " +
			"are mapped to besides stays. The first command has the Idempotency-Key as its id, others the same with /2, /3 " +
			"and so on.",
		BodyBytes: maxUsersBody, Errors: append(commands, http.StatusAccepted)}, s.mapLicences)
	register(s, route{ID: "putEntryPoint", Method: http.MethodPut, Path: "/tenants/{tenant}/entry-points/{entryPoint}",
		Tag: "Users", Summary: "Map an entry point to these subscriptions, and to no others, from a date on",
		Description: "Gives the command set_entry_points.", Errors: commands}, s.putEntryPoint)
	register(s, route{ID: "listAccess", Method: http.MethodGet, Path: "/tenants/{tenant}/access", Tag: "Users",
		Summary: "Who loses access when, what ended it, and what would keep it (R7)",
		Description: "By date, administrators before agents. As text/calendar (RFC 5545): an event for each date, for a " +
			"calendar to subscribe to.",
		Types: []string{"text/csv", calendarType}}, s.listAccess)
}

// maxUsersBody is how long a list of users may be.
const maxUsersBody = 8 << 20

// seesUsers reports whether somebody may know who the users of a tenant are, who are persons: it sees agents anyhow, or
// administers them.
func seesUsers(scope access.Scope, tenant string) bool {
	users, _ := scope.Identity().Scope("listUsers")
	return scope.SeesAgents() || users.HasTenant(tenant)
}

// dated returns a tenant within the scope as it stands now, and its zone.
func (s *Server) dated(ctx context.Context, scope access.Scope, p TenantPath) (
	state registry.State, t *registry.Tenant, zone *civil.Zone, err error) {
	if state, t, err = s.tenantNow(ctx, scope, p); err == nil {
		zone, err = civil.LoadZone(t.TimeZone)
	}
	return state, t, zone, err
}

type timelineInput struct {
	TenantPath
	DatesInput
}

// Timeline is what holds of a tenant, step by step.
type Timeline struct {
	Tenant   string                  `json:"tenantId"`
	TimeZone string                  `json:"timeZone" doc:"The zone that the dates are in."`
	Steps    []registry.TimelineStep `json:"steps"`
}

type timelineOutput struct{ Body Timeline }

func (s *Server) getTimeline(ctx context.Context, scope access.Scope, in *timelineInput) (*timelineOutput, error) {
	from, to, err := in.dates()
	if err != nil {
		return nil, err
	}
	_, t, zone, err := s.dated(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	return &timelineOutput{Timeline{t.ID, t.TimeZone, t.Steps(from, to, zone, s.Invoices.Rules.IVRPortFactor)}}, nil
}

type listUsersInput struct {
	TenantPath
	ListInput
	AtInput
	Q                 string `query:"q" maxLength:"200" doc:"Part of an id, in any case."`
	Subscription      string `query:"subscription" maxLength:"64" doc:"Only who is mapped to this subscription then."`
	LosesAccessBefore string `query:"losesAccessBefore" format:"date" doc:"Only who loses access before this date."`
}

func (s *Server) listUsers(
	ctx context.Context, scope access.Scope, in *listUsersInput,
) (*listOutput[registry.User], error) {
	ms, err := in.ms(s.Clock)
	if err != nil {
		return nil, err
	}
	before, err := dateOf("losesAccessBefore", in.LosesAccessBefore)
	if err != nil {
		return nil, err
	}
	_, t, zone, err := s.dated(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	date := zone.DateOf(ms)
	q := strings.ToLower(in.Q)
	var all [][]registry.Licence // of a user each
	t.Users(func(user string, mappings []registry.Licence) bool {
		if !strings.Contains(strings.ToLower(user), q) {
			return true
		}
		if in.Subscription != "" && !registry.MappedOn(mappings, in.Subscription, date) {
			return true
		}
		if before != civil.NoDate {
			if a := t.UserOn(user, mappings, date).Access; !a.Now || a.Until == civil.NoDate || a.Until >= before {
				return true
			}
		}
		all = append(all, mappings)
		return true
	})
	shown, err := page(&in.ListInput, all, func(mappings []registry.Licence) string { return mappings[0].User })
	if err != nil {
		return nil, err
	}
	out := &listOutput[registry.User]{Link: shown.Link, Body: Page[registry.User]{[]registry.User{}, shown.Body.Next}}
	for _, mappings := range shown.Body.Items {
		out.Body.Items = append(out.Body.Items, t.UserOn(mappings[0].User, mappings, date))
	}
	return out, nil
}

// UserPath is the user that a path names.
type UserPath struct {
	TenantPath
	User string `path:"user" maxLength:"200" doc:"The user's id."`
}

type getUserInput struct {
	UserPath
	AtInput
}

type userOutput struct{ Body registry.User }

func (s *Server) getUser(ctx context.Context, scope access.Scope, in *getUserInput) (*userOutput, error) {
	ms, err := in.ms(s.Clock)
	if err != nil {
		return nil, err
	}
	_, t, zone, err := s.dated(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	mappings := t.MappingsOf(in.User)
	if len(mappings) == 0 {
		return nil, notFound("user", in.User)
	}
	return &userOutput{t.UserOn(in.User, mappings, zone.DateOf(ms))}, nil
}

// LicenceWanted is a subscription that a user is mapped to.
type LicenceWanted struct {
	ID    string      `json:"id" doc:"The subscription's id."`
	Class string      `json:"class,omitempty" enum:"standard,premium" doc:"As the user has it, by default; else standard."`
	To    *civil.Date `json:"to,omitempty" doc:"The first date without it; it goes on without one."`
}

// LicencesWanted is what a user is mapped to from a date on.
type LicencesWanted struct {
	From          civil.Date      `json:"from" doc:"The date from which it applies."`
	Subscriptions []LicenceWanted `json:"subscriptions" doc:"All that it is mapped to from then on."`
	Role          string          `json:"role,omitempty" enum:"admin,agent" doc:"As the user has it; a new one needs it."`
	Reason        string          `json:"reason,omitempty" maxLength:"500" doc:"Why, for the log."`
	ActiveOnly    bool            `json:"activeOnly,omitempty" doc:"Refuse to map it newly to what is not active then."`
}

type putUserLicencesInput struct {
	UserPath
	WriteInput
	Body LicencesWanted
}

func (s *Server) putUserLicences(
	ctx context.Context, scope access.Scope, in *putUserLicencesInput,
) (*verdictOutput, error) {
	id, err := in.of(scope)
	if err != nil {
		return nil, err
	}
	set := &registry.SetMappings{Names: []string{in.User}, All: true, From: in.Body.From, Role: in.Body.Role}
	for _, l := range in.Body.Subscriptions {
		set.Subscriptions = append(set.Subscriptions, registry.Mapped{Subscription: l.ID, Class: l.Class, To: optional(l.To)})
	}
	c := in.command(id,
		registry.Command{Command: registry.SetLicences, Mappings: set, Reason: in.Body.Reason, Base: registry.NoBase})
	if in.Body.ActiveOnly {
		if err := s.activeOnly(ctx, c); err != nil {
			return nil, err
		}
	}
	return s.give(ctx, scope, in.WriteInput, c)
}

// activeOnly refuses a command that maps users newly to what is not active on the date (R7), unless it has been given
// before.
func (s *Server) activeOnly(ctx context.Context, c registry.Command) error {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return err
	}
	if _, given := state.DecidedAt(c.TenantID, c.Source, c.ID); given {
		return nil
	}
	if refusals := state.InactiveMappings(c); len(refusals) > 0 {
		return refused(refusals)
	}
	return nil
}

// optional is a date, or NoDate.
func optional(d *civil.Date) civil.Date {
	if d == nil {
		return civil.NoDate
	}
	return *d
}

// MappingWanted is a subscription that an entry point is mapped to.
type MappingWanted struct {
	ID string      `json:"id" doc:"The subscription's id."`
	To *civil.Date `json:"to,omitempty" doc:"The first date without it; it goes on without one."`
}

// EntryPointWanted is what an entry point is mapped to from a date on.
type EntryPointWanted struct {
	From          civil.Date      `json:"from" doc:"The date from which it applies."`
	Subscriptions []MappingWanted `json:"subscriptions" doc:"All that it is mapped to from then on."`
	Reason        string          `json:"reason,omitempty" maxLength:"500" doc:"Why, for the log."`
}

type putEntryPointInput struct {
	TenantPath
	WriteInput
	EntryPoint string `path:"entryPoint" maxLength:"200" doc:"The entry point's id."`
	Body       EntryPointWanted
}

func (s *Server) putEntryPoint(
	ctx context.Context, scope access.Scope, in *putEntryPointInput,
) (*verdictOutput, error) {
	id, err := in.of(scope)
	if err != nil {
		return nil, err
	}
	set := &registry.SetMappings{Names: []string{in.EntryPoint}, All: true, From: in.Body.From}
	for _, m := range in.Body.Subscriptions {
		set.Subscriptions = append(set.Subscriptions, registry.Mapped{Subscription: m.ID, To: optional(m.To)})
	}
	return s.give(ctx, scope, in.WriteInput, in.command(id,
		registry.Command{Command: registry.SetEntryPoints, Mappings: set, Reason: in.Body.Reason, Base: registry.NoBase}))
}

// losingAccess names, instead of users, all who lose access on a date.
const losingAccess = "losing-access"

// UsersToMap are users by their ids, or all who lose access on a date.
type UsersToMap struct {
	ids    []string
	losing bool
}

// UnmarshalJSON reads a list of ids, or the word.
func (u *UsersToMap) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte{'"'}) {
		return json.Unmarshal(data, &u.ids)
	}
	var word string
	if err := json.Unmarshal(data, &word); err != nil || word != losingAccess {
		return errors.New("write a list of users, or " + losingAccess)
	}
	u.losing = true
	return nil
}

// Schema describes both forms.
func (UsersToMap) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "The users, or all who lose access on the date in `on`.", OneOf: []*huma.Schema{
		{Type: huma.TypeString, Enum: []any{losingAccess}},
		{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}},
	}}
}

// MapWanted is a mapping of many users to one subscription.
type MapWanted struct {
	Users        UsersToMap  `json:"users"`
	On           *civil.Date `json:"on,omitempty" doc:"The date on which those of losing-access lose it."`
	Subscription string      `json:"subscription" doc:"The subscription's id."`
	From         *civil.Date `json:"from,omitempty" doc:"When that begins; the date in on, by default."`
	To           *civil.Date `json:"to,omitempty" doc:"The first date without it; it goes on without one."`
	Class        string      `json:"class,omitempty" enum:"standard,premium" doc:"As each user has it, else standard."`
	Role         string      `json:"role,omitempty" enum:"admin,agent" doc:"As each user has it, by default."`
	Reason       string      `json:"reason,omitempty" maxLength:"500" doc:"Why, for the log."`
	ActiveOnly   bool        `json:"activeOnly,omitempty" doc:"Refuse to map anybody newly to what is not active then."`
}

type mapLicencesInput struct {
	TenantPath
	WriteInput
	Body MapWanted
}

// MapVerdict is what became of all the commands that map users, or would.
type MapVerdict struct {
	Verdict
	Commands []MapCommand `json:"commands"`
}

// MapCommand is one of them.
type MapCommand struct {
	ID     string `json:"commandId"`
	Offset *int64 `json:"offset,omitempty" doc:"On the registry's log; none on a dry run."`
	Users  int    `json:"users" doc:"How many users it maps."`
}

type mapOutput struct {
	Status   int
	ETag     string `header:"ETag" doc:"Of the tenant, after the last command."`
	Location string `header:"Location" doc:"Of the last command, where the verdicts were not known in time."`
	Body     MapVerdict
}

func (s *Server) mapLicences(ctx context.Context, scope access.Scope, in *mapLicencesInput) (*mapOutput, error) {
	id, err := in.of(scope)
	if err != nil {
		return nil, err
	}
	ask := service.MapUsers{Users: in.Body.Users.ids, LosingOn: optional(in.Body.On)}
	from := optional(in.Body.From)
	switch {
	case in.Body.Users.losing && ask.LosingOn == civil.NoDate:
		return nil, badRequest("on", "", "on is needed with losing-access: the date on which they lose it")
	case !in.Body.Users.losing && ask.LosingOn != civil.NoDate:
		return nil, badRequest("on", ask.LosingOn.String(), "on goes with losing-access; leave it out beside named users")
	case !in.Body.Users.losing && len(ask.Users) == 0:
		return nil, badRequest("users", "", "users is empty: name at least one")
	case in.Body.From == nil && ask.LosingOn == civil.NoDate:
		return nil, badRequest("from", "", "from is needed: the date from which they are mapped")
	case in.Body.From == nil:
		from = ask.LosingOn
	}
	ask.Command = in.command(id, registry.Command{Command: registry.SetLicences, Reason: in.Body.Reason,
		Base: registry.NoBase, Mappings: &registry.SetMappings{From: from, Role: in.Body.Role,
			Subscriptions: []registry.Mapped{{
				Subscription: in.Body.Subscription, Class: in.Body.Class, To: optional(in.Body.To)}}}})
	if in.Body.ActiveOnly {
		c := ask.Command
		c.Mappings.Names = ask.Users
		if err := s.activeOnly(ctx, c); err != nil {
			return nil, err
		}
	}
	return s.giveParts(ctx, scope, in.WriteInput, ask)
}

// giveParts gives the commands that map users, or says on a dry run what would become of them.
func (s *Server) giveParts(
	ctx context.Context, scope access.Scope, in WriteInput, ask service.MapUsers,
) (*mapOutput, error) {
	plan, err := s.Registry.MapUsers(ctx, ask)
	if err != nil {
		return nil, err
	}
	var outcomes []*service.Outcome
	if in.DryRun {
		state, err := s.Registry.CatchUp(ctx)
		if err != nil {
			return nil, err
		}
		outcomes = plan(state)
	} else {
		outcomes, err = s.Registry.Give(ctx, scope.Actor(), plan)
		var undecided *service.Undecided
		if errors.As(err, &undecided) {
			return &mapOutput{Status: http.StatusAccepted,
				Location: fmt.Sprintf("%s/commands/%d", Prefix, undecided.Offset),
				Body:     MapVerdict{Verdict: Verdict{Offset: &undecided.Offset}}}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	out := &mapOutput{Status: http.StatusOK, Body: MapVerdict{Verdict: Verdict{Accepted: true}}}
	var refusals []registry.Refusal
	for _, o := range outcomes {
		refusals = append(refusals, o.Refusals...)
		c := o.Given()
		out.Body.Commands = append(out.Body.Commands, MapCommand{c.ID, o.Offset, len(c.Mappings.Names)})
		out.Body.Changes = append(out.Body.Changes, o.Changes...)
		if o.Offset != nil {
			out.Body.Offset, out.ETag = o.Offset, etag(*o.Offset)
		}
	}
	if len(refusals) > 0 {
		return nil, refused(refusals)
	}
	return out, nil
}

type listAccessInput struct {
	TenantPath
	ListInput
	DatesInput
}

// AccessPage is some of the users who lose access, and all the dates on which somebody does.
type AccessPage struct {
	Dates []AccessDate `json:"dates" doc:"Every date on which somebody loses access, also beyond the page."`
	Page[registry.DatedLoss]

	calendar calendar
}

// AccessDate is a date on which users lose access.
type AccessDate struct {
	Date   civil.Date `json:"date"`
	Admins int        `json:"admins" doc:"How many administrators lose it."`
	Agents int        `json:"agents" doc:"How many agents lose it."`
	// WouldKeep are the subscriptions active on the date, oldest first: being mapped to one would keep it.
	WouldKeep []string `json:"wouldKeep" doc:"Active then, oldest first, and not theirs."`
}

type accessOutput struct {
	Link string `header:"Link" doc:"The next page, where there is one."`
	Body AccessPage
}

// accessDays is how far the list of who loses access goes where nobody says how far.
const accessDays = 90

func (s *Server) listAccess(ctx context.Context, scope access.Scope, in *listAccessInput) (*accessOutput, error) {
	from, to, err := in.dates()
	if err != nil {
		return nil, err
	}
	state, t, zone, err := s.dated(ctx, scope, in.TenantPath)
	if err != nil {
		return nil, err
	}
	if from == civil.NoDate {
		from = zone.DateOf(s.Clock().UnixMilli())
	}
	if to == civil.NoDate {
		to = from.Add(accessDays)
	}
	losses := t.Losses(from, to)
	// Keys are in the order of the losses: of the roles, admin comes first.
	shown, err := page(&in.ListInput, losses, func(l registry.DatedLoss) string {
		return l.Date.String() + " " + l.Role + " " + l.User
	})
	if err != nil {
		return nil, err
	}
	out := &accessOutput{Link: shown.Link, Body: AccessPage{Page: shown.Body}}
	for _, l := range losses {
		if n := len(out.Body.Dates); n == 0 || out.Body.Dates[n-1].Date != l.Date {
			out.Body.Dates = append(out.Body.Dates, AccessDate{Date: l.Date, WouldKeep: l.WouldKeep})
		}
		if last := &out.Body.Dates[len(out.Body.Dates)-1]; l.Role == registry.Admin {
			last.Admins++
		} else {
			last.Agents++
		}
	}
	changed, err := s.changedAt(ctx, state.Base(t.ID))
	out.Body.calendar = calendar{tenant: t, losses: losses, changedMS: changed}
	return out, err
}

// changedAt returns when the command at an offset arrived, in UTC epoch milliseconds.
func (s *Server) changedAt(ctx context.Context, offset int64) (int64, error) {
	log, err := s.Registry.Log(ctx, offset+1, 1, func(registry.Logged) bool { return true })
	if err != nil || len(log) == 0 {
		return 0, err
	}
	return log[0].ArrivedMS, nil
}

// withoutUsers returns refusals that name no user.
func withoutUsers(command string, refusals []registry.Refusal) []registry.Refusal {
	refusals = slices.Clone(refusals)
	for i := range refusals {
		if r := &refusals[i]; command == registry.SetLicences || strings.Contains(r.Field, ".licences[") {
			r.Field, r.Value, r.Message = "", "", r.Code.Title()
		}
	}
	return refusals
}

package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"apportion/schemas/civil"
)

func (c *Console) userScreens() []screen {
	return []screen{
		{path: "/tenants/{tenant}/users", needs: "listUsers", show: c.users, send: c.mapUsers},
		{path: "/tenants/{tenant}/users/{user}", needs: "getUser", show: c.user},
		{path: "/tenants/{tenant}/users/{user}/licences", needs: "putUserLicences", show: c.licencedServices},
		{path: "/tenants/{tenant}/users/{user}/licences/edit", needs: "putUserLicences", show: c.services},
		{path: "/tenants/{tenant}/users/{user}/licences/contact-center", needs: "putUserLicences",
			show: c.contactCenter, send: c.saveLicences},
	}
}

// user is a user as GET /tenants/{tenant}/users/{user} has it.
type user struct {
	ID       string    `json:"user"`
	Role     string    `json:"role"`
	Class    string    `json:"class"`
	Access   hasAccess `json:"access"`
	Mappings []mapping `json:"mappings"`
}

// hasAccess is whether a user has access, until when, and why (R7).
type hasAccess struct {
	Now       bool        `json:"now"`
	Through   []string    `json:"through"`
	Until     *civil.Date `json:"until"`
	Since     *civil.Date `json:"since"`
	From      *civil.Date `json:"from"`
	WouldKeep []string    `json:"wouldKeep"`
	Why       string      `json:"why"`
}

// mapping is one of a user to a subscription.
type mapping struct {
	Role         string      `json:"role"`
	Class        string      `json:"class"`
	Subscription string      `json:"subscription"`
	From         civil.Date  `json:"from"`
	To           *civil.Date `json:"to"`
}

// MappedOn returns the mapping to a subscription that is effective on a date, nil where there is none.
func (u *user) MappedOn(subscription string, d civil.Date) *mapping {
	for i, m := range u.Mappings {
		if m.Subscription == subscription && m.From <= d && (m.To == nil || d < *m.To) {
			return &u.Mappings[i]
		}
	}
	return nil
}

// Subscriptions are those that a user is mapped to on a date.
func (u *user) Subscriptions(d civil.Date) (ids []string) {
	for _, m := range u.Mappings {
		if u.MappedOn(m.Subscription, d) != nil && !slices.Contains(ids, m.Subscription) {
			ids = append(ids, m.Subscription)
		}
	}
	return ids
}

// users lists the users of a tenant.
func (c *Console) users(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	var list struct {
		Items []user `json:"items"`
		Next  string `json:"next"`
	}
	if err := p.get(&list, route("tenants", p.Tenant.ID, "users"), "q", p.Query("q"), "at", p.Query("at"),
		"losesAccessBefore", p.Query("losesAccessBefore"), "after", p.Query("after"), "limit", usersShown); err != nil {
		return err
	}
	p.Trail = append(p.Trail, link{"Management", route("tenants", p.Tenant.ID, "users")})
	p.Command = "apportion registry show " + p.Tenant.ID
	return p.show("users", "Users", list)
}

// usersShown is how many users a page has.
const usersShown = "100"

// mapUsers maps the users that are ticked to a subscription, or goes to where a new one is mapped.
func (c *Console) mapUsers(p *page) error {
	form, tenant := p.r.PostForm, p.r.PathValue("tenant")
	if form.Get("do") == "new" {
		id := strings.TrimSpace(form.Get("new"))
		if id == "" || id == "." || id == ".." {
			return &problem{Status: http.StatusBadRequest, Title: "A user has an id",
				Detail: "Write the id that the contact centre knows the user by."}
		}
		p.to = route("tenants", tenant, "users", id, "licences", "contact-center")
		return nil
	}
	if len(form["user"]) == 0 {
		return &problem{Status: http.StatusBadRequest, Title: "Nobody is chosen",
			Detail: "Tick the users that are to be mapped."}
	}
	return p.give(http.MethodPost, route("tenants", tenant, "licences:map"), nil, map[string]any{
		"users": form["user"], "subscription": form.Get("subscription"), "from": form.Get("from"), "activeOnly": true,
	}, p.With())
}

// ofUser has the page be one of the user that its path names. One who is mapped to nothing yet has a page too, to be
// mapped on, where fresh says so.
func (p *page) ofUser(fresh bool) (*user, error) {
	if err := p.ofTenant(); err != nil {
		return nil, err
	}
	p.Command = "apportion registry show " + p.Tenant.ID
	u := user{ID: p.r.PathValue("user")}
	users := route("tenants", p.Tenant.ID, "users")
	err := p.get(&u, route("tenants", p.Tenant.ID, "users", u.ID), "at", p.Query("at"))
	var none *problem
	if fresh && errors.As(err, &none) && none.Status == http.StatusNotFound {
		u.Role, err = "agent", nil
	}
	p.Trail = append(p.Trail, link{"Management", users}, link{"Users", users})
	return &u, err
}

// user is the tab Summary of a user, with the section Licenses.
func (c *Console) user(p *page) error {
	u, err := p.ofUser(false)
	if err != nil {
		return err
	}
	return p.show("user", u.ID, u)
}

// licencedServices are the services that a user is licensed for, the first of the vendor's pages on them.
func (c *Console) licencedServices(p *page) error { return p.userStep("licences", "Licensed services") }

// services are those that there are to be licensed for.
func (c *Console) services(p *page) error { return p.userStep("services", "Edit licenses") }

// contactCenter has a checkbox for each subscription.
func (c *Console) contactCenter(p *page) error { return p.userStep("contact-center", "Contact Center") }

func (p *page) userStep(template, title string) error {
	u, err := p.ofUser(true)
	if err != nil {
		return err
	}
	p.Trail = append(p.Trail, link{u.ID, route("tenants", p.Tenant.ID, "users", u.ID)})
	return p.show(template, title, u)
}

// saveLicences maps a user to the subscriptions that are ticked, and to no others, from a date on.
func (c *Console) saveLicences(p *page) error {
	form, t, u := p.r.PostForm, p.r.PathValue("tenant"), p.r.PathValue("user")
	wanted := []map[string]string{}
	for _, id := range form["subscription"] {
		one := map[string]string{"id": id}
		if class := form.Get("class." + id); class != "" {
			one["class"] = class
		}
		if to := form.Get("to." + id); to != "" {
			one["to"] = to
		}
		wanted = append(wanted, one)
	}
	body := map[string]any{"from": form.Get("from"), "subscriptions": wanted, "activeOnly": true}
	for _, name := range []string{"role", "reason"} {
		if value := form.Get(name); value != "" {
			body[name] = value
		}
	}
	return p.give(http.MethodPut, route("tenants", t, "users", u, "licences"), nil, body,
		route("tenants", t, "users", u))
}

// Ticked reports whether a subscription's checkbox is ticked: as the form was sent, else as the user is mapped today.
func (p *page) Ticked(u *user, subscription string) bool {
	if p.Posted() {
		return p.Sent("subscription", subscription)
	}
	return u.MappedOn(subscription, p.Tenant.Date) != nil
}

// linesOf are those that say what a command changes, or would, of a user's mapping to a subscription.
func (p *page) linesOf(u *user, subscription string) (lines []string) {
	var all []string
	switch {
	case p.Would != nil:
		all = p.Would.Changes
	case p.Done != nil && p.Done.Accepted:
		all = p.Done.Changes
	}
	for _, line := range all {
		_, what, ofUser := strings.Cut(line, " licence "+u.ID+" ")
		if ofUser && strings.Contains(what, " on "+subscription+" ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// change is what a form did to a user's mapping to a subscription, or would do, and why it is refused.
type change struct {
	Lines   []string
	Refused []fieldProblem
	Done    bool
}

// Change returns what is to be said beside a subscription of a user; nil: nothing.
func (p *page) Change(u *user, subscription string) *change {
	c := change{p.linesOf(u, subscription), p.Refused.On("subscriptions[" + subscription + "]"), p.Would == nil}
	if c.Lines == nil && c.Refused == nil {
		return nil
	}
	return &c
}

// Stretch says whether a mapping has begun and whether it has ended, on a date.
func (m mapping) Stretch(d civil.Date) string {
	switch {
	case m.From > d:
		return "planned"
	case m.To != nil && *m.To <= d:
		return "ended"
	}
	return "effective"
}

// EndOf is when a user's mapping to a subscription ends, "" where it goes on: as the form was sent, else as it is.
func (p *page) EndOf(u *user, subscription string) string {
	end := ""
	if m := u.MappedOn(subscription, p.Tenant.Date); m != nil && m.To != nil {
		end = m.To.String()
	}
	return p.Form("to."+subscription, end)
}

// ClassOf is the class that a user has in a subscription: as the form was sent, else as mapped today, else what the
// user has anyhow.
func (p *page) ClassOf(u *user, subscription string) string {
	class := u.Class
	if m := u.MappedOn(subscription, p.Tenant.Date); m != nil {
		class = m.Class
	}
	return p.Form("class."+subscription, class)
}

package console

import (
	"errors"
	"net/http"
	"slices"

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
	if err := p.get(&list, route("tenants", p.Tenant.ID, "users"), "q", p.Query("q"),
		"losesAccessBefore", p.Query("losesAccessBefore"), "after", p.Query("after")); err != nil {
		return err
	}
	p.Trail = append(p.Trail, link{"Management", route("tenants", p.Tenant.ID, "users")})
	return p.show("users", "Users", list)
}

// mapUsers maps the users that are ticked to a subscription.
func (c *Console) mapUsers(p *page) error {
	form := p.r.PostForm
	return p.give(http.MethodPost, route("tenants", p.r.PathValue("tenant"), "licences:map"), nil, map[string]any{
		"users": append([]string{}, form["user"]...), "subscription": form.Get("subscription"), "from": form.Get("from"),
	}, p.With())
}

// ofUser has the page be one of the user that its path names. One who is mapped to nothing yet has a page too, to be
// mapped on, where fresh says so.
func (p *page) ofUser(fresh bool) (*user, error) {
	if err := p.ofTenant(); err != nil {
		return nil, err
	}
	u := user{ID: p.r.PathValue("user")}
	users := route("tenants", p.Tenant.ID, "users")
	err := p.get(&u, route("tenants", p.Tenant.ID, "users", u.ID))
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
		wanted = append(wanted, one)
	}
	body := map[string]any{"from": form.Get("from"), "subscriptions": wanted}
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
		return slices.Contains(p.r.PostForm["subscription"], subscription)
	}
	return u.MappedOn(subscription, p.Tenant.Date) != nil
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

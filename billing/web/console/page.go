package console

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"apportion/billing/web/access"
	"apportion/schemas/civil"
)

// link leads somewhere.
type link struct{ Text, To string }

// page is a page that is being made for a request.
type page struct {
	c   *Console
	r   *http.Request
	on  screen
	Who access.Identity
	// Title is of the window and the page, Trail leads to it.
	Title string
	Trail []link
	// Tenant is set on the pages of one, with its zone, which instants are shown in; else they are shown in UTC.
	Tenant *tenant
	Zone   *civil.Zone
	// JSON are the routes of the API that the page is made of, the first with what it is about; Command prints the same.
	JSON    []link
	Command string
	AsOf    *asOf
	// Data is what the template shows.
	Data any
	// Done is what became of the command of a form, Would what would become of it, Refused why it is refused.
	Done    *done
	Would   *verdict
	Refused *problem
	// Answered is what was answered to a form that gives no command, for the template to show.
	Answered any
	// Refresh is after how many seconds a browser without scripts loads the page again; 0: never.
	Refresh int
	// Scripts and Styles are files of the console that the page needs besides those of all pages.
	Scripts []string
	Styles  []string
	// File is what is downloaded instead of a page.
	File *file

	template string
	to       string // where a browser is sent after a command
	etag     string // of what was asked for last
}

func (c *Console) newPage(r *http.Request, on screen) *page {
	return &page{c: c, r: r, on: on, Who: c.Identity(r)}
}

// show has the page drawn by a template.
func (p *page) show(template, title string, data any) error {
	p.template, p.Title, p.Data = template, title, data
	return nil
}

// Static is the path of a file of the console.
func (p *page) Static(name string) string { return p.c.static + "/" + name }

// Path is the path of the page.
func (p *page) Path() string { return p.r.URL.Path }

// Query returns a parameter of the page's address.
func (p *page) Query(name string) string { return p.r.URL.Query().Get(name) }

// With returns the page's address with some parameters changed, names and values in turn; one without a value goes.
// What was done is not said again.
func (p *page) With(parameters ...string) string {
	query := p.r.URL.Query()
	query.Del("done")
	for i := 0; i+1 < len(parameters); i += 2 {
		if query.Del(parameters[i]); parameters[i+1] != "" {
			query.Set(parameters[i], parameters[i+1])
		}
	}
	if len(query) == 0 {
		return p.r.URL.Path
	}
	return p.r.URL.Path + "?" + query.Encode()
}

// Form returns what a form was sent with, to show it again beside why it is refused; else what is given.
func (p *page) Form(name, otherwise string) string {
	if p.r.Method == http.MethodPost && p.r.PostForm.Has(name) {
		return p.r.PostForm.Get(name)
	}
	return otherwise
}

// Posted reports whether a form was sent.
func (p *page) Posted() bool { return p.r.Method == http.MethodPost }

// Sent reports whether a form was sent with a value among those of a name, such as a ticked box.
func (p *page) Sent(name, value string) bool { return slices.Contains(p.r.PostForm[name], value) }

// Key is the id of the command that a form gives.
func (p *page) Key() string { return uuid.NewString() }

// May reports whether whoever opens the page may ask for an operation of the API.
func (p *page) May(operation string) bool {
	_, may := p.Who.Scope(operation)
	return may
}

// Is reports whether whoever opens the page has a role.
func (p *page) Is(role string) bool { return p.Who.Has(access.Role(role)) }

// Roles names the roles of whoever opens the page.
func (p *page) Roles() string {
	var names []string
	for _, g := range p.Who.Grants {
		names = append(names, string(g.Role))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// entry is a link of the bar or of a tenant's pages; Here says that it leads to where one is.
type entry struct {
	link
	Here bool
}

// Bar is what leads to the pages that are of no one tenant, and that may be opened.
func (p *page) Bar() (bar []entry) {
	for _, b := range []struct{ text, to, operation string }{
		{"Home", "/", "getMe"},
		{"Tenants", "/tenants", "listTenants"},
		{"Periods", "/periods", "listPeriods"},
		{"Invoices", "/invoices", "listInvoices"},
		{"Rejected", "/rejected", "listRejected"},
		{"Try", "/try", "checkEvents"},
		{"Log", "/log", "listCommands"},
		{"Pipeline", "/pipeline", "getPipeline"},
		{"API", "/api", "getMe"},
	} {
		if p.May(b.operation) {
			path := p.Path()
			bar = append(bar, entry{link{b.text, b.to}, path == b.to || b.to != "/" && strings.HasPrefix(path, b.to+"/")})
		}
	}
	return bar
}

// section is a group of a tenant's pages, by the vendor's word.
type section struct {
	Name    string
	Entries []entry
}

// Sections lead to the pages of a tenant that may be opened.
func (p *page) Sections() (sections []section) {
	base := route("tenants", p.Tenant.ID)
	for _, s := range []struct {
		name string
		to   []struct{ text, path, operation string }
	}{
		{"Account", []struct{ text, path, operation string }{
			{"Subscription", "", "getTenant"}, {"What-if", "/what-if", "postWhatIf"}}},
		{"Management", []struct{ text, path, operation string }{
			{"Users", "/users", "listUsers"}, {"Access", "/access", "listAccess"}}},
		{"Monitoring", []struct{ text, path, operation string }{
			{"Live", "/live", "getLive"}, {"Usage", "/usage", "getConcurrency"}}},
		{"Billing", []struct{ text, path, operation string }{
			{"Periods", "/periods", "listTenantPeriods"}, {"Log", "/log", "listCommands"}}},
	} {
		of := section{Name: s.name}
		for _, e := range s.to {
			if !p.May(e.operation) {
				continue
			}
			here := p.Path() == base+e.path || e.path != "" && strings.HasPrefix(p.Path(), base+e.path+"/") ||
				e.path == "" && strings.HasPrefix(p.Path(), base+"/subscriptions/")
			of.Entries = append(of.Entries, entry{link{e.text, base + e.path}, here})
		}
		if len(of.Entries) > 0 {
			sections = append(sections, of)
		}
	}
	return sections
}

// problemPage answers with a page on why there is none.
func (c *Console) problemPage(w http.ResponseWriter, p *page, err error) {
	var of *problem
	if !errors.As(err, &of) {
		c.Log.Error("a page cannot be made", "path", p.r.URL.Path, "error", err)
		of = &problem{Status: http.StatusServiceUnavailable, Title: "This page cannot be made now",
			Detail: "Something that it needs does not answer.", Advice: "Try again in a minute."}
	}
	if of.Status == 0 {
		of.Status = http.StatusServiceUnavailable
	}
	if of.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if (of.Status >= http.StatusInternalServerError || of.Status == http.StatusTooManyRequests) && !p.Posted() {
		p.Refresh = 10
	}
	p.show("problem", heading(of.Title), of)
	c.write(w, p, of.Status)
}

// TagOf is how a problem is set apart: what is forbidden, stopped, absent or away.
func (p *problem) TagOf() string {
	switch {
	case p.Status == http.StatusUnauthorized:
		return "sign in"
	case p.Status == http.StatusForbidden:
		return "not for you"
	case p.Status == http.StatusNotFound:
		return "not there"
	case p.Status == http.StatusTooManyRequests:
		return "too often"
	case p.Status >= http.StatusInternalServerError:
		return "away"
	}
	return "stopped"
}

// Tone is how bad it is: what cannot be done, what waits, or what is only not for somebody.
func (p *problem) Tone() string {
	switch {
	case p.Status >= http.StatusInternalServerError, p.Status == http.StatusTooManyRequests:
		return "look"
	case p.Status == http.StatusUnauthorized, p.Status == http.StatusForbidden, p.Status == http.StatusNotFound:
		return ""
	}
	return "bad"
}

// For names the roles that the page is for.
func (p *page) For() (roles []string) {
	for _, role := range access.Operations()[p.on.needs] {
		roles = append(roles, string(role))
	}
	return roles
}

// Near is the page of the bar that a page which cannot be shown is under, nil where there is none.
func (p *page) Near() *link {
	for _, of := range p.Bar() {
		if of.Here && of.To != "/" && of.To != p.Path() {
			return &of.link
		}
	}
	return nil
}

// Said returns what a problem says as a sentence; one that begins with who asks begins as that is written.
func (p *page) Said(detail string) string {
	if p.Who.Subject != "" && strings.HasPrefix(detail, p.Who.Subject+" ") {
		return detail + "."
	}
	return sentence(detail)
}

// CanSignIn reports whether there is an issuer to sign in with.
func (p *page) CanSignIn() bool { return p.c.CanSignIn }

// Time shows an instant of the API in the page's zone, with UTC beside it.
func (p *page) Time(instant string) template.HTML { return p.instant(instant, "2006-01-02 15:04:05") }

// Minute shows an instant to the minute.
func (p *page) Minute(instant string) template.HTML { return p.instant(instant, "2006-01-02 15:04") }

// Clock shows the time of day of an instant.
func (p *page) Clock(instant string) template.HTML { return p.instant(instant, "15:04:05") }

// TimeIn shows the time of day of an instant in a zone that is not the page's.
func (p *page) TimeIn(zone, instant string) template.HTML {
	of := *p
	of.Zone, _ = civil.LoadZone(zone)
	return of.Clock(instant)
}

// Left says how long it is until an instant.
func (p *page) Left(instant string) string {
	ms, err := civil.ParseInstant(instant)
	if err != nil {
		return instant
	}
	return age(max(0, ms-p.c.Clock().UnixMilli()))
}

// ClockText is the time of day of an instant as plain text, with the date where a page shows several.
func (p *page) ClockText(instant string) string {
	ms, err := civil.ParseInstant(instant)
	if err != nil || p.Zone == nil {
		return instant
	}
	layout := "15:04:05"
	if p.Query("to") != "" {
		layout = "2 Jan 15:04:05"
	}
	return p.Zone.Time(ms).Format(layout)
}

func (p *page) instant(instant, layout string) template.HTML {
	if instant == "" {
		return "–"
	}
	ms, err := civil.ParseInstant(instant)
	if err != nil {
		return template.HTML(template.HTMLEscapeString(instant))
	}
	utc := civil.FormatMillis(ms)
	text := time.UnixMilli(ms).UTC().Format(layout) + " UTC"
	if p.Zone != nil {
		text = p.Zone.Time(ms).Format(layout)
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s UTC">%s</time>`, utc,
		strings.Replace(utc[:len(utc)-1], "T", " ", 1), template.HTMLEscapeString(text)))
}

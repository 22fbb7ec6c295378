package console

import (
	"slices"
	"strings"

	"apportion/schemas/civil"
)

// tenant is a tenant as GET /tenants/{tenant} has it.
type tenant struct {
	ID          string            `json:"tenantId"`
	Name        string            `json:"name"`
	TimeZone    string            `json:"timeZone"`
	Telephony   string            `json:"telephony"`
	Offset      int64             `json:"offset"`
	At          string            `json:"at"`
	Date        civil.Date        `json:"date"`
	Active      []string          `json:"active"`
	Primary     string            `json:"primary"`
	Payers      map[string]string `json:"payers"`
	Pool        map[string]int64  `json:"pool"`
	Findings    []finding         `json:"findings"`
	Document    *document         `json:"document"`
	Subscribers int               `json:"subscriptions"`
	ETag        string            `json:"etag"`
}

// document is what the registry has of a tenant; the mappings of its users are left to their pages.
type document struct {
	Subscriptions []subscription `json:"subscriptions"`

	raw []byte // as it is written
}

// subscription is one of a tenant, with all its terms and versions.
type subscription struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	LicenceModel string      `json:"licenceModel"`
	Plan         string      `json:"plan"`
	Deployment   string      `json:"deployment"`
	Currency     string      `json:"currency"`
	Billing      string      `json:"billing"`
	Terms        []term      `json:"terms"`
	Versions     []version   `json:"versions"`
	Cancelled    *civil.Date `json:"cancelled"`
}

// term is [From, To) in dates of the tenant's zone.
type term struct {
	From civil.Date `json:"from"`
	To   civil.Date `json:"to"`
}

// version is what a subscription commits to, and its prices, from a date on.
type version struct {
	From        civil.Date        `json:"from"`
	Commitments map[string]int64  `json:"commitments"`
	Prices      map[string]prices `json:"prices"`
}

// prices are unit prices by meter or channel, exact.
type prices map[string]string

// Subscription returns one of a tenant's, nil where there is none.
func (t *tenant) Subscription(id string) *subscription {
	if t.Document == nil {
		return nil
	}
	for i := range t.Document.Subscriptions {
		if t.Document.Subscriptions[i].ID == id {
			return &t.Document.Subscriptions[i]
		}
	}
	return nil
}

// IsActive reports whether a subscription of the tenant is active on its date (R3).
func (t *tenant) IsActive(id string) bool { return slices.Contains(t.Active, id) }

// TermOn returns the term that a date is in, or the next one, or else the last; nil without terms.
func (s *subscription) TermOn(d civil.Date) *term {
	var of *term
	for i := range s.Terms {
		if of == nil || of.To <= d {
			of = &s.Terms[i]
		}
	}
	return of
}

// finding is something to look at (R24).
type finding struct {
	Code   string   `json:"code"`
	Tenant string   `json:"tenantId"`
	Period string   `json:"period"`
	Count  int64    `json:"count"`
	Names  []string `json:"names"`
	Advice string   `json:"advice"`
	Rule   string   `json:"rule"`
}

// Words are the code as words.
func (f finding) Words() string {
	words := strings.ReplaceAll(f.Code, "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

func (c *Console) tenantScreens() []screen {
	return []screen{
		{path: "/tenants", needs: "listTenants", show: c.tenants},
	}
}

// ofTenant has the page be one of the tenant that its path names, which is read once for a page.
func (p *page) ofTenant() error {
	if p.Tenant != nil {
		return nil
	}
	var t tenant
	id := p.r.PathValue("tenant")
	if err := p.get(&t, route("tenants", id), "at", p.Query("at")); err != nil {
		return err
	}
	t.ETag = p.etag
	zone, err := civil.LoadZone(t.TimeZone)
	if err != nil {
		return err
	}
	p.Tenant, p.Zone = &t, zone
	p.Trail = append(p.Trail, link{"Tenants", "/tenants"}, link{t.Name, route("tenants", t.ID)})
	return nil
}

// tenants lists tenants.
func (c *Console) tenants(p *page) error {
	var list struct {
		Items []tenant `json:"items"`
		Next  string   `json:"next"`
	}
	if err := p.get(&list, "/tenants", "q", p.Query("q"), "after", p.Query("after")); err != nil {
		return err
	}
	// Who administers one tenant alone has no list to choose from.
	if !p.staff() && len(list.Items) == 1 && list.Next == "" && p.r.URL.RawQuery == "" {
		p.to = route("tenants", list.Items[0].ID)
	}
	p.Command = "apportion registry show"
	return p.show("tenants", "Tenants", list)
}

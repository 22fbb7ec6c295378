package console

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"apportion/schemas/civil"
)

// subscriptionPage is a subscription: its terms, versions, prices, users and invoices, and what can be done with it.
type subscriptionPage struct {
	*subscription
	State    string
	Versions []version // in order
	Rows     []versionRow
	Users    *list[user] // who are mapped to it today; nil where they are not for whoever looks
	Invoices *list[listedInvoice]
	Last     term
	Current  *version
	// Action is the form that was filled in, and Proposal what it would change.
	Action    string
	NextMonth string // the first date of the month that follows
	Proposal  *proposal
	// Meters and Prices are the fields of a new version.
	Meters []field
	Prices []field
}

// field is a field of a form.
type field struct{ Name, Label, Value string }

// versionRow is a line of the comparison of versions.
type versionRow struct {
	Group, Label string
	Cells        []versionCell
}

// versionCell is a commitment or price of a version; Changed says that the version before had another.
type versionCell struct {
	Value   string
	Changed bool
	Now     bool
}

// listedInvoice is an invoice that is issued.
type listedInvoice struct {
	ID     string `json:"invoiceId"`
	Period string `json:"period"`
	Issued string `json:"issueDate"`
	Lines  int    `json:"lines"`
	Totals totals `json:"totals"`
}

// priceKinds are the kinds of prices, in the order in which they are shown.
var priceKinds = []string{"commitment", "overage", "connect"}

// subscription shows one subscription of a tenant.
func (c *Console) subscription(p *page) error {
	s, err := p.ofSubscription()
	if err != nil {
		return err
	}
	t := p.Tenant
	view := subscriptionPage{subscription: s, State: t.StateOf(s), Versions: s.ordered(), Current: s.VersionOn(t.Date)}
	view.Rows = compareVersions(view.Versions, view.Current)
	for _, of := range s.Terms {
		if of.To > view.Last.To {
			view.Last = of
		}
	}
	if p.May("listUsers") {
		view.Users = &list[user]{}
		if err := p.get(view.Users, route("tenants", t.ID, "users"), "subscription", s.ID, "limit", "500"); err != nil {
			return err
		}
	}
	if p.May("listInvoices") {
		view.Invoices = &list[listedInvoice]{}
		if err := p.get(view.Invoices, "/invoices", "tenant", t.ID, "subscription", s.ID, "limit", "24"); err != nil {
			return err
		}
	}
	view.Meters, view.Prices = view.fields()
	view.NextMonth = t.Date.Month().Next().First().String()
	if proposed, ok := p.Data.(*proposal); ok {
		view.Proposal = proposed
	}
	view.Action = p.Form("action", p.Query("action"))
	p.Trail = append(p.Trail, link{"Subscription", route("tenants", t.ID)})
	p.Command = "apportion registry show " + t.ID
	return p.show("subscription", s.ID, view)
}

// ofSubscription has the page be one of the subscription that its path names.
func (p *page) ofSubscription() (*subscription, error) {
	if err := p.ofTenant(); err != nil {
		return nil, err
	}
	id := p.r.PathValue("subscription")
	if s := p.Tenant.Subscription(id); s != nil {
		return s, nil
	}
	return nil, &problem{Status: http.StatusNotFound, Title: "There is no such subscription",
		Detail: "The tenant " + p.Tenant.ID + " has no subscription " + id + ".", Advice: "Choose one on the tenant's page."}
}

func (s *subscription) ordered() []version {
	return slices.SortedFunc(slices.Values(s.Versions), func(a, b version) int { return int(a.From - b.From) })
}

// compareVersions sets versions side by side.
func compareVersions(versions []version, current *version) (rows []versionRow) {
	add := func(group string, of func(v version) map[string]string) {
		var names []string
		for _, v := range versions {
			names = slices.AppendSeq(names, maps.Keys(of(v)))
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			row := versionRow{Group: group, Label: name}
			for i, v := range versions {
				value := of(v)[name]
				row.Cells = append(row.Cells, versionCell{value, i > 0 && of(versions[i-1])[name] != value,
					current != nil && current.From == v.From})
			}
			rows = append(rows, row)
		}
	}
	add("Commitments", func(v version) map[string]string { return v.committed() })
	for _, kind := range priceKinds {
		add("Prices of "+kind, func(v version) map[string]string { return v.Prices[kind] })
	}
	return rows
}

// committed are the commitments of a version as text.
func (v version) committed() map[string]string {
	of := map[string]string{}
	for meter, n := range v.Commitments {
		of[meter] = formatInt(n)
	}
	return of
}

// fields are those of a new version, as the current one has them.
func (s *subscriptionPage) fields() (meters, prices []field) {
	from := s.Current
	if from == nil && len(s.Versions) > 0 {
		from = &s.Versions[0]
	}
	if from == nil {
		return nil, nil
	}
	names := slices.AppendSeq([]string{"agent_standard", "agent_premium", "ivr_port"}, maps.Keys(from.Commitments))
	slices.Sort(names)
	for _, meter := range slices.Compact(names) {
		meters = append(meters, field{"commitments." + meter, meter, from.committed()[meter]})
	}
	for _, kind := range priceKinds {
		for _, name := range slices.Sorted(maps.Keys(from.Prices[kind])) {
			prices = append(prices, field{"prices." + kind + "." + name, kind + ", " + name, from.Prices[kind][name]})
		}
	}
	return meters, prices
}

// changeSubscription renews, changes or cancels a subscription, after it was said what that would change.
func (c *Console) changeSubscription(p *page) error {
	s, err := p.ofSubscription()
	if err != nil {
		return err
	}
	form := p.r.PostForm
	document, err := p.edited(func(all map[string]map[string]any) { changeBy(form, all[s.ID]) })
	if err != nil {
		return err
	}
	if form.Get("do") == "apply" {
		return p.putTenant(document, p.Path())
	}
	now := p.Tenant.Date.Month()
	first := now
	if from, err := civil.ParseDate(form.Get("from")); err == nil {
		first = max(from.Month(), now-9)
	}
	proposed, err := p.propose(document, monthsFrom(first, max(3, int(now-first)+3)), form)
	if err != nil {
		return err
	}
	p.Data = proposed
	return nil
}

// changeBy changes a subscription of a document as a form says.
func changeBy(form url.Values, s map[string]any) {
	from := form.Get("from")
	switch form.Get("action") {
	case "renew":
		terms, _ := s["terms"].([]any)
		for _, one := range terms {
			if term, _ := one.(map[string]any); term["to"] == from { // it goes on where a term ends: the same term, longer
				term["to"] = form.Get("to")
				return
			}
		}
		s["terms"] = append(terms, map[string]any{"from": from, "to": form.Get("to")})
	case "version":
		commitments, prices := map[string]string{}, map[string]map[string]string{}
		for name := range form {
			if meter, ok := strings.CutPrefix(name, "commitments."); ok {
				commitments[meter] = form.Get(name)
			}
			if rest, ok := strings.CutPrefix(name, "prices."); ok && form.Get(name) != "" {
				kind, of, _ := strings.Cut(rest, ".")
				if prices[kind] == nil {
					prices[kind] = map[string]string{}
				}
				prices[kind][of] = form.Get(name)
			}
		}
		newVersion(s, from, commitments, prices)
	case "cancel":
		s["cancelled"] = from
	}
}

// Self is the subscription, for templates that have a copy.
func (s subscription) Self() *subscription { return &s }

// IsCurrent reports whether a version is the one that is effective.
func (s subscriptionPage) IsCurrent(v version) bool {
	return s.Current != nil && s.Current.From == v.From
}

// Columns are those of the comparison of versions.
func (s subscriptionPage) Columns() int { return len(s.Versions) + 1 }

// NextEnd is when a renewal for as long as the last term would end.
func (s subscriptionPage) NextEnd() civil.Date { return s.Last.To + (s.Last.To - s.Last.From) }

package console

import (
	"slices"
	"time"

	"apportion/billing/web/access"
	"apportion/schemas/civil"
)

func (c *Console) homeScreens() []screen {
	return []screen{{path: "/{$}", needs: "getMe", show: c.home}}
}

// home is what there is to do and to know for whoever opens it, by what they may ask for; what is not for them is nil.
type home struct {
	// Decide has periods of the last three months, and Older the latest before that, which is one or none.
	Decide   *list[periodState]
	Older    *list[periodState]
	Findings *list[finding]
	Months   *list[monthState]
	Pipeline *pipeline
	// Refused are the deliveries refused in the last day.
	Refused *list[refusedCount]
	Own     []ownTenant
	Sources []string
}

// list is a page of a list.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// periodState is how far a period of a tenant is.
type periodState struct {
	Tenant   string    `json:"tenantId"`
	Period   string    `json:"period"`
	State    string    `json:"state"`
	Since    string    `json:"since"`
	Due      string    `json:"dueAt"`
	Reason   string    `json:"reason"`
	Stop     *stop     `json:"stop"`
	Invoices int       `json:"invoices"`
	Totals   []totals  `json:"totals"`
	Findings []finding `json:"findings"`
}

// stop is what keeps a period from being issued.
type stop struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice"`
	Rule    string `json:"rule"`
}

// totals are sums of invoices in a currency.
type totals struct {
	Currency string `json:"currency"`
	Net      string `json:"net"`
	Tax      string `json:"tax"`
	Gross    string `json:"gross"`
}

// monthState is how many tenants are how far with a month, and what is issued of it.
type monthState struct {
	Period  string         `json:"period"`
	Tenants map[string]int `json:"tenants"`
	Issued  []totals       `json:"issued"`
}

// ownTenant is a tenant of somebody who administers it.
type ownTenant struct {
	tenant
	Live    []liveMeter
	Renewal *renewal
	// Losses counts who loses access within losesWithin days, the first on FirstLoss.
	Losses    int
	FirstLoss civil.Date
	More      bool
}

// renewal is the next end of a term of a subscription that no other term of it follows at once.
type renewal struct {
	Subscription string
	On           civil.Date
	Days         int
}

// losesWithin is how many days ahead the start page looks for who loses access, and mostOwn of how many tenants.
const (
	losesWithin = 90
	mostOwn     = 6
)

// home shows what each role has to do or wants to know first.
func (c *Console) home(p *page) error {
	var h home
	for _, part := range []func(*page, *home) error{toDecide, flow, ownTenants, ownSources} {
		if err := part(p, &h); err != nil {
			return err
		}
	}
	p.Refresh = 60
	if h.Decide != nil {
		p.Command = "apportion bill status"
	}
	return p.show("home", "Home", h)
}

// staff reports whether somebody looks after all tenants.
func (p *page) staff() bool { return p.Is("operator") || p.Is("finance") || p.Is("analyst") }

// toDecide is what somebody has to decide on before invoices are issued, and what has been issued.
func toDecide(p *page, h *home) error {
	if !p.staff() || !p.May("listPeriods") {
		return nil
	}
	h.Decide, h.Older = &list[periodState]{}, &list[periodState]{}
	h.Months, h.Findings = &list[monthState]{}, &list[finding]{}
	now, err := civil.ParseMonth(p.c.Clock().UTC().Format("2006-01"))
	if err != nil {
		return err
	}
	// What rules stop is known from the usage alone, so that few months are looked at.
	if err := p.get(h.Decide, "/periods", "state", "stopped,held,due,closing", "from", (now - 2).String(),
		"limit", "20"); err != nil {
		return err
	}
	if err := p.get(h.Older, "/periods", "state", "held,due", "to", (now - 3).String(), "limit", "1"); err != nil {
		return err
	}
	if err := p.get(h.Months, "/months", "limit", "3"); err != nil {
		return err
	}
	return p.get(h.Findings, "/findings", "limit", "10")
}

// flow is how current everything is, for those who run it.
func flow(p *page, h *home) error {
	if p.May("getPipeline") {
		h.Pipeline = &pipeline{}
		if err := p.get(h.Pipeline, "/pipeline"); err != nil {
			return err
		}
	}
	if !p.May("listRejected") {
		return nil
	}
	h.Refused = &list[refusedCount]{}
	since := p.c.Clock().Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	return p.get(h.Refused, "/rejected:count", "from", since)
}

// ownTenants are those of somebody who administers tenants.
func ownTenants(p *page, h *home) error {
	if !p.Is("tenant") {
		return nil
	}
	var ids []string
	for _, g := range p.Who.Grants {
		if g.Role == access.Tenant {
			ids = append(ids, g.Tenants...)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, id := range ids[:min(mostOwn, len(ids))] {
		var own ownTenant
		if err := p.get(&own.tenant, route("tenants", id)); err != nil {
			return err
		}
		var live struct {
			Meters []liveMeter `json:"meters"`
		}
		if err := p.get(&live, route("tenants", id, "live")); err != nil {
			return err
		}
		for _, m := range live.Meters {
			if m.Pool > 0 || m.Live > 0 || m.Peak != nil {
				own.Live = append(own.Live, m)
			}
		}
		var losses list[struct {
			Date civil.Date `json:"date"`
		}]
		if err := p.get(&losses, route("tenants", id, "access"), "from", own.Date.String(),
			"to", own.Date.Add(losesWithin).String(), "limit", "500"); err != nil {
			return err
		}
		if own.Losses, own.More = len(losses.Items), losses.Next != ""; own.Losses > 0 {
			own.FirstLoss = losses.Items[0].Date
		}
		own.Renewal = own.nextRenewal()
		h.Own = append(h.Own, own)
	}
	return nil
}

// nextRenewal is the first end of a term to come of a subscription that is active, where nothing follows it at once.
func (t *tenant) nextRenewal() (next *renewal) {
	for _, id := range t.Active {
		s := t.Subscription(id)
		if s == nil {
			continue
		}
		ends := s.EndsAfter(t.Date)
		if next == nil || ends < next.On {
			next = &renewal{s.ID, ends, int(ends - t.Date)}
		}
	}
	return next
}

// EndsAfter is the first date on which a subscription that is active on a date is not active any more.
func (s *subscription) EndsAfter(d civil.Date) civil.Date {
	ends := d
	for range s.Terms { // they may be in any order
		for _, t := range s.Terms {
			if t.From <= ends && ends < t.To {
				ends = t.To
			}
		}
	}
	if s.Cancelled != nil && *s.Cancelled < ends {
		return *s.Cancelled
	}
	return ends
}

// ownSources are those of somebody who publishes.
func ownSources(p *page, h *home) error {
	for _, g := range p.Who.Grants {
		if g.Role == access.Publisher {
			h.Sources = append(h.Sources, g.Sources...)
		}
	}
	slices.Sort(h.Sources)
	h.Sources = slices.Compact(h.Sources)
	return nil
}

// RefusedOf counts those of a source that are refused; of all where it is empty.
func (h home) RefusedOf(source string) (n int64) {
	for _, r := range h.Refused.Items {
		if source == "" || r.Source == source {
			n += r.Deliveries
		}
	}
	return n
}

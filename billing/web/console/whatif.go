package console

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"apportion/schemas/civil"
)

// whatIfPage compares a tenant as it stands with how it would be.
type whatIfPage struct {
	Subscriptions []committed
	From          string
	Text          string
	Proposal      *proposal
	Advice        *advice
}

// committed are the commitments of an active subscription, as fields.
type committed struct {
	ID, Name string
	Fields   []field
}

// advice is which commitments would have cost least, as GET /tenants/{tenant}/advice has it.
type advice struct {
	Last        string `json:"last"`
	Commitments []struct {
		Meter        string   `json:"meter"`
		Subscription string   `json:"subscriptionId"`
		LookBack     int      `json:"lookBack"`
		Months       []string `json:"months"`
		Committed    int64    `json:"committed"`
		Least        int64    `json:"least"`
		Charged      string   `json:"charged"`
		Cost         string   `json:"cost"`
		Saved        string   `json:"saved"`
		Currency     string   `json:"currency"`
		Best         bool     `json:"best"`
	} `json:"commitments"`
	LeftOut []struct {
		Period       string `json:"period"`
		Subscription string `json:"subscriptionId"`
		Meter        string `json:"meter"`
		Reason       string `json:"reason"`
	} `json:"leftOut"`
	Assumptions []string `json:"assumptions"`
}

// lookBack is how many months are compared unless the page's address says so, and lookBacks are those to choose from.
const lookBack = 12

var lookBacks = []int{1, 3, 6, lookBack}

// Months is how many months are compared.
func (p *page) Months() int {
	if n, err := strconv.Atoi(p.Form("months", p.Query("months"))); err == nil && slices.Contains(lookBacks, n) {
		return n
	}
	return lookBack
}

// LookBacks are the numbers of months to choose from.
func (p *page) LookBacks() []int { return lookBacks }

// whatIf shows the forms, what would have been under what they say, and what would have cost least. The address of the
// page has the commitments that are tried.
func (c *Console) whatIf(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	t, query := p.Tenant, p.r.URL.Query()
	first := (t.Date.Month() - civil.Month(p.Months()) + 1).First()
	w := whatIfPage{From: p.Form("from", first.String())}
	if from := query.Get("from"); from != "" && !p.Posted() {
		w.From = from
	}
	for _, s := range t.inOrder() {
		if v := s.VersionOn(t.Date); v != nil && t.IsActive(s.ID) {
			w.Subscriptions = append(w.Subscriptions, committed{s.ID, s.Name, v.fields(s.ID, query)})
		}
	}
	var err error
	if w.Text, err = indented(t.Document.raw); err != nil {
		return err
	}
	w.Text = p.Form("document", w.Text)
	switch proposed, ok := p.Data.(*proposal); {
	case ok:
		w.Proposal = proposed
	case query.Has("compare") && !p.Posted():
		if w.Proposal, err = p.tryCommitments(query); err != nil {
			return err
		}
	}
	if query.Has("advice") {
		w.Advice = &advice{}
		if err := p.get(w.Advice, route("tenants", t.ID, "advice"), "at", p.Query("at")); err != nil {
			return err
		}
	}
	p.Command = "apportion bill preview --registry document.yaml --period " + t.Date.Month().String()
	if w.Advice != nil {
		p.Command = "apportion advise " + t.ID
	}
	return p.show("what-if", "What-if", w)
}

// fields are the commitments of a version to seats and ports, as the page's address has them, or as they are.
func (v version) fields(subscription string, query url.Values) (fields []field) {
	names := slices.AppendSeq([]string{"agent_standard", "agent_premium", "ivr_port"}, maps.Keys(v.Commitments))
	slices.Sort(names)
	for _, meter := range slices.Compact(names) {
		f := field{subscription + "/" + meter, meter, v.committed()[meter]}
		if query.Has(f.Name) {
			f.Value = query.Get(f.Name)
		}
		fields = append(fields, f)
	}
	return fields
}

// withCommitments is the tenant's document with the commitments of a form, from a date on.
func (p *page) withCommitments(form url.Values) ([]byte, error) {
	return p.edited(func(all map[string]map[string]any) {
		for _, s := range p.Tenant.Document.Subscriptions {
			v, wanted := s.VersionOn(p.Tenant.Date), map[string]string{}
			for name := range form {
				if id, meter, ok := strings.Cut(name, "/"); ok && id == s.ID && v != nil &&
					form.Get(name) != v.committed()[meter] {
					wanted[meter] = form.Get(name)
				}
			}
			if len(wanted) > 0 {
				newVersion(all[s.ID], form.Get("from"), wanted, nil)
				laterToo(all[s.ID], form.Get("from"), wanted)
			}
		}
	})
}

// laterToo has the versions after a date commit to the same.
func laterToo(s map[string]any, from string, wanted map[string]string) {
	versions, _ := s["versions"].([]any)
	for _, one := range versions {
		v, _ := one.(map[string]any)
		if begins, _ := v["from"].(string); begins > from {
			commitments, _ := v["commitments"].(map[string]any)
			if commitments == nil {
				commitments = map[string]any{}
			}
			for meter, n := range wanted {
				if delete(commitments, meter); n != "" {
					commitments[meter] = count(n)
				}
			}
			v["commitments"] = commitments
		}
	}
}

func (p *page) tryCommitments(form url.Values) (*proposal, error) {
	document, err := p.withCommitments(form)
	if err != nil {
		return nil, err
	}
	return p.proposeMonths(document, form)
}

// proposeMonths compares the last months under a document.
func (p *page) proposeMonths(document []byte, form url.Values) (*proposal, error) {
	n := p.Months()
	return p.propose(document, monthsFrom(p.Tenant.Date.Month()-civil.Month(n)+1, n), form)
}

// applyWhatIf compares a whole document, or gives what was compared.
func (c *Console) applyWhatIf(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	form := p.r.PostForm
	document := []byte(form.Get("document"))
	if !form.Has("document") {
		var err error
		if document, err = p.withCommitments(form); err != nil {
			return err
		}
	}
	if form.Get("do") == "apply" {
		return p.putTenant(document, p.Path())
	}
	proposed, err := p.proposeMonths(document, form)
	p.Data = proposed
	return err
}

// Try is the address of the page that compares one commitment.
func (p *page) Try(subscription, meter string, n int64) string {
	query := url.Values{"compare": {"yes"}, subscription + "/" + meter: {formatInt(n)},
		"at": {p.Query("at")}, "from": {(p.Tenant.Date.Month() - lookBack + 1).First().String()}}
	if p.Query("at") == "" {
		query.Del("at")
	}
	return p.Path() + "?" + query.Encode()
}

package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"

	"apportion/schemas/civil"
)

func (c *Console) accountScreens() []screen {
	const ofTenant = "/tenants/{tenant}"
	return []screen{
		{path: ofTenant, needs: "getTenant", show: c.account, send: c.changeTelephony},
		{path: ofTenant + "/document", needs: "putTenant", show: c.document, send: c.putDocument},
		{path: ofTenant + "/subscriptions/{subscription}", needs: "getTenant", show: c.subscription,
			send: c.changeSubscription},
		{path: ofTenant + "/what-if", needs: "postWhatIf", show: c.whatIf, send: c.applyWhatIf},
	}
}

// account is Account > Subscription: who is the primary and why, who pays, the subscriptions over time, and the pool.
type account struct {
	Subscriptions []subscription
	Chart         *timelineChart
	Steps         []timelineStep
	Meters        []string
	// Today is what holds on the date of the page, nil where nothing does.
	Today *timelineStep
	// Models are the licence models of the active subscriptions, which is one (R5), or none.
	Models []string
}

// telephonyOptions are the words of the vendor for the options, by those of the registry (R6).
var telephonyOptions = []struct{ Option, Name string }{
	{"webex_calling", "Webex Calling"}, {"bundled_pstn", "Bundled PSTN"}, {"vpop", "VPOP"},
}

// TelephonyName is the vendor's name of a telephony option.
func (p *page) TelephonyName(option string) string {
	for _, o := range telephonyOptions {
		if o.Option == option {
			return o.Name
		}
	}
	return option
}

// TelephonyOptions are all of them.
func (p *page) TelephonyOptions() any { return telephonyOptions }

// account shows a tenant as the vendor's page on its subscriptions does.
func (c *Console) account(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	t := p.Tenant
	a := account{Subscriptions: t.inOrder()}
	var timeline struct {
		Steps []timelineStep `json:"steps"`
	}
	if err := p.get(&timeline, route("tenants", t.ID, "timeline")); err != nil {
		return err
	}
	a.Steps, a.Meters, a.Chart = timeline.Steps, pooled(timeline.Steps), t.timeline(timeline.Steps)
	for i := range a.Steps {
		if a.Steps[i].Has(t.Date) && len(a.Steps[i].Active) > 0 {
			a.Today = &a.Steps[i]
		}
	}
	for _, s := range a.Subscriptions {
		if (t.IsActive(s.ID) || len(t.Active) == 0) && !slices.Contains(a.Models, s.LicenceModel) {
			a.Models = append(a.Models, s.LicenceModel)
		}
	}
	p.Command = "apportion registry show " + t.ID
	return p.show("account", "Subscription", a)
}

// changeTelephony changes the telephony option of all subscriptions of a tenant at once.
func (c *Console) changeTelephony(p *page) error {
	form := p.r.PostForm
	return p.give(http.MethodPost, route("tenants", p.r.PathValue("tenant"), "telephony"), nil,
		map[string]any{"telephony": form.Get("telephony"), "reason": form.Get("reason")}, "")
}

// document shows a tenant's document whole, to be put in place of what stands.
func (c *Console) document(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	p.Trail = append(p.Trail, link{"Subscription", route("tenants", p.Tenant.ID)})
	text, err := indented(p.Tenant.Document.raw)
	if err != nil {
		return err
	}
	p.Command = "apportion registry apply -f document.yaml"
	return p.show("document", "Document", struct{ Text string }{text})
}

func indented(raw []byte) (string, error) {
	var b bytes.Buffer
	err := json.Indent(&b, raw, "", "  ")
	return b.String(), err
}

// putDocument puts the document of the form in place of the one that it was made from.
func (c *Console) putDocument(p *page) error {
	return p.putTenant([]byte(p.r.PostForm.Get("document")), "")
}

// putTenant gives a whole document, made from that whose ETag the form has.
func (p *page) putTenant(document []byte, to string) error {
	return p.give(http.MethodPut, route("tenants", p.r.PathValue("tenant")),
		http.Header{"If-Match": {p.r.PostForm.Get("etag")}}, document, to)
}

// UnmarshalJSON reads a document and keeps it as it is written.
func (d *document) UnmarshalJSON(raw []byte) error {
	type plain document
	d.raw = bytes.Clone(raw)
	return jsonv2.Unmarshal(raw, (*plain)(d))
}

// StateOf says how a subscription stands on a date: active, to come, cancelled or over.
func (t *tenant) StateOf(s *subscription) string {
	switch {
	case t.IsActive(s.ID):
		return "active"
	case s.Cancelled != nil && *s.Cancelled <= t.Date:
		return "cancelled"
	case s.TermOn(t.Date) != nil && s.TermOn(t.Date).From > t.Date:
		return "to come"
	}
	return "over"
}

// VersionOn returns the version of a subscription that is effective on a date, nil before the first.
func (s *subscription) VersionOn(d civil.Date) (of *version) {
	for i, v := range s.Versions {
		if v.From <= d && (of == nil || of.From < v.From) {
			of = &s.Versions[i]
		}
	}
	return of
}

// Commits returns the version that is effective on a date or, of a subscription that begins later, then.
func (s *subscription) Commits(d civil.Date) *version { return s.VersionOn(max(d, s.Begins())) }

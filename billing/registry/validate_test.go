package registry

import (
	"slices"
	"strings"
	"testing"
)

// TestRefusals changes one thing in a document that is fine, and lists what it is refused for, as code and
// field under tenants[acme].
func TestRefusals(t *testing.T) {
	const sub1 = "subscriptions[Sub1]."
	for _, c := range []struct{ old, new, want string }{
		{"- id: acme", "- id: _acme", "invalid_field id"},
		{"- id: acme", "- id: " + strings.Repeat("a", 65), "invalid_field id"},
		{"  name: Acme AB\n", "", "missing_field name"},
		{"name: Acme AB", `name: "Acme\tAB"`, "invalid_field name"},
		{"  timeZone: Europe/Stockholm\n", "", "missing_field timeZone"},
		{"timeZone: Europe/Stockholm", "timeZone: Europe/Stokholm", "invalid_field timeZone"},
		{"timeZone: Europe/Stockholm", "timeZone: Local", "invalid_field timeZone"},
		{"telephony: webex_calling", "telephony: webex", "invalid_field telephony"},
		{"- id: Sub2", "- id: Sub 2", "invalid_field subscriptions[Sub 2].id"},
		{"name: Customer service", "name: ''", "missing_field " + sub1 + "name"},
		{"licenceModel: concurrent\n    plan: flex3", "licenceModel: floating\n    plan: flex3", "invalid_field " + sub1 + "licenceModel"},
		{"plan: flex3", "plan: flex4", "invalid_field " + sub1 + "plan"},
		{"deployment: cloud", "deployment: moon", "invalid_field " + sub1 + "deployment"},
		{"billing: monthly", "billing: yearly", "invalid_field " + sub1 + "billing"},
		{"currency: SEK", "currency: sek", "invalid_currency " + sub1 + "currency"},
		{"currency: SEK", "currency: XAU", "invalid_currency " + sub1 + "currency"},
		{"currency: SEK", "currency: XXX", "invalid_currency " + sub1 + "currency"},
		{"    currency: SEK\n", "", "missing_field " + sub1 + "currency"},

		// R1
		{"- id: Sub2", "- id: Sub1", "duplicate_subscription " + sub1 + "id"},
		// R2
		{"terms: [{from: 2024-01-01, to: 2027-01-01}]", "terms: []", "missing_field " + sub1 + "terms"},
		{"terms: [{from: 2024-01-01, to: 2027-01-01}]", "terms: [{from: 2024-01-01}]", "missing_field " + sub1 + "terms[2024-01-01].to"},
		{"to: 2027-01-01}]", "to: 2024-01-01}]", "invalid_terms " + sub1 + "terms[2024-01-01].to"},
		{"to: 2027-01-01}]", "to: 2027-01-01}, {from: 2026-12-31, to: 2028-01-01}]", "invalid_terms " + sub1 + "terms[2026-12-31]"},
		{"to: 2027-01-01}]", "to: 2027-01-01}, {from: 2027-01-01, to: 2028-01-01}]", ""},
		{"to: 2027-01-01}]", "to: 2027-01-01}, {from: 2023-12-31, to: 2024-01-01}]", "invalid_versions " + sub1 + "versions"},
		{"- from: 2024-01-01", "- from: 2024-01-02", "invalid_versions " + sub1 + "versions"},
		{"- from: 2024-01-01", "- from: 2023-01-01", ""},
		{"- from: 2024-01-01\n", "- {from: 2024-01-01}\n    - from: 2024-01-01\n", "invalid_versions " + sub1 + "versions[2024-01-01].from"},
		{"- from: 2024-01-01\n", "- commitments: {}\n    - from: 2024-01-01\n", "missing_field " + sub1 + "versions[].from"},
		// R5
		{"licenceModel: concurrent\n    plan: flex\n", "licenceModel: named\n    plan: flex\n", "mixed_licence_model subscriptions[Sub2].licenceModel"},
		{"licenceModel: concurrent\n    plan: flex3", "licenceModel: named\n    cancelled: 2025-01-01\n    plan: flex3", "mixed_licence_model subscriptions[Sub2].licenceModel"},
		// R6
		{"    name: Sales\n", "    name: Sales\n    telephony: vpop\n", "telephony_mismatch subscriptions[Sub2].telephony"},
		{"    name: Sales\n", "    name: Sales\n    telephony: webex_calling\n", ""},
		// R7
		{"role: agent", "role: boss", "invalid_field licences[agent-17].role"},
		{"role: agent, subscription", "role: agent, class: gold, subscription", "invalid_field licences[agent-17].class"},
		{"{user: agent-17", "{user: ''", "missing_field licences[].user"},
		{"{user: agent-17", "{user: " + strings.Repeat("å", 101), "invalid_field licences[" + strings.Repeat("å", 101) + "].user"},
		{"subscription: Sub1, from: 2024-01-01}\n  entryPoints", "subscription: Sub9, from: 2024-01-01}\n  entryPoints", "invalid_field licences[agent-17].subscription"},
		{"subscription: Sub1, from: 2024-01-01}\n  entryPoints", "subscription: Sub1}\n  entryPoints", "missing_field licences[agent-17].from"},
		{"subscription: Sub1, from: 2024-01-01}\n  entryPoints", "subscription: Sub1, from: 2024-01-01, to: 2024-01-01}\n  entryPoints", "invalid_field licences[agent-17].to"},
		{"{entryPoint: ep-support, subscription: Sub1", "{entryPoint: ep-support, subscription: sub1", "invalid_field entryPoints[ep-support].subscription"},
		// the buyer
		{"{country: SE}", "{city: Stockholm}", "missing_field billTo.address.country"},
		{"{country: SE}", "{country: Sweden}", "invalid_field billTo.address.country"},
		{"{country: SE}", "{country: DE}, leitwegId: 04011000-1234512345-06", ""},
		{"{country: SE}", "{country: DE}, leitwegId: 992-90009-96", ""},
		{"{country: SE}", "{country: DE}, leitwegId: 04011000-1234512345-60", "invalid_field billTo.leitwegId"},
		{"{country: SE}", "{country: DE}, leitwegId: '04011000123451234506'", "invalid_field billTo.leitwegId"},
		{`rate: "25"`, "rate: 0", "invalid_field billTo.tax.rate"},
		{`rate: "25"`, "rate: 101", "invalid_field billTo.tax.rate"},
		{`rate: "25"`, "rate: 25, reason: none", "invalid_field billTo.tax.reason"},
		{`category: S, rate: "25"`, "category: AE", "missing_field billTo.tax.reason"},
		{`category: S, rate: "25"`, "category: AE, reason: Reverse charge", ""},
		{`category: S, rate: "25"`, "category: Z, rate: 5", "invalid_field billTo.tax.rate"},
		{`category: S`, "category: X", "invalid_field billTo.tax.category"},
		// R26
		{`{category: S, rate: "25"}`, `[{category: S, rate: "25"}]`, ""},
		{`{category: S, rate: "25"}`, `[{category: S, rate: "24"}, {from: 2024-09-01, category: S, rate: "25.5"}, {from: 2024-09-02, category: Z}]`, ""},
		{`{category: S, rate: "25"}`, `{from: 2024-09-01, category: Z}`, "invalid_field billTo.tax.from"},
		{`{category: S, rate: "25"}`, `[{from: 2024-08-01, category: Z}, {from: 2024-09-01, category: Z}]`, "invalid_field billTo.tax[2024-08-01].from"},
		{`{category: S, rate: "25"}`, `[{category: Z}, {category: Z}]`, "missing_field billTo.tax[1].from"},
		{`{category: S, rate: "25"}`, `[{category: Z}, {from: 2024-09-01, category: Z}, {from: 2024-09-01, category: Z}]`, "invalid_field billTo.tax[2024-09-01].from"},
		{`{category: S, rate: "25"}`, `[{category: Z}, {from: 2024-09-01, category: Z}, {from: 2024-08-31, category: Z}]`, "invalid_field billTo.tax[2024-08-31].from"},
		{`{category: S, rate: "25"}`, `[{category: Z}, {from: 2024-09-01, category: S}]`, "invalid_field billTo.tax[2024-09-01].rate"},
	} {
		text := strings.Replace(acme, c.old, c.new, 1)
		if text == acme {
			t.Fatalf("%q is not in the document", c.old)
		}
		var got []string
		for _, r := range parse(t, text).Validate() {
			field := r.Field[strings.Index(r.Field, "].")+2:]
			got = append(got, string(r.Code)+" "+field)
			if r.Message == "" {
				t.Errorf("%s: no message", r.Field)
			}
		}
		want := []string{c.want}
		if c.want == "" {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q in place of %q:\n got %q\nwant %q", c.new, c.old, got, want)
		}
	}
}

// TestPeppolRemovedCodes: documents cannot say them any more; a command of the log that does still stands.
func TestPeppolRemovedCodes(t *testing.T) {
	with := func(from, to string) *Document { return parse(t, strings.Replace(acme, from, to, 1)) }
	for _, scheme := range strings.Fields("0037 0147 0154 0170 0177 0193 0194 0202 0203 0205 0212 0213 0215 0217 7") {
		doc := with("billTo: {", `billTo: {endpoint: {scheme: "`+scheme+`", id: x}, `)
		if got := doc.Validate(); len(got) != 1 || got[0].Code != "invalid_field" || got[0].Field != "tenants[acme].billTo.endpoint.scheme" || got[0].Value != scheme {
			t.Errorf("%s: %v", scheme, got)
		}
		if got := doc.Tenants[0].Validate(); len(got) > 0 {
			t.Errorf("%s in the log: %v", scheme, got)
		}
	}
	for _, scheme := range []string{"0007", "0088", "0192", "9957"} {
		if got := with("billTo: {", `billTo: {endpoint: {scheme: "`+scheme+`", id: x}, `).Validate(); len(got) > 0 {
			t.Errorf("%s: %v", scheme, got)
		}
	}
	for _, currency := range []string{"ANG", "BGN", "CUC", "ZWL"} {
		got := with("currency: SEK", "currency: "+currency).Validate()
		if len(got) != 1 || got[0].Code != "invalid_currency" || got[0].Field != "tenants[acme].subscriptions[Sub1].currency" || got[0].Value != currency {
			t.Errorf("%s: %v", currency, got)
		}
	}
}

func TestR1_ASubscriptionIsOneTenants(t *testing.T) {
	doc := parse(t, acme+strings.TrimPrefix(strings.Replace(acme, "id: acme", "id: beta", 1), "tenants:\n"))
	var got []string
	for _, r := range doc.Validate() {
		got = append(got, r.Error())
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], `duplicate_subscription tenants[beta].subscriptions[Sub1].id "Sub1": tenant acme has`) {
		t.Errorf("refusals %q", got)
	}
	doc.Tenants[1].ID = "acme"
	if refusals := doc.Validate(); len(refusals) != 1 || refusals[0].Field != "tenants[acme].id" {
		t.Errorf("one tenant twice: %v", refusals)
	}
}

func TestR5_NamesBothSubscriptionsAndAllowsASwitchBetweenTerms(t *testing.T) {
	a, b := sub("A", "2024-01-01/2026-01-01"), sub("B", "2025-12-31/2027-01-01")
	b.LicenceModel = Named
	tenant := parse(t, acme).Tenants[0]
	tenant.Licences, tenant.EntryPoints = nil, nil
	tenant.Subscriptions = []Subscription{a, b}
	refusals := tenant.Validate()
	if len(refusals) != 1 || refusals[0].Code != "mixed_licence_model" || !strings.Contains(refusals[0].Message, "A is concurrent, B is named") {
		t.Errorf("refusals %v, want mixed_licence_model naming A and B", refusals)
	}
	tenant.Subscriptions[1].Terms[0].From = day("2026-01-01")
	if refusals := tenant.Validate(); len(refusals) > 0 {
		t.Errorf("refused a switch that begins where the other ends: %v", refusals)
	}
}

func TestMinorUnitsAreThoseOfISO4217(t *testing.T) {
	for code, want := range map[string]int32{
		"JPY": 0, "ISK": 0, "CLP": 0, "KRW": 0, "UGX": 0, "UYI": 0, "HUF": 2, "SEK": 2, "EUR": 2, "COP": 2, "TWD": 2, "MRU": 2, "XCG": 2,
		"KWD": 3, "BHD": 3, "OMR": 3, "JOD": 3, "TND": 3, "IQD": 3, "LYD": 3, "UYW": 4, "CLF": 4,
	} {
		if got, ok := MinorUnits(code); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", code, got, ok, want)
		}
	}
	for _, code := range []string{"", "XAU", "XAG", "XPT", "XPD", "XDR", "XTS", "XXX", "XUA", "XSU", "XBA", "eur", "EU", "ABC", "DEM"} {
		if got, ok := MinorUnits(code); ok {
			t.Errorf("%s: %d, want none", code, got)
		}
	}
}

package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"apportion/schemas/civil"
)

// acme is a tenant as YAML, for tests to change by strings.Replace.
const acme = `tenants:
- id: acme
  name: Acme AB
  timeZone: Europe/Stockholm
  telephony: webex_calling
  subscriptions:
  - id: Sub1
    name: Customer service
    licenceModel: concurrent
    plan: flex3
    deployment: cloud
    currency: SEK
    billing: monthly
    terms: [{from: 2024-01-01, to: 2027-01-01}]
    versions:
    - from: 2024-01-01
      commitments: {agent_standard: 10, ivr_port: 4}
      prices:
        commitment: {agent_standard: "900.00", ivr_port: "120.00"}
        overage: {agent_standard: "1100.00", agent_premium: "1500.00", ivr_port: "150.00"}
        connect: {sms: "0.45"}
  - id: Sub2
    name: Sales
    licenceModel: concurrent
    plan: flex
    deployment: hybrid
    currency: EUR
    billing: prepaid
    terms: [{from: 2025-01-01, to: 2028-01-01}]
    versions:
    - from: 2025-01-01
      commitments: {agent_premium: 5}
  billTo: {address: {country: SE}, tax: {category: S, rate: "25"}}
  licences:
  - {user: agent-17, role: agent, subscription: Sub1, from: 2024-01-01}
  entryPoints:
  - {entryPoint: ep-support, subscription: Sub1, from: 2024-01-01}
`

func parse(t testing.TB, text string) *Document {
	t.Helper()
	doc, problems := Parse("test.yaml", []byte(text))
	for _, p := range problems {
		t.Fatal(p)
	}
	return doc
}

func day(s string) civil.Date {
	d, err := civil.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

// sub writes a concurrent subscription: its id, then its terms as from/to.
func sub(id string, terms ...string) Subscription {
	s := Subscription{ID: id, Name: id, LicenceModel: Concurrent, Plan: "flex3", Deployment: "cloud", Currency: "SEK",
		Billing: Monthly, Cancelled: civil.NoDate, Versions: []Version{{From: day("2000-01-01")}}}
	for _, term := range terms {
		from, to, _ := strings.Cut(term, "/")
		s.Terms = append(s.Terms, Term{day(from), day(to)})
	}
	return s
}

// licence reads a licence as user class subscription from/to, where to may be absent.
func licence(t testing.TB, text string) Licence {
	t.Helper()
	l := Licence{Role: "agent", To: civil.NoDate}
	var span string
	if _, err := fmt.Sscan(text, &l.User, &l.Class, &l.Subscription, &span); err != nil {
		t.Fatal(err)
	}
	from, to, bounded := strings.Cut(span, "/")
	if l.From = day(from); bounded {
		l.To = day(to)
	}
	return l
}

func licences(t testing.TB, texts ...string) []Licence {
	t.Helper()
	var all []Licence
	for _, text := range texts {
		all = append(all, licence(t, text))
	}
	return all
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

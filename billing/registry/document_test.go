package registry

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
)

func TestParseTakesTheDocumentOfTheEventContract(t *testing.T) {
	doc := parse(t, acme)
	if refusals := doc.Validate(); len(refusals) > 0 {
		t.Fatalf("refused: %v", refusals)
	}
	tenant := doc.Tenants[0]
	s := tenant.Subscriptions[0]
	v := s.Versions[0]
	for _, c := range []struct{ what, got, want string }{
		{"zone", tenant.TimeZone, "Europe/Stockholm"},
		{"term", s.Terms[0].From.String() + "/" + s.Terms[0].To.String(), "2024-01-01/2027-01-01"},
		{"commitment price", v.Prices.Commitment[schemas.IVRPort].String(), "120"},
		{"overage price", v.Prices.Overage[schemas.AgentPremium].String(), "1500"},
		{"connect price", v.Prices.Connect["sms"].String(), "0.45"},
		{"country", tenant.BillTo.Address.Country, "SE"},
		{"rate", tenant.BillTo.Tax[0].Rate.String(), "25"},
		{"class by default", tenant.Licences[0].Class, Standard},
		{"entry point", tenant.EntryPoints[0].EntryPoint, "ep-support"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	if v.Commitments[schemas.AgentStandard] != 10 || v.Commitments[schemas.IVRPort] != 4 {
		t.Errorf("commitments %v", v.Commitments)
	}
	if s.Cancelled != civil.NoDate || tenant.Licences[0].To != civil.NoDate || tenant.EntryPoints[0].To != civil.NoDate {
		t.Error("want the dates that are left out absent")
	}
}

func TestParseReadsTheSameFromYAMLAndJSON(t *testing.T) {
	doc := parse(t, acme)
	data := asJSON(t, doc)
	fromJSON := parse(t, string(data))
	fromYAML := parse(t, "# not JSON\n"+string(data))
	for name, other := range map[string]*Document{"JSON": fromJSON, "YAML": fromYAML} {
		if got, want := string(asJSON(t, other)), string(asJSON(t, doc)); got != want {
			t.Errorf("%s reads\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestParseReadsTaxAndItsHistory: one tax and a history of one are the same, and are written as they were before there
// were histories.
func TestParseReadsTaxAndItsHistory(t *testing.T) {
	with := func(tax string) *Document {
		return parse(t, strings.Replace(acme, `{category: S, rate: "25"}`, tax, 1))
	}
	for tax, want := range map[string]string{
		`{category: S, rate: "25"}`:   `"tax":{"category":"S","rate":"25"}`,
		`[{category: S, rate: "25"}]`: `"tax":{"category":"S","rate":"25"}`,
		`[{category: S, rate: 24}, {from: 2024-09-01, category: AE, reason: moved}]`: `"tax":[{"category":"S","rate":"24"},{"from":"2024-09-01","category":"AE","rate":"0","reason":"moved"}]`,
	} {
		text := string(asJSON(t, with(tax)))
		if !strings.Contains(text, want) {
			t.Errorf("%s is written as\n%s\nwant %s", tax, text, want)
		}
		if again := string(asJSON(t, parse(t, text))); again != text {
			t.Errorf("%s comes back as\n%s", tax, again)
		}
	}
	old, next := with(`{category: S, rate: "24"}`), with(`[{category: S, rate: "24"}, {from: 2024-09-01, category: S, rate: "25.5"}]`)
	if got := Describe(&old.Tenants[0], &next.Tenants[0]); !slices.Equal(got, []string{"+ billTo tax from 2024-09-01 S 25.5"}) {
		t.Errorf("described as %q", got)
	}
	for tax, want := range map[string]string{
		`[]`: "missing_field tenants[acme].billTo.tax", `x`: "invalid_field tenants[acme].billTo.tax",
		`[{category: Z, to: 2024-01-01}]`: "unknown_field tenants[acme].billTo.tax[0].to",
		`[{from: soon, category: Z}]`:     "invalid_field tenants[acme].billTo.tax[soon].from",
	} {
		_, problems := Parse("x", []byte(strings.Replace(acme, `{category: S, rate: "25"}`, tax, 1)))
		if len(problems) != 1 || string(problems[0].Code)+" "+problems[0].Field != want {
			t.Errorf("%s: %v, want %s", tax, problems, want)
		}
	}
}

func TestParseReadsEscapesOfCharactersBeyondTheBasicPlane(t *testing.T) {
	doc := parse(t, `{"tenants": [{"name": "\ud83d\ude00"}]}`)
	if got := doc.Tenants[0].Name; got != "😀" {
		t.Errorf("name %q, want 😀", got)
	}
}

func TestParseTakesPlainYAMLByItsTextWhereTextIsWanted(t *testing.T) {
	doc := parse(t, "tenants: [{id: 9e5, name: 007, timeZone: true, telephony: 1_000, licences: [{user: 0x1F, from: 2024-01-01, to: ~}]}]")
	got := doc.Tenants[0]
	if got.ID != "9e5" || got.Name != "007" || got.TimeZone != "true" || got.Telephony != "1_000" || got.Licences[0].User != "0x1F" {
		t.Errorf("got %+v", got)
	}
	if l := got.Licences[0]; l.From != day("2024-01-01") || l.To != civil.NoDate {
		t.Errorf("dates %v to %v, want 2024-01-01 and none", l.From, l.To)
	}
}

func TestParseTakesPricesByTheirText(t *testing.T) {
	for _, text := range []string{"0", "0.000001", "900.00", `"900.00"`, "999999999999.999999", "0.1"} {
		doc := parse(t, `{"tenants": [{"subscriptions": [{"versions": [{"prices": {"connect": {"sms": `+text+`}}}]}]}]}`)
		price := doc.Tenants[0].Subscriptions[0].Versions[0].Prices.Connect["sms"]
		if want := strings.Trim(text, `"`); !price.Equal(decimal.RequireFromString(want)) {
			t.Errorf("price %s, want %s", price, want)
		}
	}
}

func TestParseFollowsAliases(t *testing.T) {
	doc := parse(t, "tenants:\n- id: a\n  subscriptions:\n  - versions: &v [{from: 2024-01-01, commitments: {ivr_port: 3}}]\n  - versions: *v\n")
	subs := doc.Tenants[0].Subscriptions
	if !reflect.DeepEqual(subs[0].Versions, subs[1].Versions) || subs[1].Versions[0].Commitments[schemas.IVRPort] != 3 {
		t.Errorf("the alias reads differently: %+v", subs)
	}
}

// TestParseProblems lists, for one document each, every problem as line, code and field, and words that its
// message must have.
func TestParseProblems(t *testing.T) {
	const price = `{"tenants":[{"id":"a","subscriptions":[{"id":"s","versions":[{"from":"2024-01-01","prices":{"overage":{"ivr_port":%}}}]}]}]}`
	const pricePath = "1 invalid_field tenants[a].subscriptions[s].versions[2024-01-01].prices.overage.ivr_port"
	const commitment = "tenants: [{subscriptions: [{versions: [{commitments: %}]}]}]"
	const commitmentPath = "1 invalid_commitment tenants[0].subscriptions[0].versions[0].commitments."
	for _, c := range []struct {
		document string
		want     []string
		says     string
	}{
		{"", []string{"1 malformed_document "}, "YAML"},
		{"{", []string{"1 malformed_document "}, "JSON"},
		{"{} {}", []string{"1 malformed_document "}, "follows"},
		{"tenants: ]", []string{"1 malformed_document "}, "YAML"},
		{"tenants: []\n---\ntenants: []", []string{"2 malformed_document "}, "YAML"},
		{"{\"tenants\": [{\n\"name\": \"\\ud800\"}]}", []string{"2 malformed_document "}, "JSON"},
		{"- 1", []string{"1 invalid_field "}, "a list"},
		{"{}", []string{"1 missing_field tenants"}, "no tenants"},
		{"tenants: 1", []string{"1 invalid_field tenants"}, "write a list"},
		{"tenants: [1]", []string{"1 invalid_field tenants[0]"}, "fields with names"},
		{"tenants:\n- id: a\n  timezone: UTC", []string{"3 unknown_field tenants[a].timezone"}, "did you mean timeZone?"},
		{"tenants:\n- id: a\n  lisences: []\n  zzz: 1", []string{"3 unknown_field tenants[a].lisences", "4 unknown_field tenants[a].zzz"}, "did you mean licences?"},
		{"tenants:\n- id: a\n  id: b", []string{"3 invalid_field tenants[b].id"}, "line 2"},
		{"{\"tenants\": [{\"id\": \"a\",\n\"\\u0069d\": \"a\"}]}", []string{"2 invalid_field tenants[a].id"}, "line 1"},
		{"tenants: [{[1]: 2}]", []string{"1 invalid_field tenants[0]"}, "plain text"},
		{"tenants: [{id: [a]}]", []string{"1 invalid_field tenants[0].id"}, "write text"},
		{`{"tenants": [{"id": 7}]}`, []string{"1 invalid_field tenants[7].id"}, "in quotes"},
		{`{"tenants": [{"id": true}]}`, []string{"1 invalid_field tenants[true].id"}, "in quotes"},
		{"tenants: [{subscriptions: [{cancelled: 2026-02-30}]}]", []string{"1 invalid_field tenants[0].subscriptions[0].cancelled"}, "2026-10-14"},
		{`{"tenants": [{"subscriptions": [{"cancelled": 20260101}]}]}`, []string{"1 invalid_field tenants[0].subscriptions[0].cancelled"}, "in quotes"},
		{strings.Replace(price, "%", "-1", 1), []string{pricePath}, "without sign"},
		{strings.Replace(price, "%", "1e3", 1), []string{pricePath}, "exponent"},
		{strings.Replace(price, "%", `"1.0000001"`, 1), []string{pricePath}, "6 after"},
		{strings.Replace(price, "%", "1000000000000", 1), []string{pricePath}, "12 digits"},
		{strings.Replace(price, "%", `"1,5"`, 1), []string{pricePath}, "decimal"},
		{strings.Replace(price, "%", `""`, 1), []string{pricePath}, "decimal"},
		{strings.Replace(price, "%", "true", 1), []string{pricePath}, "decimal"},
		{strings.Replace(price, "%", "[]", 1), []string{pricePath}, "not a list"},
		{strings.Replace(price, `"ivr_port":%`, `"ivr_prot":1`, 1), []string{"1 unknown_field tenants[a].subscriptions[s].versions[2024-01-01].prices.overage.ivr_prot"}, "did you mean ivr_port?"},
		{strings.Replace(price, `"ivr_port":%`, `"addon.wfo":1`, 1), []string{"1 unknown_field tenants[a].subscriptions[s].versions[2024-01-01].prices.overage.addon.wfo"}, "agent_premium"},
		{strings.Replace(price, `"overage":{"ivr_port":%}`, `"connect":{"SMS":1}`, 1), []string{"1 invalid_field tenants[a].subscriptions[s].versions[2024-01-01].prices.connect.SMS"}, "lower-case"},
		{strings.Replace(commitment, "%", "{ivr_port: -1}", 1), []string{commitmentPath + "ivr_port"}, "whole number"},
		{strings.Replace(commitment, "%", "{ivr_port: 1.0}", 1), []string{commitmentPath + "ivr_port"}, "whole number"},
		{strings.Replace(commitment, "%", `{ivr_port: "1"}`, 1), []string{commitmentPath + "ivr_port"}, "without quotes"},
		{strings.Replace(commitment, "%", "{ivr_port: 1000000000}", 1), []string{commitmentPath + "ivr_port"}, "999999999"},
		{strings.Replace(commitment, "%", "{sms: 1}", 1), []string{commitmentPath + "sms"}, "addon.<word>"},
		{strings.Replace(commitment, "%", "{connect.sms: 1, agent: 1, addon.: 2}", 1), []string{commitmentPath + "connect.sms", commitmentPath + "agent", commitmentPath + "addon."}, "commit to"},
	} {
		doc, problems := Parse("f", []byte(c.document))
		if doc != nil {
			t.Errorf("%s: taken", c.document)
		}
		var got []string
		said := false
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%d %s %s", p.Line, p.Code, p.Field))
			said = said || strings.Contains(p.Message, c.says)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.document, got, c.want)
		}
		if !said {
			t.Errorf("%s: no message says %q: %v", c.document, c.says, problems)
		}
	}
}

func TestParseStopsAliasesThatMultiply(t *testing.T) {
	// Each list holds ten of the one before: a million subscriptions from a page of text.
	var b strings.Builder
	b.WriteString("x: [&a {from: 2024-01-01, prices: {connect: {")
	for i := range 100 {
		b.WriteString(strings.Repeat("s", i+1) + ": 1, ")
	}
	b.WriteString("}}}, &v [" + strings.Repeat("*a, ", 100) + "], &s {versions: *v}, &l [" + strings.Repeat("*s, ", 100) + "], &t {subscriptions: *l}]\n")
	b.WriteString("tenants: [" + strings.Repeat("*t, ", 100) + "]\n")
	_, problems := Parse("f", []byte(b.String()))
	if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.Message, "aliases expand") }) {
		t.Errorf("not stopped: %d problems", len(problems))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(acme))
	f.Add([]byte(`{"tenants": [{"id": "a", "name": "\ud83d\ude00", "subscriptions": [{"terms": [{"from": "2024-01-01"}]}]}]}`))
	f.Add([]byte("tenants:\n- &a {id: ~, name: !!str 1, licences: [{user: 'x', to: 2024-01-01}]}\n- *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, problems := Parse("f", data)
		if (doc == nil) != (len(problems) > 0) {
			t.Fatalf("a document and problems: %v", problems)
		}
		if doc == nil {
			return
		}
		if len(doc.Validate()) > 0 {
			return // text that is not UTF-8, for one, which JSON would not give back
		}
		written := asJSON(t, doc)
		again, problems := Parse("f", written)
		if len(problems) > 0 {
			t.Fatalf("what was written is not read: %v", problems)
		}
		if got := asJSON(t, again); string(got) != string(written) {
			t.Fatalf("reads\n%s\nwant\n%s", got, written)
		}
	})
}

package billing_test

import (
	"encoding/json"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
)

// seen returns the state of the registry after a document.
func seen(t *testing.T, document string) registry.State {
	t.Helper()
	doc, problems := registry.Parse("registry.yaml", withDefaults(t, document))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return fold(t, doc)
}

// TestCompare: of the tenants that both views can bill it has what differs, and everybody's totals.
func TestCompare(t *testing.T) {
	biller, _, _ := newBiller(t, threeTenants, messages+poorMessage)
	before := billing.View{State: biller.State, NowMS: aggregate.EndOfTime}
	after := billing.View{NowMS: aggregate.EndOfTime, State: seen(t, `tenants:
- id: acme
  timeZone: Asia/Tokyo
  subscriptions: [{id: Sub1, versions: [{prices: {connect: {sms: 1.5}}}]}]
- id: beta
  timeZone: America/New_York
  subscriptions: [{id: Beta1}]
- id: poor
  subscriptions: [{id: Poor1, versions: [{prices: {connect: {sms: 1}}}]}]
`)}
	compared, err := biller.Compare(t.Context(), october, nil, before, after)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(map[string]any{"changes": compared.Changes, "tenants": compared.Tenants,
		"totals": compared.Totals})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"changes":[{"tenantId":"acme","subscriptionId":"Sub1","kind":"connect","meter":"connect.sms",` +
		`"quantity":{"before":"2","after":"2","difference":"0"},"amount":{"before":"1.00","after":"3.00","difference":"2.00"},"currency":"SEK"}],` +
		`"tenants":[{"tenantId":"acme","currency":"SEK","amount":{"before":"1.00","after":"3.00","difference":"2.00"}},` +
		`{"tenantId":"beta","currency":"SEK","amount":{"before":"2.00","after":"2.00","difference":"0.00"}}],` +
		`"totals":[{"currency":"SEK","amount":{"before":"3.00","after":"5.00","difference":"2.00"}}]}`
	if string(got) != want {
		t.Errorf("compared\n%s\nwant\n%s", got, want)
	}
	if len(compared.Before) != 1 || compared.Before[0].Code != "missing_price" || len(compared.After) != 0 {
		t.Errorf("stopped before %v, after %v; want poor before", compared.Before, compared.After)
	}
}

// TestCompareWithATenantThatOnlyOneViewHas: what is not there has no lines, and all others stay out.
func TestCompareWithATenantThatOnlyOneViewHas(t *testing.T) {
	biller, _, _ := newBiller(t, threeTenants, messages)
	none, all := billing.View{NowMS: aggregate.EndOfTime}, billing.View{State: biller.State, NowMS: aggregate.EndOfTime}
	compared, err := biller.Compare(t.Context(), october, []string{"acme"}, none, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(compared.Changes) != 1 || compared.Changes[0].Amount.Difference().String() != "1" ||
		len(compared.Before)+len(compared.After) != 0 {
		t.Errorf("%+v, want the message of acme and no stop", compared)
	}
	if compared, err = biller.Compare(t.Context(), october, []string{"nobody"}, none, all); err != nil {
		t.Fatal(err)
	}
	if len(compared.Changes) != 0 || len(compared.Before) != 1 || len(compared.After) != 1 ||
		compared.After[0].Code != "unknown_tenant" {
		t.Errorf("%+v, want a tenant that is unknown in both views", compared)
	}
}

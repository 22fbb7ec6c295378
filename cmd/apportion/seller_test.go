package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"apportion/billing"
	"apportion/billing/registry"
)

func TestSeller(t *testing.T) {
	file := filepath.Join(t.TempDir(), "apportion.yaml")
	if err := os.WriteFile(file, []byte(`
seller:
  name: Seller AB
  address: {street: Gatan 1, city: Stockholm, postcode: "111 22", country: SE}
  vatId: SE556677889901
  registrationId: "5566778899"
  endpoint: {scheme: "0007", id: "5566778899"}
  payment: {iban: SE4550000000058398257466, termsDays: 14}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := loadConfig(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := billing.Seller{
		Name: "Seller AB", Address: registry.Address{Street: "Gatan 1", City: "Stockholm", Postcode: "111 22", Country: "SE"},
		VATID: "SE556677889901", RegistrationID: "5566778899", Endpoint: &registry.Endpoint{Scheme: "0007", ID: "5566778899"},
		IBAN: "SE4550000000058398257466", TermsDays: 14,
	}
	if got := cfg.Seller.seller(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := DefaultConfig().Seller.seller(); !reflect.DeepEqual(got, billing.Seller{TermsDays: 30}) {
		t.Errorf("a seller that is not configured is %+v", got)
	}
}

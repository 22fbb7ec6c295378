package export

import (
	"testing"

	"apportion/billing/registry"
)

func TestIdentifiers(t *testing.T) {
	for _, c := range []struct {
		scheme, good string
		bad          []string
	}{
		{"0007", "5560360793", []string{"5560360794", "5650360793", "556036079", "556036-0793"}},
		{"0088", "7300010000001", []string{"7300010000002", "7030010000001", "x"}},
		{"0096", "1234567890", []string{"123456789"}},
		{"0151", "51824753556", []string{"51824753565", "01824753556", "5182475355"}},
		{"0184", "DK12345674", []string{"SE12345674", "1234567"}},
		{"0192", "923609016", []string{"923609017", "000000000", "92360901"}},
		{"0198", "DK12345674", []string{"12345674"}},
		{"0208", "0202239951", []string{"0202239952", "202239951"}},
		{"9944", "NL123456789B12", []string{"NL123456789"}},
		{"9915", "anything", nil},
	} {
		for _, id := range append(c.bad, c.good) {
			if got := isIdentifier(registry.Endpoint{Scheme: c.scheme, ID: id}); got != (id == c.good) {
				t.Errorf("%s:%s is an identifier: %v", c.scheme, id, got)
			}
		}
	}
}

func TestIsIBAN(t *testing.T) {
	for iban, want := range map[string]bool{
		"SE4550000000058398257466": true, "DE89 3704 0044 0532 0130 00": true, "GB29NWBK60161331926819": true, "NO9386011117947": true,
		"SE4550000000058398257467": false, "GB29NWBK60161331926891": false, "se4550000000058398257466": false, "5839-8257466": false, "SE45": false,
	} {
		if IsIBAN(iban) != want {
			t.Errorf("%s is an IBAN: %v", iban, !want)
		}
	}
}

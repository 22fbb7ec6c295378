package export

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// TestUBLRefusals: what no valid file can be made of is refused by its code and field, and nothing is written.
func TestUBLRefusals(t *testing.T) {
	line := billing.Line{Kind: billing.Overage, Meter: "ivr_port", Quantity: dec("1"), Unit: "port", UnitPrice: price("1"), Amount: dec("1")}
	in := func(country string) func(s *billing.Seller, b *registry.BillTo) {
		return func(s *billing.Seller, b *registry.BillTo) {
			s.Address.Country, b.Address.Country, s.VATID, s.RegistrationID = country, country, country+"123", "1"
		}
	}
	authority := func(change func(s *billing.Seller, b *registry.BillTo)) func(s *billing.Seller, b *registry.BillTo) {
		return func(s *billing.Seller, b *registry.BillTo) {
			s.Contact = &billing.Contact{Name: "Invoices", Telephone: "+46 8 123", Email: "invoices@seller.example"}
			b.LeitwegID, b.Endpoint, b.Address.Country = "04011000-1234512345-06", nil, "DE"
			change(s, b)
		}
	}
	for _, c := range []struct {
		name, currency string
		change         func(s *billing.Seller, b *registry.BillTo)
		code, field    string
	}{
		{"three decimals", "KWD", nil, "unsupported_currency", "subscriptions[Sub1].currency"},
		{"four decimals", "CLF", nil, "unsupported_currency", "subscriptions[Sub1].currency"},
		{"not on the list", "STN", nil, "unsupported_currency", "subscriptions[Sub1].currency"},
		{"no tax", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Tax = nil }, "missing_bill_to", "billTo.tax"},
		{"no reference", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Reference = " " }, "missing_bill_to", "billTo.reference"},
		{"blank name", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Name = "\u2003" }, "missing_bill_to", "billTo.name"},
		{"no such country", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Address.Country = "ZZ" }, "missing_bill_to", "billTo.address.country"},
		{"VAT id without a country", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.VATID = "556036079301" }, "missing_bill_to", "billTo.vatId"},
		{"reverse charge to nobody", "SEK", func(s *billing.Seller, b *registry.BillTo) {
			b.VATID, b.RegistrationID, b.Tax = "", "", registry.Taxes{{From: civil.NoDate, Category: "AE", Reason: "Reverse charge"}}
		}, "missing_bill_to", "billTo.vatId"},
		{"blank reason", "SEK", func(s *billing.Seller, b *registry.BillTo) {
			b.Tax = registry.Taxes{{From: civil.NoDate, Category: "E", Reason: " "}}
		}, "missing_bill_to", "billTo.tax.reason"},
		{"O beside S", "SEK", func(s *billing.Seller, b *registry.BillTo) {
			b.Tax = registry.Taxes{{From: civil.NoDate, Category: "O", Reason: "Outside the scope"}, {From: civil.NewDate(2026, 10, 1), Category: "S", Rate: dec("25")}}
		}, "unsupported_tax", "billTo.tax"},
		{"Swedish rate once", "SEK", func(s *billing.Seller, b *registry.BillTo) {
			b.Tax = registry.Taxes{{From: civil.NoDate, Category: "S", Rate: dec("24")}, {From: civil.NewDate(2026, 10, 1), Category: "S", Rate: dec("25")}}
		}, "missing_bill_to", "billTo.tax.rate"},
		{"due never", "SEK", func(s *billing.Seller, b *registry.BillTo) { days := int64(999999999); b.TermsDays = &days }, "missing_bill_to", "billTo.termsDays"},
		{"endpoint scheme", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Endpoint.Scheme = "7" }, "missing_bill_to", "billTo.endpoint.scheme"},
		{"endpoint id", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Endpoint.ID = "5560360794" }, "missing_bill_to", "billTo.endpoint.id"},
		{"no name", "SEK", func(s *billing.Seller, b *registry.BillTo) { s.Name = "" }, "missing_seller", "seller.name"},
		{"no seller", "SEK", func(s *billing.Seller, b *registry.BillTo) { *s = billing.Seller{} }, "missing_seller", "seller.name"},
		{"no country", "SEK", func(s *billing.Seller, b *registry.BillTo) { s.Address.Country = "" }, "missing_seller", "seller.address.country"},
		{"no VAT id", "SEK", func(s *billing.Seller, b *registry.BillTo) { s.VATID = "" }, "missing_seller", "seller.vatId"},
		{"no registration id", "SEK", func(s *billing.Seller, b *registry.BillTo) {
			s.RegistrationID, b.Tax = "", registry.Taxes{{From: civil.NoDate, Category: "O", Reason: "Outside the scope"}}
		}, "missing_seller", "seller.registrationId"},
		{"seller's endpoint", "SEK", func(s *billing.Seller, b *registry.BillTo) {
			s.Endpoint = &registry.Endpoint{Scheme: "0088", ID: "7300010000002"}
		}, "missing_seller", "seller.endpoint.id"},
		{"Swedish VAT id", "SEK", func(s *billing.Seller, b *registry.BillTo) { s.VATID = "SE5566778899" }, "missing_seller", "seller.vatId"},
		{"Swedish registration", "SEK", func(s *billing.Seller, b *registry.BillTo) { s.RegistrationID = "556677-8899" }, "missing_seller", "seller.registrationId"},
		{"Swedish rate", "SEK", func(s *billing.Seller, b *registry.BillTo) { b.Tax[0].Rate = dec("20") }, "missing_bill_to", "billTo.tax.rate"},
		{"Danish registration", "DKK", in("DK"), "missing_seller", "seller.registrationId"},
		{"Danish buyer", "DKK", func(s *billing.Seller, b *registry.BillTo) { in("DK")(s, b); s.RegistrationID = "12345674" }, "missing_bill_to", "billTo.registrationId"},
		{"Icelandic registration", "ISK", in("IS"), "missing_seller", "seller.registrationId"},
		{"Icelandic address", "ISK", func(s *billing.Seller, b *registry.BillTo) {
			in("IS")(s, b)
			s.RegistrationID = "5501692829"
			s.Address.Street = ""
		}, "missing_seller", "seller.address"},
		{"Icelandic buyer's address", "ISK", func(s *billing.Seller, b *registry.BillTo) {
			in("IS")(s, b)
			s.RegistrationID = "5501692829"
			b.Address.Postcode = ""
		}, "missing_bill_to", "billTo.address"},
		{"Dutch address", "EUR", func(s *billing.Seller, b *registry.BillTo) { in("NL")(s, b); s.Address.City = "" }, "missing_seller", "seller.address"},
		{"Dutch registration", "EUR", in("NL"), "missing_seller", "seller.registrationId"},
		{"Dutch account", "EUR", func(s *billing.Seller, b *registry.BillTo) {
			in("NL")(s, b)
			s.RegistrationID, b.RegistrationID, s.IBAN = "12345678", "", ""
		}, "missing_seller", "seller.payment.iban"},
		{"Germans", "EUR", in("DE"), "missing_seller", "seller.contact"},
		{"seller's city", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { s.Address.City = "" }), "missing_seller", "seller.address.city"},
		{"seller's postcode", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { s.Address.Postcode = " " }), "missing_seller", "seller.address.postcode"},
		{"telephone", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { s.Contact.Telephone = "+12" }), "missing_seller", "seller.contact.telephone"},
		{"e-mail", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { s.Contact.Email = "a@b" }), "missing_seller", "seller.contact.email"},
		{"account", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { s.IBAN = "" }), "missing_seller", "seller.payment.iban"},
		{"authority's city", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { b.Address.City = "" }), "missing_bill_to", "billTo.address.city"},
		{"authority's postcode", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) { b.Address.Postcode = "" }), "missing_bill_to", "billTo.address.postcode"},
		{"authority's endpoint", "EUR", authority(func(s *billing.Seller, b *registry.BillTo) {
			b.Endpoint = &registry.Endpoint{Scheme: "EM", ID: "a@b"}
		}), "missing_bill_to", "billTo.endpoint.scheme"},
		{"Greeks", "EUR", func(s *billing.Seller, b *registry.BillTo) { in("GR")(s, b); s.VATID = "EL123" }, "missing_seller", "seller.endpoint"},
		{"Norwegian VAT id", "NOK", in("NO"), "missing_seller", "seller.vatId"},
		{"Italian address", "EUR", func(s *billing.Seller, b *registry.BillTo) { in("IT")(s, b); s.Address.Street = "" }, "missing_seller", "seller.address"},
	} {
		s, b := sellerAB(), acme()
		if c.change != nil {
			c.change(&s, b)
		}
		var out bytes.Buffer
		a := account(b)
		a.Tenant.Name = " " // which stands in for a name that the buyer has none of
		err := UBL(&out, october(c.currency, line, corrections()[0]), from(a, s), false)
		var r *Refusal
		if !errors.As(err, &r) || string(r.Code) != c.code || r.Field != c.field || out.Len() > 0 {
			t.Errorf("%s: %v, and %d bytes; want %s of %s", c.name, err, out.Len(), c.code, c.field)
		} else if r.Tenant != "acme" || r.Invoice != "INV-Sub1-202610" || r.File != "ubl/INV-Sub1-202610.xml" || r.Message == "" || r.Advice == "" {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if err := UBL(&bytes.Buffer{}, october("KWD", line), from(account(nil), billing.Seller{}), false); err == nil || !strings.Contains(err.Error(), "unsupported_currency") {
		t.Errorf("dinars to nobody: %v", err)
	}
	for name, a := range map[string]billing.Account{"nobody to bill": account(nil), "no tenant": {}} {
		var r *Refusal
		if err := UBL(&bytes.Buffer{}, october("SEK", line), from(a, sellerAB()), false); !errors.As(err, &r) || r.Code != "missing_bill_to" || r.Field != "billTo" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusalSaysAll(t *testing.T) {
	err := UBL(&bytes.Buffer{}, october("SEK"), from(account(buyer(func(b *registry.BillTo) { b.Tax = nil })), sellerAB()), false)
	const want = "acme: ubl/INV-Sub1-202610.xml left out: missing_bill_to: billTo.tax is not there; complete the registry document, apply it, and write the files again"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestPeppolOnlyWhenBothAreThere: an endpoint that cannot be used matters to Peppol alone.
func TestPeppolOnlyWhenBothAreThere(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *billing.Seller, b *registry.BillTo)
		peppol bool
	}{
		"both":       {func(s *billing.Seller, b *registry.BillTo) {}, true},
		"the buyer":  {func(s *billing.Seller, b *registry.BillTo) { s.Endpoint, b.Endpoint.ID = nil, "no number" }, false},
		"the seller": {func(s *billing.Seller, b *registry.BillTo) { s.Endpoint.ID, b.Endpoint = "no number", nil }, false},
	} {
		s, b := sellerAB(), acme()
		c.change(&s, b)
		var out bytes.Buffer
		if err := UBL(&out, october("SEK", everyKind()...), from(account(b), s), false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Contains(out.String(), "peppol"); got != c.peppol || strings.Contains(out.String(), "EndpointID") != c.peppol {
			t.Errorf("%s: Peppol is %v", name, got)
		}
	}
}

// TestXRechnung: to Germans, when the seller's contact is known, and what the buyer finds the invoice by and where it
// goes.
func TestXRechnung(t *testing.T) {
	const xrechnung, peppol = "urn:xeinkauf.de:kosit:xrechnung_3.0", "urn:fdc:peppol.eu:2017:poacc:billing:3.0"
	for name, c := range map[string]struct {
		change func(s *billing.Seller, b *registry.BillTo)
		want   string
	}{
		"a Leitweg-ID":                 {func(s *billing.Seller, b *registry.BillTo) {}, xrechnung},
		"a Leitweg-ID and an endpoint": {func(s *billing.Seller, b *registry.BillTo) { b.Endpoint = acme().Endpoint }, xrechnung},
		"a reference and an endpoint": {func(s *billing.Seller, b *registry.BillTo) {
			b.LeitwegID, b.Endpoint = "", acme().Endpoint
		}, xrechnung},
		"a reference alone": {func(s *billing.Seller, b *registry.BillTo) { b.LeitwegID = "" }, ""},
		"no contact":        {func(s *billing.Seller, b *registry.BillTo) { s.Contact = nil }, ""},
		"no contact, and Peppol": {func(s *billing.Seller, b *registry.BillTo) {
			s.Contact, s.Endpoint = nil, sellerAB().Endpoint
		}, peppol},
		"an Austrian buyer": {func(s *billing.Seller, b *registry.BillTo) { b.Address.Country = "AT" }, ""},
	} {
		s, b := sellerAB(), acme()
		s.Contact = &billing.Contact{Name: "Invoices", Telephone: "+46 8 123", Email: "invoices@seller.example"}
		s.Endpoint, b.Endpoint, b.LeitwegID, b.Address.Country = nil, nil, "04011000-1234512345-06", "DE"
		c.change(&s, b)
		var out bytes.Buffer
		if err := UBL(&out, october("EUR", everyKind()...), from(account(b), s), false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, rules := range []string{xrechnung, peppol} {
			if strings.Contains(out.String(), rules) != (rules == c.want) {
				t.Errorf("%s: by %s, want %q", name, rules, c.want)
			}
		}
	}
}

// TestNoticeOfXRechnung: who has a Leitweg-ID, or a reference and the seller's contact, is told what keeps the file from
// being XRechnung; nobody else is, nor of a file that is left out.
func TestNoticeOfXRechnung(t *testing.T) {
	const file = "acme: ubl/INV-Sub1-202610.xml is not XRechnung: "
	contact := &billing.Contact{Name: "Invoices", Telephone: "+46 8 123", Email: "invoices@seller.example"}
	line := billing.Line{Kind: billing.Overage, Meter: "ivr_port", Quantity: dec("1"), Unit: "port", UnitPrice: price("1"), Amount: dec("1")}
	for _, c := range []struct {
		name    string
		contact *billing.Contact
		change  func(b *registry.BillTo)
		want    string
	}{
		{"XRechnung", contact, func(*registry.BillTo) {}, ""},
		{"by Leitweg-ID", contact, func(b *registry.BillTo) { b.LeitwegID, b.Endpoint = "04011000-1234512345-06", nil }, ""},
		{"no endpoint", contact, func(b *registry.BillTo) { b.Endpoint = nil }, file + "billTo.endpoint is not there; " +
			"complete the registry document and apply it, for what is issued from then on"},
		{"no contact", nil, func(b *registry.BillTo) { b.LeitwegID = "04011000-1234512345-06" }, file +
			"seller.contact is not there; configure it, for what is issued from then on"},
		{"nothing asks for it", nil, func(b *registry.BillTo) { b.Endpoint = nil }, ""},
		{"no reference", contact, func(b *registry.BillTo) { b.Reference, b.Endpoint = "", nil }, ""},
		{"no German", contact, func(b *registry.BillTo) { b.Address.Country, b.Endpoint = "SE", nil }, ""},
		{"left out", contact, func(b *registry.BillTo) { b.Name, b.Tax, b.Endpoint = "", nil, nil }, ""},
	} {
		s, b := sellerAB(), acme()
		s.Contact, b.Address.Country = c.contact, "DE"
		c.change(b)
		run := &billing.Run{Invoices: []billing.Invoice{october("EUR", line), october("EUR", line)},
			Accounts: map[string]billing.Account{"acme": from(account(b), s)}}
		if got := strings.Join(Notices(run), "\n"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

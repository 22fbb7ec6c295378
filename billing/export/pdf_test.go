package export

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"apportion/billing"
)

func TestPDFRefuses(t *testing.T) {
	invoice := october("SEK", everyKind()...)
	for _, c := range []struct {
		account     billing.Account
		seller      billing.Seller
		code, field string
	}{
		{billing.Account{}, sellerAB(), "missing_bill_to", "billTo"},
		{account(nil), sellerAB(), "missing_bill_to", "billTo"},
		{account(acme()), billing.Seller{}, "missing_seller", "seller.name"},
		{account(acme()), billing.Seller{Name: "Northwind"}, "missing_seller", "seller.address.country"},
	} {
		var out bytes.Buffer
		var refusal *Refusal
		err := PDF(&out, invoice, from(c.account, c.seller), false)
		if !errors.As(err, &refusal) || string(refusal.Code) != c.code || refusal.Field != c.field || out.Len() > 0 {
			t.Errorf("%v and %d bytes, want %s of %s", err, out.Len(), c.code, c.field)
			continue
		}
		want := "acme: pdf/INV-Sub1-202610.pdf left out: " + c.code + ": " + c.field + " is not there; complete the "
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q, want %q", err, want)
		}
	}
	whole := from(account(acme()), sellerAB())
	whole.Zone = zoneOf("Europe/Stockholm")
	if err := PDF(full{}, invoice, whole, false); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v from a file that takes nothing", err)
	}
}

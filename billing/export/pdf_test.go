package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

const peakMS = 1791966667_000 // 2026-10-14T08:31:07Z, in Stockholm 10:31

var northwind = Seller{
	Name: "Northwind Telecom AB", Address: registry.Address{Street: "Sveavägen 44", City: "Stockholm", Postcode: "111 34", Country: "SE"},
	VATID: "SE556677889901", RegistrationID: "556677-8899", IBAN: "SE4550000000058398257466", TermsDays: 30,
}

// pdfAccount is a tenant of two subscriptions that is taxed at a rate of 25.
func pdfAccount() billing.Account {
	return billing.Account{
		Tenant: &registry.Tenant{ID: "acme", Name: "Acme", TimeZone: "Europe/Stockholm",
			Subscriptions: []registry.Subscription{{ID: "Sub1", Name: "Customer Care"}, {ID: "Sub2", Name: "Sales"}},
			BillTo: &registry.BillTo{Name: "Acme Industries Ltd", Address: registry.Address{Street: "12 Harbour Road", City: "Göteborg", Postcode: "411 04", Country: "SE"},
				VATID: "SE112233445501", Reference: "PO 4500123456", Tax: &registry.Tax{Category: "S", Rate: dec("25")}}},
		IssueDate: civil.NewDate(2026, 11, 4),
	}
}

// pool has quarters of an hour from 07:00 to 13:00, with their greatest concurrency.
func pool(entitled int64, live ...int64) []billing.PoolPoint {
	const start = peakMS - 3*3600_000 - 31*60_000 - 7_000
	var points []billing.PoolPoint
	for i, n := range live {
		points = append(points, billing.PoolPoint{AtMS: start + int64(i)*900_000, Live: n, Entitled: entitled})
	}
	return points
}

func pdfInvoiceOf(currency string, minorUnits int32, lines ...billing.Line) billing.Invoice {
	october := civil.NewMonth(2026, 10)
	i := billing.Invoice{ID: "INV-Sub1-202610", Tenant: "acme", Subscription: "Sub1", Period: october, Currency: currency, MinorUnits: minorUnits}
	for n, l := range lines {
		l.No = n + 1
		if l.From == 0 {
			l.From, l.To = october.First(), october.Next().First()
		}
		if l.PeakMS == 0 {
			l.PeakMS = billing.NoInstant
		}
		i.Lines = append(i.Lines, l)
		i.Total = i.Total.Add(l.Amount)
	}
	return i
}

func commitment(meter, quantity, unitPrice, amount string) billing.Line {
	return billing.Line{Kind: billing.Commitment, Meter: meter, Quantity: dec(quantity), Unit: "seat", UnitPrice: price(unitPrice), Amount: dec(amount), Days: 31}
}

func usageLine(meter, quantity string) billing.Line {
	return billing.Line{Kind: billing.UsageKind, Meter: meter, Quantity: dec(quantity), Unit: "seat", PeakMS: peakMS}
}

func overageLine() billing.Line {
	return billing.Line{Kind: billing.Overage, Meter: "agent_standard", Quantity: dec("1"), Unit: "seat", UnitPrice: price("1100"), Amount: dec("1100"), PeakMS: peakMS, Entitled: 25,
		Pool: pool(25, 8, 9, 11, 14, 16, 18, 19, 21, 22, 22, 23, 24, 24, 25, 26, 25, 23, 22, 22, 20, 17, 16, 16, 15)}
}

// pdfInvoice is an invoice with a line of every kind.
func pdfInvoice() billing.Invoice {
	half := commitment("addon.wfo", "10", "150", "1500")
	half.From, half.To, half.Days, half.Amount = civil.NewDate(2026, 10, 12), civil.NewDate(2026, 11, 1), 20, dec("967.74")
	corrected := billing.Line{Kind: billing.Adjustment, Meter: "agent_standard", Quantity: dec("-1"), Unit: "seat", Amount: dec("-1100"),
		From: civil.NewDate(2026, 9, 1), To: civil.NewDate(2026, 10, 1), Corrects: "INV-Sub1-202609/3", CorrectsKind: billing.Overage}
	return pdfInvoiceOf("SEK", 2,
		half, commitment("agent_premium", "5", "1250", "6250"), commitment("agent_standard", "10", "900", "9000"),
		usageLine("agent_premium", "4"), usageLine("agent_standard", "12"), usageLine("ivr_port", "18"),
		billing.Line{Kind: billing.Connect, Meter: "connect.sms", Quantity: dec("13560"), Unit: "unit", UnitPrice: price("0.450000"), Amount: dec("6102")},
		overageLine(), corrected)
}

// manyLines is an invoice of as many lines.
func manyLines(n int) billing.Invoice {
	var lines []billing.Line
	for i := range n {
		l := commitment(fmt.Sprintf("addon.extra_%d", i+1), fmt.Sprint(i+1), "100", fmt.Sprint(100*(i+1)))
		lines = append(lines, l)
	}
	return pdfInvoiceOf("EUR", 2, lines...)
}

// renamed returns the account with other names, and the seller too.
func renamed(buyer, department string) billing.Account {
	a := pdfAccount()
	a.Tenant.BillTo.Name, a.Tenant.Subscriptions[0].Name = buyer, department
	return a
}

// render returns the file.
func render(t testing.TB, invoice billing.Invoice, account billing.Account, draft bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := PDF(&b, invoice, account, northwind, draft); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var _ = []any{errors.New, slices.Contains[[]int], strings.Contains, sync.OnceFunc, decimal.Zero, io.Discard}

func BenchmarkPDF(b *testing.B) {
	invoice, account := pdfInvoice(), pdfAccount()
	b.ReportAllocs()
	for b.Loop() {
		if err := PDF(io.Discard, invoice, account, northwind, false); err != nil {
			b.Fatal(err)
		}
	}
}

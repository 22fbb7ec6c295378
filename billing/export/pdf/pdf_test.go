package pdf

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/export/pdf/fonts"
	"apportion/billing/registry"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/civil"
)

const peakMS = 1791966667_000 // 2026-10-14T08:31:07Z, in Stockholm 10:31

var northwind = billing.Seller{
	Name: "Northwind Telecom AB", Address: registry.Address{Street: "Sveavägen 44", City: "Stockholm", Postcode: "111 34", Country: "SE"},
	VATID: "SE556677889901", RegistrationID: "556677-8899", IBAN: "SE4550000000058398257466", TermsDays: 30,
}

var update = flag.Bool("update", false, "rewrite the digests that the files are compared with")

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func price(s string) decimal.NullDecimal { return decimal.NewNullDecimal(dec(s)) }

var stockholm = func() *civil.Zone {
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		panic(err)
	}
	return zone
}()

// acme is a tenant of two subscriptions that is taxed at a rate of 25.
func acme() billing.Account {
	return billing.Account{
		Tenant: &registry.Tenant{ID: "acme", Name: "Acme", TimeZone: "Europe/Stockholm",
			Subscriptions: []registry.Subscription{{ID: "Sub1", Name: "Customer Care"}, {ID: "Sub2", Name: "Sales"}},
			BillTo: &registry.BillTo{Name: "Acme Industries Ltd", Address: registry.Address{Street: "12 Harbour Road", City: "Göteborg", Postcode: "411 04", Country: "SE"},
				VATID: "SE112233445501", Reference: "PO 4500123456", Tax: registry.Taxes{{From: civil.NoDate, Category: "S", Rate: dec("25")}}}},
		IssueDate: civil.NewDate(2026, 11, 4), Seller: northwind, Zone: stockholm,
	}
}

// pool has quarters of an hour from 07:00 to 13:00, with their greatest concurrency.
func pool(entitled int64, live ...int64) []billing.PoolPoint {
	const start = peakMS - 3*3600_000 - 31*60_000 - 7_000
	var points []billing.PoolPoint
	for i, n := range live {
		points = append(points, billing.PoolPoint{AtMS: civil.Millis(start + int64(i)*900_000), Live: n, Entitled: entitled})
	}
	return points
}

func invoiceOf(currency string, minorUnits int32, lines ...billing.Line) billing.Invoice {
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

// october is an invoice with a line of every kind.
func october() billing.Invoice {
	half := commitment("addon.wfo", "10", "150", "1500")
	half.From, half.To, half.Days, half.Amount = civil.NewDate(2026, 10, 12), civil.NewDate(2026, 11, 1), 20, dec("967.74")
	corrected := billing.Line{Kind: billing.Adjustment, Meter: "agent_standard", Quantity: dec("-1"), Unit: "seat", Amount: dec("-1100"),
		From: civil.NewDate(2026, 9, 1), To: civil.NewDate(2026, 10, 1), Corrects: "INV-Sub1-202609/3", CorrectsKind: billing.Overage}
	return invoiceOf("SEK", 2,
		half, commitment("agent_premium", "5", "1250", "6250"), commitment("agent_standard", "10", "900", "9000"),
		usageLine("agent_premium", "4"), usageLine("agent_standard", "12"), usageLine("ivr_port", "18"),
		billing.Line{Kind: billing.Connect, Meter: "connect.sms", Quantity: dec("13560"), Unit: "unit", UnitPrice: price("0.450000"), Amount: dec("6102")},
		overageLine(), corrected)
}

// corrections is an invoice whose adjustments say why: a peak that moved, one that is no more, and Connect.
func corrections() (billing.Invoice, billing.Account) {
	september := civil.NewMonth(2026, 9)
	const thenMS = peakMS - 90*60_000
	adjustment := func(kind billing.Kind, meter, quantity, amount, corrects string) billing.Line {
		return billing.Line{Kind: billing.Adjustment, CorrectsKind: kind, Meter: meter, Quantity: dec(quantity), Unit: "seat",
			Amount: dec(amount), From: september.First(), To: september.Next().First(), Corrects: corrects}
	}
	moved := adjustment(billing.Overage, "agent_standard", "3", "3300", "INV-Sub1-202609/8")
	moved.Pool = pool(25, 8, 9, 11, 14, 16, 18, 19, 21, 26, 25, 23, 24, 26, 28, 29, 26, 23, 22, 22, 20, 17, 16, 16, 15)
	gone := adjustment(billing.Overage, "agent_premium", "-1", "-1500", "INV-Sub1-202609/7")
	gone.Pool = pool(5, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5, 4, 4, 5, 5, 5, 4, 4, 4, 3, 3, 2, 2, 1, 1)
	invoice := invoiceOf("SEK", 2, commitment("agent_standard", "10", "900", "9000"), usageLine("agent_standard", "12"),
		gone, moved, adjustment(billing.Connect, "connect.sms", "55", "24.75", "INV-Sub1-202609"))
	account := acme()
	for n, r := range []billing.Reason{
		{Corrected: 1, Then: billing.Charged{Quantity: dec("1"), Amount: dec("1500"), PeakMS: thenMS, Entitled: 5},
			Now: billing.Charged{PeakMS: billing.NoInstant}},
		{Late: 3, Then: billing.Charged{Quantity: dec("1"), Amount: dec("1100"), PeakMS: thenMS, Entitled: 25},
			Now: billing.Charged{Quantity: dec("4"), Amount: dec("4400"), PeakMS: peakMS, Entitled: 25}},
		{Late: 1, Corrected: 1, Then: billing.Charged{PeakMS: billing.NoInstant},
			Now: billing.Charged{Quantity: dec("55"), Amount: dec("24.75"), PeakMS: billing.NoInstant}},
	} {
		r.Subscription, r.Line, r.From, r.To = invoice.Subscription, n+3, september.First(), september.Next().First()
		account.Reasons = append(account.Reasons, r)
	}
	return invoice, account
}

// manyLines is an invoice of as many lines.
func manyLines(n int) billing.Invoice {
	var lines []billing.Line
	for i := range n {
		l := commitment(fmt.Sprintf("addon.extra_%d", i+1), fmt.Sprint(i+1), "100", fmt.Sprint(100*(i+1)))
		lines = append(lines, l)
	}
	return invoiceOf("EUR", 2, lines...)
}

// renamed returns the account with other names, and the seller too.
func renamed(buyer, department string) billing.Account {
	a := acme()
	a.Tenant.BillTo.Name, a.Tenant.Subscriptions[0].Name = buyer, department
	return a
}

// render returns the file.
func render(t testing.TB, invoice billing.Invoice, account billing.Account, draft bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, invoice, account, draft); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pages returns what is written on each page, a string for each piece of text, as a reader copies it.
func pages(t *testing.T, invoice billing.Invoice, account billing.Account, draft bool) [][]string {
	t.Helper()
	doc := layOut(invoice, account, draft)
	inFont, shown := regexp.MustCompile(`^/F(\d+) `), regexp.MustCompile(`<([0-9a-f]{4,})>`)
	var all [][]string
	for _, page := range doc.pages {
		var texts []string
		var text strings.Builder
		var font int
		for line := range strings.Lines(string(page.content)) {
			if m := inFont.FindStringSubmatch(line); m != nil {
				font, _ = strconv.Atoi(m[1])
			}
			if strings.HasSuffix(line, "TJ\n") {
				for _, m := range shown.FindAllStringSubmatch(line, -1) {
					for codes := m[1]; codes != ""; codes = codes[4:] {
						code, _ := strconv.ParseUint(codes[:4], 16, 16)
						text.WriteString(doc.set.Fonts()[font-1].Text(uint16(code)))
					}
				}
			}
			if line == "ET\n" {
				texts = append(texts, plainSpaces(text.String()))
				text.Reset()
			}
		}
		all = append(all, texts)
	}
	return all
}

func plainSpaces(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, space, " ")) }

// has asserts that a page has pieces of text.
func has(t *testing.T, page []string, want ...string) {
	t.Helper()
	var missing []string
	for _, w := range want {
		if !slices.Contains(page, w) {
			missing = append(missing, w)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no %q on the page, which has %q", missing, page)
	}
}

// cases are invoices whose files are compared with those of before.
func cases() map[string]func() (billing.Invoice, billing.Account, bool) {
	return map[string]func() (billing.Invoice, billing.Account, bool){
		"every kind of line": func() (billing.Invoice, billing.Account, bool) { return october(), acme(), false },
		"a draft":            func() (billing.Invoice, billing.Account, bool) { return october(), acme(), true },
		"two taxes": func() (billing.Invoice, billing.Account, bool) {
			a := acme()
			a.Tenant.BillTo.Tax = registry.Taxes{{From: civil.NoDate, Category: "S", Rate: dec("12")}, {From: civil.NewDate(2026, 10, 1), Category: "AE", Reason: "Reverse charge, article 196 of directive 2006/112/EC: the buyer accounts for the tax"}}
			return october(), a, false
		},
		"corrections": func() (billing.Invoice, billing.Account, bool) {
			invoice, account := corrections()
			return invoice, account, false
		},
		"200 lines": func() (billing.Invoice, billing.Account, bool) { return manyLines(200), acme(), false },
		"scripts": func() (billing.Invoice, billing.Account, bool) {
			return october(), renamed("شركة الخليج للاتصالات (Gulf) 株式会社東京 한국", "हिन्दी บริการลูกค้า קבוצת 🚀 Ελλάδα Москва"), false
		},
	}
}

// TestAsBefore compares digests of the files before compression, which another release of Go may do otherwise.
// Look at the files before you accept others with -update.
func TestAsBefore(t *testing.T) {
	const path = "testdata/pdf.sha256"
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(cases())) {
		invoice, account, draft := cases()[name]()
		doc := layOut(invoice, account, draft)
		doc.plain = true
		h := sha256.New()
		if _, err := doc.WriteTo(h); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%x  %s\n", h.Sum(nil), name)
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%swant\n%s", &got, want)
	}
}

// TestPassesOfficialRules holds the files to PDF/A-3a and PDF/UA-1, by veraPDF: that they can be kept, copied and read
// aloud.
func TestPassesOfficialRules(t *testing.T) {
	dir := t.TempDir()
	var files []string
	all := cases()
	all["nothing, to a name of boxes"] = func() (billing.Invoice, billing.Account, bool) {
		return invoiceOf("SEK", 2, usageLine("ivr_port", "3")), renamed("ქართული", "\x01 <&> \u202e"), false
	}
	for name, c := range all {
		invoice, account, draft := c()
		files = append(files, filepath.Join(dir, name+".pdf"))
		if err := os.WriteFile(files[len(files)-1], render(t, invoice, account, draft), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Those it must find something in.
	good := render(t, october(), acme(), false)
	mistakes := map[string][2]string{
		"ua1 7.1-3":       {"/StructParents 0", "/StructParents 9"},
		"3a 6.7.2.2-1":    {"/Marked true", "/Marked null"},
		"3a 6.2.4.3-2":    {"/DefaultRGB", "/DefaultXYZ"},
		"3a 6.6.4-2":      {"<pdfaid:part>3<", "<pdfaid:part>5<"},
		"ua1 7.3-1":       {"/Alt<", "/Alu<"},
		"3a 6.6.2.1-1":    {"/Metadata ", "/Metadatb "},
		"3a 6.2.11.4.1-1": {"/FontFile2", "/FontFileX"},
	}
	rules := map[string]string{}
	for rule, m := range mistakes {
		bad := bytes.Replace(good, []byte(m[0]), []byte(m[1]), 1)
		if bytes.Equal(bad, good) {
			t.Errorf("%s: the file has no %s", rule, m[0])
		}
		files = append(files, filepath.Join(dir, rule+".pdf"))
		rules[files[len(files)-1]] = rule
		if err := os.WriteFile(files[len(files)-1], bad, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]map[string]bool{}
	for _, f := range servicetest.PDFA(t, files...) {
		rule := rules[f.File]
		if rule == "" {
			t.Error(f)
			continue
		}
		if found[rule] == nil {
			found[rule] = map[string]bool{}
		}
		found[rule][f.Rule] = true
	}
	for rule := range mistakes {
		if !found[rule][rule] {
			t.Errorf("%s was not found, but %v", rule, slices.Sorted(maps.Keys(found[rule])))
		}
	}
}

// TestIsTagged: what a page shows is tagged in its order, and there are words for a picture.
func TestIsTagged(t *testing.T) {
	doc := layOut(october(), acme(), false)
	var kinds []string
	var walk func(e *element)
	walk = func(e *element) {
		if e.kind != "P" && e.kind != "TD" && e.kind != "TH" {
			kinds = append(kinds, e.kind)
		}
		for _, k := range e.kids {
			if k.element != nil {
				walk(k.element)
			}
		}
	}
	walk(doc.root)
	const want = "Document H1 Table TR TR TR TR TR TR TR H2 Figure H2"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("it is tagged as %s, want %s", got, want)
	}
	s := &sheet{invoice: october(), account: acme(), zone: stockholm}
	l := overageLine()
	const words = "Chart of how many were live at once on 14 October 2026, with 25 included; 26 at 10:31"
	if got := s.words(picture{l.Pool, []mark{{l.PeakMS, 26, "", rust}}}); got != words {
		t.Errorf("for a picture stands %q, want %q", got, words)
	}
}

// TestSameBytes: what has been written before, and what is written at the same time, leaves no trace (R23).
func TestSameBytes(t *testing.T) {
	want := map[string][]byte{}
	for name, c := range cases() {
		invoice, account, draft := c()
		want[name] = render(t, invoice, account, draft)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for name, c := range cases() {
				invoice, account, draft := c()
				var b bytes.Buffer
				if err := Write(&b, invoice, account, draft); err != nil || !bytes.Equal(b.Bytes(), want[name]) {
					t.Errorf("%s: %v; %d bytes that differ from those of the first time", name, err, b.Len())
				}
			}
		})
	}
	group.Wait()
}

// TestIsWhole: every object is where the table of objects says, and every page and font is counted.
func TestIsWhole(t *testing.T) {
	file := render(t, october(), acme(), false)
	trailer := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(file)
	if trailer == nil {
		t.Fatal("no trailer")
	}
	start, _ := strconv.Atoi(string(trailer[1]))
	entries := regexp.MustCompile(`(?m)^(\d{10}) 00000 n $`).FindAllSubmatch(file[start:], -1)
	if len(entries) < 10 {
		t.Fatalf("%d objects", len(entries))
	}
	for i, e := range entries {
		at, _ := strconv.Atoi(string(e[1]))
		if want := fmt.Sprintf("%d 0 obj\n", i+1); !bytes.HasPrefix(file[at:], []byte(want)) {
			t.Errorf("object %d begins with %q", i+1, file[at:at+12])
		}
	}
	for _, want := range []string{"/Count 1/", "+Inter-Regular", "+Inter-SemiBold", "/CreationDate(D:20261104000000Z)/ModDate(D:20261104000000Z)"} {
		if !bytes.Contains(file, []byte(want)) {
			t.Errorf("no %q in the file", want)
		}
	}
	if bytes.Contains(file, []byte("Droid")) {
		t.Error("a face that no character needs is in the file")
	}
	if len(file) > 40_000 {
		t.Errorf("%d bytes for an invoice of a page", len(file))
	}
}

func TestSaysAll(t *testing.T) {
	all := pages(t, october(), acme(), false)
	if len(all) != 1 {
		t.Fatalf("%d pages", len(all))
	}
	has(t, all[0], "Invoice", "INV-Sub1-202610", "Northwind Telecom AB", "Sveavägen 44", "111 34 Stockholm", "Sweden", "VAT SE556677889901",
		"Reg. no. 556677-8899", "Acme Industries Ltd", "12 Harbour Road", "VAT SE112233445501", "4 November 2026", "4 December 2026",
		"1–31 October 2026", "Customer Care", "Sub1", "PO 4500123456",
		"Add-on wfo, committed · 12–31 October 2026", "20 of the 31 days of the month, at the price of a month", "967.74",
		"Standard seats, committed · 1–31 October 2026", "9 000.00", "Connect, SMS · 1–31 October 2026", "13 560", "units", "0.45", "6 102.00",
		"Standard seats, overage · 1–31 October 2026", "Standard seats, correction of September 2026", "−1", "−1 100.00",
		"Corrects line 3 of invoice INV-Sub1-202609: Standard seats, overage · 1–30",
		"Net total", "22 319.74", "VAT 25%", "5 579.94", "To pay, gross", "SEK 27 899.68", "IBAN SE45 5000 0000 0583 9825 7466",
		"Terms: 30 days from the issue date", "26 at 10:31", "25 included", "08:00", "How usage is split",
		"IVR calls in progress at once, at the most", "18", "first at 10:31 on 14 October", "Page 1 of 1")
	if text := strings.Join(all[0], " "); strings.Contains(text, "DRAFT") || !strings.Contains(text, "At 10:31 on 14 October, 26 agents were signed in at once;") {
		t.Errorf("the page says %s", text)
	}
}

// TestPages: each line is on a page, once; each page has the header of the table, the mark of a draft and its number.
func TestPages(t *testing.T) {
	for lines, want := range map[int]int{1: 1, 20: 1, 200: 7} {
		invoice := manyLines(lines)
		all := pages(t, invoice, acme(), true)
		if len(all) != want {
			t.Errorf("%d lines are on %d pages, want %d", lines, len(all), want)
		}
		at := map[string]int{}
		for i, page := range all {
			has(t, page, "DRAFT", "Description", "Amount, EUR", fmt.Sprintf("Page %d of %d", i+1, len(all)))
			for _, text := range page {
				at[text]++
			}
		}
		for _, l := range invoice.Lines {
			what, _ := describe(invoice, l, nil)
			if at[what] != 1 {
				t.Errorf("%q is there %d times", what, at[what])
			}
			if amount := plainSpaces(grouped(l.Amount, 2)); at[amount] == 0 {
				t.Errorf("no amount %s", amount)
			}
		}
		if lines > 1 && at["To pay, gross"] != 1 {
			t.Errorf("the total is there %d times", at["To pay, gross"])
		}
	}
}

// TestCorrectionsSayWhy: each in a paragraph, with its peak now and, on the same date, as it was invoiced.
func TestCorrectionsSayWhy(t *testing.T) {
	invoice, account := corrections()
	page := pages(t, invoice, account, false)[0]
	has(t, page, "Why there is a correction: Standard seats,", "29 at 10:31", "26 at 09:01, as invoiced",
		"Corrects line 8 of invoice INV-Sub1-202609: Standard seats, overage · 1–30")
	if text := strings.Join(page, " "); !strings.Contains(text, "This makes four seats for SEK 4 400.00 in place of one seat") {
		t.Error(text)
	}
}

func TestOfCreditAndNothing(t *testing.T) {
	exempt := acme()
	exempt.Tenant.BillTo.Tax = registry.Taxes{{From: civil.NoDate, Category: "AE", Reason: "Reverse charge, article 196"}}
	credit := invoiceOf("KWD", 3, billing.Line{Kind: billing.Adjustment, Meter: "agent_standard", Quantity: dec("-3"), Unit: "seat",
		Amount: dec("-1234567.891"), Corrects: "INV-Sub1-202609", From: civil.NewDate(2026, 9, 1), To: civil.NewDate(2026, 10, 1)})
	page := pages(t, credit, exempt, false)[0]
	has(t, page, "Credit, gross", "KWD 1 234 567.891", "−1 234 567.891", "VAT, reverse charge", "0.000", "Reverse charge, article 196",
		"Nothing to pay", "Adds to invoice INV-Sub1-202609: Standard seats · 1–30 September")
	if slices.Contains(page, "To pay, gross") || strings.Contains(strings.Join(page, " "), "IBAN") {
		t.Errorf("a credit asks for money: %q", page)
	}

	untaxed := acme()
	untaxed.Tenant.BillTo.Tax, untaxed.Tenant.BillTo.Name = nil, ""
	page = pages(t, invoiceOf("JPY", 0, usageLine("agent_standard", "3")), untaxed, false)[0]
	has(t, page, "Acme", "Nothing is charged for this period.", "To pay, net", "JPY 0", "Nothing is to be paid.")
	if strings.Contains(strings.Join(page, " "), "Net total") {
		t.Error("a tax is shown that nobody stated")
	}
}

// TestTerms: the buyer's terms go before the seller's.
func TestTerms(t *testing.T) {
	account, days := acme(), int64(10)
	account.Tenant.BillTo.TermsDays = &days
	has(t, pages(t, manyLines(1), account, false)[0], "14 November 2026", "Terms: 10 days from the issue date")
}

// TestScripts: names of every script come back as they were written. In text from right to left the order is that
// of the page, from the left.
func TestScripts(t *testing.T) {
	for _, name := range []string{"Ελλάδα Ἑλλάς", "Москва", "Việt Nam", "客户服务部 カスタマー", "한국전력", "हिन्दी क्षेत्र", "บริการน้ำ", "🚀 👩‍💻", "ქარ"} {
		page := pages(t, manyLines(1), renamed("B", name), false)[0]
		has(t, page, name)
	}
	has(t, pages(t, manyLines(1), renamed("B", "שלום"), false)[0], "םולש")
	has(t, pages(t, manyLines(1), renamed("B", "a\nb\tc"), false)[0], "a b c")
}

// TestStaysOnThePage: however long a name is, nothing goes beyond the margins.
func TestStaysOnThePage(t *testing.T) {
	invoice := october()
	invoice.Subscription = strings.Repeat("Sub-very-long", 5)
	invoice.ID = billing.InvoiceID(invoice.Subscription, invoice.Period)
	account := renamed(strings.Repeat("Donaudampfschiff", 12), "")
	account.Tenant.BillTo.Reference = strings.Repeat("مرجع", 40)
	account.Tenant.BillTo.Address.City = strings.Repeat("東京", 40)
	doc := layOut(invoice, account, true)
	placed := regexp.MustCompile(`(?m)^/F(\d+) (\S+) Tf\n1 0 0 1 (\S+) (\S+) Tm$`)
	for _, page := range doc.pages {
		found := placed.FindAllStringSubmatch(string(page.content), -1)
		if len(found) == 0 {
			t.Fatal("a page without text")
		}
		for _, m := range found {
			x, err := strconv.ParseFloat(m[3], 64)
			if err != nil || x < left/pt || x > right/pt {
				t.Errorf("text at %s", m[3])
			}
		}
	}
	for _, c := range []struct {
		text  string
		width int
	}{{invoice.ID, 100 * pt}, {account.Tenant.BillTo.Name, 142 * pt}, {account.Tenant.BillTo.Reference, 80 * pt}, {account.Tenant.BillTo.Address.City, 142 * pt}} {
		set := fonts.NewSet()
		s := sheet{document: &document{set: set}}
		if b := s.block(c.text, fonts.Regular, normal, leading, c.width, ink); b.width() > c.width || len(b.lines) < 2 {
			t.Errorf("%q is %d wide in %d lines, and may be %d", c.text, b.width(), len(b.lines), c.width)
		}
		set.Close()
	}
}

func Benchmark(b *testing.B) {
	invoice, account := october(), acme()
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(io.Discard, invoice, account, false); err != nil {
			b.Fatal(err)
		}
	}
}

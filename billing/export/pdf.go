package export

import (
	"fmt"
	"io"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/export/fonts"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// PDF writes an invoice for people, a page of A4 where it fits: the parties, the lines, the total with its tax, how to
// pay, what is behind an overage (R15, R16), and how usage is split (R18). The same invoice gives the same bytes. The
// error is a *[Refusal] where the tenant or the configuration does not say who buys or who sells.
func PDF(w io.Writer, invoice billing.Invoice, account billing.Account, draft bool) error {
	doc, err := layOut(invoice, account, draft)
	if err != nil {
		return err
	}
	_, err = doc.WriteTo(w)
	return err
}

// The page: its margins, and the sizes and colours of the type.
const (
	left   = 56 * pt
	right  = pageWidth - 56*pt
	top    = 56 * pt
	bottom = pageHeight - 70*pt
	across = right - left

	normal  = 8_800
	small   = 7_600
	leading = 12_600
	tight   = 10_600
)

const (
	ink    colour = 0x1B2028
	grey   colour = 0x5F6873
	rule   colour = 0xD5D9DE
	white  colour = 0xFFFFFF
	blue   colour = 0x2F5D8A
	sky    colour = 0xDCE7F1
	rust   colour = 0xB4501E
	peach  colour = 0xF2D5C3
	cream  colour = 0xFDF1D8
	walnut colour = 0x7A5208
)

// sheet is the invoice while it is put on pages.
type sheet struct {
	*document
	invoice billing.Invoice
	account billing.Account
	tenant  *registry.Tenant
	seller  billing.Seller
	draft   bool
	zone    *civil.Zone
	page    *canvas
	y       int // where the next thing goes
}

func layOut(invoice billing.Invoice, account billing.Account, draft bool) (*document, error) {
	seller := account.Seller
	refuse := func(code, field, detail, advice string) error {
		return &Refusal{Tenant: invoice.Tenant, Invoice: invoice.ID, File: "pdf/" + invoice.ID + ".pdf", Code: code, Field: field, Detail: detail, Advice: advice}
	}
	tenant := account.Tenant
	if tenant == nil || tenant.BillTo == nil {
		return nil, refuse(missingBillTo, "billTo", "is not there", inRegistry)
	}
	for _, f := range []struct{ name, value string }{{"seller.name", seller.Name}, {"seller.address.country", seller.Address.Country}} {
		if f.value == "" {
			return nil, refuse(missingSeller, f.name, "is not there", "complete the configuration and write the files again")
		}
	}
	title := "Invoice " + invoice.ID
	if draft {
		title = "Draft of invoice " + invoice.ID
	}
	s := &sheet{
		document: &document{title: title, author: seller.Name, date: account.IssueDate.Time(), set: fonts.NewSet()},
		invoice:  invoice, account: account, tenant: tenant, seller: seller, draft: draft, zone: account.Zone,
	}
	defer s.set.Close()
	due := account.DueDate()
	s.begin()
	s.letterhead()
	s.parties(account.IssueDate, due)
	s.charges()
	s.totals(due)
	s.overages()
	s.usage()
	s.footers()
	return s.document, nil
}

// block is text that is set and has a size and a colour.
type block struct {
	lines         []fonts.Line
	size, leading int
	fill          colour
}

func (s *sheet) block(text string, style fonts.Style, size, leading, width int, fill colour) block {
	return block{s.set.Lines(text, style, width*fonts.Em/size), size, leading, fill}
}

func (b block) height() int { return len(b.lines) * b.leading }

// width is that of the widest line.
func (b block) width() int {
	widest := 0
	for _, l := range b.lines {
		widest = max(widest, l.Width)
	}
	return widest * b.size / fonts.Em
}

// draw puts a block with its top at y: with its left side at x, or with its right side there.
func (s *sheet) draw(b block, x, y int, toTheLeft bool) {
	for i, l := range b.lines {
		at := x
		if toTheLeft {
			at -= l.Width * b.size / fonts.Em
		}
		// The baseline is where capitals are in the middle of the leading.
		s.page.text(l, at, y+i*b.leading+(b.leading+b.size*727/1000)/2, b.size, b.fill)
	}
}

// label is one line of text, however wide.
func (s *sheet) label(text string, style fonts.Style, size int, fill colour) block {
	return s.block(text, style, size, leading, 10*pageWidth, fill)
}

func (s *sheet) hairline(y, x0, x1, width int, stroke colour) {
	s.page.line([]point{{x0, y}, {x1, y}}, width, 0, stroke)
}

// begin starts a page. Every page of a draft says that it is one, and every page but the first whose it is.
func (s *sheet) begin() {
	s.page, s.y = s.add(), top
	if s.draft {
		s.page.box(0, 0, pageWidth, 26*pt, cream)
		mark := s.block("DRAFT", fonts.SemiBold, normal, 26*pt, across, walnut)
		s.draw(mark, left, 0, false)
		s.draw(s.block("Figures may still change. This is not a request for payment.", fonts.Regular, small, 26*pt, across, walnut), right, 0, true)
	}
	if len(s.pages) > 1 {
		s.y = top - 8*pt
		name := s.block(s.seller.Name, fonts.SemiBold, small, leading, across/2-10*pt, ink)
		id := s.block("Invoice "+s.invoice.ID+", continued", fonts.Regular, small, leading, across/2-10*pt, grey)
		s.draw(name, left, s.y, false)
		s.draw(id, right, s.y, true)
		s.y += max(name.height(), id.height()) + 18*pt
	}
}

// room begins a page when the rest of this one is too short, and reports whether it did.
func (s *sheet) room(height int) bool {
	if s.y+height <= bottom {
		return false
	}
	s.begin()
	return true
}

func (s *sheet) letterhead() {
	name := s.block(s.seller.Name, fonts.SemiBold, 12*pt, 16*pt, across/2-10*pt, ink)
	what := "Invoice"
	if s.draft {
		what = "Draft invoice"
	}
	title := s.block(what, fonts.SemiBold, 20*pt, 24*pt, across/2, ink)
	id := s.block(s.invoice.ID, fonts.Regular, 10*pt, 14*pt, across/2-10*pt, grey)
	s.draw(name, left, s.y+4*pt, false)
	s.draw(title, right, s.y, true)
	s.draw(id, right, s.y+title.height()+2*pt, true)
	s.y += max(name.height()+4*pt, title.height()+2*pt+id.height()) + 16*pt
	s.hairline(s.y, left, right, 500, rule)
	s.y += 14 * pt
}

func (s *sheet) parties(issued, due civil.Date) {
	const column, gap, names = 142 * pt, 20 * pt, 62 * pt
	address := func(head, name string, rest []string, x int) int {
		y := s.y
		put := func(b block) {
			s.draw(b, x, y, false)
			y += b.height()
		}
		put(s.block(head, fonts.Regular, small, leading, column, grey))
		put(s.block(name, fonts.SemiBold, normal, leading, column, ink))
		for _, line := range rest {
			put(s.block(line, fonts.Regular, normal, leading, column, ink))
		}
		return y
	}
	to := s.tenant.BillTo
	end := max(
		address("From", s.seller.Name, addressLines(s.seller.Address, s.seller.VATID, s.seller.RegistrationID), left),
		address("Billed to", s.account.Buyer(), addressLines(to.Address, to.VATID, to.RegistrationID), left+column+gap))

	department := s.invoice.Subscription
	if sub := s.tenant.Subscription(s.invoice.Subscription); sub != nil && sub.Name != "" {
		department = sub.Name
	}
	_, _, gross := s.account.Taxes(s.invoice)
	payBy := day(due)
	if !gross.IsPositive() {
		payBy = "Nothing to pay"
	}
	issue := "Issue date"
	if s.draft {
		issue = "To be issued"
	}
	x, y := left+2*(column+gap), s.y
	for _, fact := range []struct{ name, value string }{
		{issue, day(issued)}, {"Due date", payBy}, {"Period", dates(s.invoice.Period.First(), s.invoice.Period.Next().First())},
		{"Department", department}, {"Subscription", s.invoice.Subscription}, {"Your reference", to.Reference},
	} {
		if fact.value == "" {
			continue
		}
		value := s.block(fact.value, fonts.Regular, normal, leading, right-x-names, ink)
		s.draw(s.block(fact.name, fonts.Regular, small, leading, names, grey), x, y, false)
		s.draw(value, x+names, y, false)
		y += value.height() + 1_200
	}
	s.y = max(end, y) + 22*pt
}

// row is a line of the invoice, set.
type row struct {
	what, more                    block
	quantity, unit, price, amount block
}

func (s *sheet) charges() {
	var rows []row
	var quantities, unitsOf, prices, amounts int // the widths of the columns
	heads := row{
		what: s.label("Description", fonts.Regular, small, grey), quantity: s.label("Quantity", fonts.Regular, small, grey),
		price: s.label("Unit price", fonts.Regular, small, grey), amount: s.label("Amount, "+s.invoice.Currency, fonts.Regular, small, grey),
	}
	widen := func(r row) {
		quantities, unitsOf = max(quantities, r.quantity.width()), max(unitsOf, r.unit.width())
		prices, amounts = max(prices, r.price.width()), max(amounts, r.amount.width())
	}
	widen(heads)
	var charged []billing.Line
	for _, l := range s.invoice.Lines {
		if l.Kind == billing.UsageKind {
			continue
		}
		r := row{
			quantity: s.label(grouped(l.Quantity, 0), fonts.Figures, normal, ink),
			unit:     s.label(units(l), fonts.Regular, normal, grey),
			amount:   s.label(grouped(l.Amount, s.invoice.MinorUnits), fonts.Figures, normal, ink),
		}
		if l.UnitPrice.Valid {
			r.price = s.label(grouped(l.UnitPrice.Decimal, s.invoice.MinorUnits), fonts.Figures, normal, ink)
		}
		widen(r)
		charged, rows = append(charged, l), append(rows, r)
	}
	const gap = 16 * pt
	amountAt := right
	priceAt := amountAt - amounts - gap
	unitAt := priceAt - prices - gap - unitsOf
	quantityAt := unitAt - 4*pt
	describing := max(quantityAt-quantities-gap-left, 100*pt)
	for i, l := range charged {
		what, more := describe(s.invoice, l)
		rows[i].what = s.block(what, fonts.Regular, normal, leading, describing, ink)
		if more != "" {
			rows[i].more = s.block(more, fonts.Regular, small, tight, describing, grey)
		}
	}

	header := func() {
		s.draw(heads.what, left, s.y, false)
		s.draw(heads.quantity, quantityAt, s.y, true)
		s.draw(heads.price, priceAt, s.y, true)
		s.draw(heads.amount, amountAt, s.y, true)
		s.y += 16 * pt
		s.hairline(s.y, left, right, 700, ink)
	}
	s.room(60 * pt)
	header()
	if len(rows) == 0 {
		s.draw(s.label("Nothing is charged for this period.", fonts.Regular, normal, grey), left, s.y+5*pt, false)
		s.y += leading + 10*pt
		s.hairline(s.y, left, right, 400, rule)
	}
	for _, r := range rows {
		height := r.what.height() + r.more.height() + 8_400
		if s.room(height) {
			header()
		}
		y := s.y + 4_200
		s.draw(r.what, left, y, false)
		s.draw(r.more, left, y+r.what.height(), false)
		s.draw(r.quantity, quantityAt, y, true)
		s.draw(r.unit, unitAt, y, false)
		s.draw(r.price, priceAt, y, true)
		s.draw(r.amount, amountAt, y, true)
		s.y += height
		s.hairline(s.y, left, right, 400, rule)
	}
}

// sum is a line of the totals: of a tax with the reason why there is none below.
type sum struct{ name, value, reason block }

func (s sum) height() int { return s.name.height() + s.reason.height() + 3_400 }

// totals puts the sums on the right and how to pay them on the left.
func (s *sheet) totals(due civil.Date) {
	taxes, _, gross := s.account.Taxes(s.invoice)
	const gap = 36 * pt
	sums := across/2 - gap/2
	at := right - sums

	title := "To pay"
	shown := gross
	if gross.IsNegative() {
		title, shown = "Credit", gross.Abs()
	}
	if len(taxes) > 0 {
		title += ", gross"
	} else {
		title += ", net"
	}
	amount := func(d decimal.Decimal) string { return grouped(d, s.invoice.MinorUnits) }
	total := s.block(s.invoice.Currency+space+amount(shown), fonts.SemiBoldFigures, 12*pt, 16*pt, 10*pageWidth, ink)
	name := s.block(title, fonts.SemiBold, 12*pt, 16*pt, max(sums-total.width()-8*pt, 60*pt), ink)
	var lines []sum
	add := func(text, value, reason string) {
		v := s.label(value, fonts.Figures, normal, ink)
		l := sum{name: s.block(text, fonts.Regular, normal, leading, max(sums-v.width()-8*pt, 60*pt), grey), value: v}
		if reason != "" {
			l.reason = s.block(reason, fonts.Regular, small, tight, sums, grey)
		}
		lines = append(lines, l)
	}
	if len(taxes) > 0 {
		add("Net total", amount(s.invoice.Total), "")
	}
	for _, t := range taxes {
		words := taxWords(t.Tax)
		if len(taxes) > 1 {
			words += " on " + amount(t.Net)
		}
		add(words, amount(t.Amount), t.Tax.Reason)
	}
	height := name.height() + 18*pt
	for _, l := range lines {
		height += l.height()
	}

	var pay []block
	put := func(text string, style fonts.Style, fill colour) {
		pay = append(pay, s.block(text, style, normal, leading, across-sums-gap, fill))
	}
	put("Payment", fonts.SemiBold, ink)
	put(payment(s.invoice, gross, due, s.seller, s.draft), fonts.Regular, ink)
	if gross.IsPositive() {
		if s.seller.IBAN != "" {
			put("IBAN "+iban(s.seller.IBAN), fonts.Regular, ink)
		}
		if days := int(due - s.account.IssueDate); days > 0 {
			put("Terms: "+count(decimal.NewFromInt(int64(days)), "day", "days")+" from the issue date", fonts.Regular, grey)
		}
	}
	payHeight := 0
	for _, b := range pay {
		payHeight += b.height()
	}

	s.y += 14 * pt
	s.room(max(height, payHeight))
	y := s.y
	for i, b := range pay {
		s.draw(b, left, y, false)
		y += b.height()
		if i == 0 {
			y += 2 * pt
		}
	}
	paid := y
	y = s.y
	for _, l := range lines {
		s.draw(l.name, at, y, false)
		s.draw(l.value, right, y, true)
		s.draw(l.reason, at, y+l.name.height()+1_400, false)
		y += l.height()
	}
	if len(lines) > 0 {
		y += 2 * pt
		s.hairline(y, at, right, 700, ink)
		y += 7 * pt
	}
	s.draw(name, at, y, false)
	s.draw(total, right, y, true)
	s.y = max(paid, y+name.height()) + 26*pt
}

// overages says why each overage is charged, beside a picture of the pool around the peak.
func (s *sheet) overages() {
	const words, gap = 196 * pt, 24 * pt
	for _, l := range s.invoice.Lines {
		if l.Kind != billing.Overage {
			continue
		}
		picture := len(l.Pool) > 1
		width := across
		if picture {
			width = words
		}
		head := s.block("Why there is overage: "+thing(l.Meter), fonts.SemiBold, normal, leading, width, ink)
		text := s.block(why(s.invoice, l, s.zone, len(s.tenant.Subscriptions) > 1), fonts.Regular, normal, leading, width, ink)
		height := head.height() + 2*pt + text.height()
		if picture {
			height = max(height, chartHeight)
		}
		s.room(height)
		s.draw(head, left, s.y, false)
		s.draw(text, left, s.y+head.height()+2*pt, false)
		if picture {
			s.chart(l, left+words+gap, s.y)
		}
		s.y += height + 22*pt
	}
}

// usage says, in lighter type, how the usage of the tenant is split among its subscriptions; nothing is charged for it.
func (s *sheet) usage() {
	const row = 12_400
	const numbers = 236 * pt // where the numbers end
	head := func(more string) {
		title := s.label("How usage is split"+more, fonts.SemiBold, small, grey)
		s.draw(title, left, s.y, false)
		s.draw(s.label("This subscription’s own, for information. It is not charged.", fonts.Regular, small, grey), left+title.width()+8*pt, s.y, false)
		s.y += leading + 2*pt
	}
	begun := false
	for _, l := range s.invoice.Lines {
		if l.Kind != billing.UsageKind {
			continue
		}
		if !begun {
			s.room(leading + 2*pt + row)
			head("")
		} else if s.room(row) {
			head(", continued")
		}
		begun = true
		what, when := split(l, s.zone)
		s.draw(s.label(what, fonts.Regular, small, grey), left, s.y, false)
		s.draw(s.label(grouped(l.Quantity, 0), fonts.Figures, small, ink), left+numbers, s.y, true)
		s.draw(s.label(when, fonts.Regular, small, grey), left+numbers+12*pt, s.y, false)
		s.y += row
	}
}

// footers go on when the number of pages is known.
func (s *sheet) footers() {
	parts := []string{s.seller.Name}
	if s.seller.VATID != "" {
		parts = append(parts, "VAT "+s.seller.VATID)
	}
	if s.seller.RegistrationID != "" {
		parts = append(parts, "Reg. no. "+s.seller.RegistrationID)
	}
	who := s.block(strings.Join(parts, " · "), fonts.Regular, small, tight, across-80*pt, grey)
	for i, page := range s.pages {
		s.page = page
		y := pageHeight - 48*pt
		s.hairline(y, left, right, 400, rule)
		s.draw(who, left, y+7*pt, false)
		s.draw(s.label(fmt.Sprintf("Page %d of %d", i+1, len(s.pages)), fonts.Regular, small, grey), right, y+6*pt, true)
	}
}

// Package pdf writes an invoice as a page for people. It takes a billing.Invoice with its account from billing/export,
// which checks first that seller and buyer are known, and writes a PDF file to a writer; no general library serves, for
// the reasons that stand at the document.
package pdf

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/export/pdf/fonts"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Write writes an invoice, a page of A4 where it fits: the parties, the lines, the total with its tax, how to pay, what
// is behind an overage (R15, R16), and how usage is split (R18). The same invoice gives the same bytes. The account has
// its tenant with a billTo.
func Write(w io.Writer, invoice billing.Invoice, account billing.Account, draft bool) error {
	_, err := layOut(invoice, account, draft).WriteTo(w)
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
	ink          colour = 0x1B2028
	grey         colour = 0x5F6873
	hairlineGrey colour = 0xD5D9DE
	white        colour = 0xFFFFFF
	blue         colour = 0x2F5D8A
	sky          colour = 0xDCE7F1
	rust         colour = 0xB4501E
	peach        colour = 0xF2D5C3
	cream        colour = 0xFDF1D8
	walnut       colour = 0x7A5208
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
	// open is the element that what is drawn belongs to; nil: to none. In a picture all is marked as a whole.
	open   *element
	whole  bool
	indent int // where text begins beside the numbers of lines
}

func layOut(invoice billing.Invoice, account billing.Account, draft bool) *document {
	title := "Invoice " + invoice.ID
	if draft {
		title = "Draft of invoice " + invoice.ID
	}
	seller := account.Seller
	root := &element{kind: "Document"}
	s := &sheet{
		document: &document{title: title, author: seller.Name, date: account.IssueDate.Time(), set: fonts.NewSet(),
			root: root},
		open:    root,
		invoice: invoice, account: account, tenant: account.Tenant, seller: seller, draft: draft, zone: account.Zone,
	}
	defer s.set.Close()
	for _, l := range invoice.Lines {
		s.indent = max(s.indent, s.number(l).width()+8*pt)
	}
	due := account.DueDate()
	s.newPage()
	s.letterhead()
	s.parties(account.IssueDate, due)
	s.charges()
	s.totals(due)
	s.reasons()
	s.usage()
	s.footers()
	return s.document
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
	if len(b.lines) > 0 {
		s.mark(func() { s.place(b, x, y, toTheLeft) })
	}
}

// place draws a block that is marked.
func (s *sheet) place(b block, x, y int, toTheLeft bool) {
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

// number is that of a line, by which corrections name it.
func (s *sheet) number(l billing.Line) block {
	return s.label(strconv.Itoa(l.No), fonts.Figures, small, grey)
}

func (s *sheet) hairline(y, x0, x1, width int, stroke colour) {
	s.artifact(func() { s.mark(func() { s.page.line([]point{{x0, y}, {x1, y}}, width, 0, stroke) }) })
}

// newPage starts a page. Every page of a draft says that it is one, and every page but the first whose it is.
func (s *sheet) newPage() {
	s.page, s.y = s.add(), top
	s.artifact(s.pageHead)
}

func (s *sheet) pageHead() {
	if s.draft {
		s.mark(func() { s.page.box(0, 0, pageWidth, 26*pt, cream) })
		mark := s.block("DRAFT", fonts.SemiBold, normal, 26*pt, across, walnut)
		s.draw(mark, left, 0, false)
		warning := s.block("Figures may still change. This is not a request for payment.", fonts.Regular, small, 26*pt,
			across, walnut)
		s.draw(warning, right, 0, true)
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

// reserve begins a page when the rest of this one is too short, and reports whether it did.
func (s *sheet) reserve(height int) bool {
	if s.y+height <= bottom {
		return false
	}
	s.newPage()
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
	s.paragraph(func() { s.draw(name, left, s.y+4*pt, false) })
	s.tag("H1", "", func() { s.draw(title, right, s.y, true) })
	s.paragraph(func() { s.draw(id, right, s.y+title.height()+2*pt, true) })
	s.y += max(name.height()+4*pt, title.height()+2*pt+id.height()) + 16*pt
	s.hairline(s.y, left, right, 500, hairlineGrey)
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
		s.paragraph(func() {
			put(s.block(head, fonts.Regular, small, leading, column, grey))
			put(s.block(name, fonts.SemiBold, normal, leading, column, ink))
			for _, line := range rest {
				put(s.block(line, fonts.Regular, normal, leading, column, ink))
			}
		})
		return y
	}
	to := s.tenant.BillTo
	seller := addressLines(s.seller.Address, s.seller.VATID, s.seller.RegistrationID)
	buyer := addressLines(to.Address, to.VATID, to.RegistrationID)
	end := max(
		address("From", s.seller.Name, seller, left),
		address("Billed to", s.account.Buyer(), buyer, left+column+gap))

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
		{issue, day(issued)},
		{"Due date", payBy},
		{"Period", dates(s.invoice.Period.First(), s.invoice.Period.Next().First())},
		{"Department", department},
		{"Subscription", s.invoice.Subscription},
		{"Your reference", to.Reference},
	} {
		if fact.value == "" {
			continue
		}
		value := s.block(fact.value, fonts.Regular, normal, leading, right-x-names, ink)
		s.paragraph(func() {
			s.draw(s.block(fact.name, fonts.Regular, small, leading, names, grey), x, y, false)
			s.draw(value, x+names, y, false)
		})
		y += value.height() + 1_200
	}
	s.y = max(end, y) + 22*pt
}

// row is a line of the invoice, set.
type row struct {
	no, what, more                block
	quantity, unit, price, amount block
}

// columns are where the columns of the table are: numbers end there, a unit begins.
type columns struct{ quantity, unit, price, amount int }

// describing is the width of the descriptions, which begin beside the numbers.
func (c columns) describing(begin, quantities int) int {
	return max(c.quantity-quantities-columnGap-begin, 100*pt)
}

const columnGap = 16 * pt

// charges is the table of what is charged. Its columns are as wide as what stands in them; the descriptions have the
// rest.
func (s *sheet) charges() {
	heads := row{
		what:     s.label("Description", fonts.Regular, small, grey),
		quantity: s.label("Quantity", fonts.Regular, small, grey),
		price:    s.label("Unit price", fonts.Regular, small, grey),
		amount:   s.label("Amount, "+s.invoice.Currency, fonts.Regular, small, grey),
	}
	rows, at := s.chargeRows(heads)
	header := func() {
		s.tableRow("TH", func() {}, func() { s.draw(heads.what, left+s.indent, s.y, false) },
			func() { s.draw(heads.quantity, at.quantity, s.y, true) }, func() { s.draw(heads.price, at.price, s.y, true) },
			func() { s.draw(heads.amount, at.amount, s.y, true) })
		s.y += 16 * pt
		s.hairline(s.y, left, right, 700, ink)
	}
	s.reserve(60 * pt)
	if len(rows) == 0 {
		s.artifact(header)
		nothing := s.label("Nothing is charged for this period.", fonts.Regular, normal, grey)
		s.paragraph(func() { s.draw(nothing, left, s.y+5*pt, false) })
		s.y += leading + 10*pt
		s.hairline(s.y, left, right, 400, hairlineGrey)
		return
	}
	s.tag("Table", "", func() {
		header()
		for _, r := range rows {
			height := r.what.height() + r.more.height() + 8_400
			if s.reserve(height) {
				s.artifact(header)
			}
			y := s.y + 4_200
			s.tableRow("TD", func() { s.draw(r.no, left, y, false) },
				func() {
					s.draw(r.what, left+s.indent, y, false)
					s.draw(r.more, left+s.indent, y+r.what.height(), false)
				},
				func() {
					s.draw(r.quantity, at.quantity, y, true)
					s.draw(r.unit, at.unit, y, false)
				},
				func() { s.draw(r.price, at.price, y, true) }, func() { s.draw(r.amount, at.amount, y, true) })
			s.y += height
			s.hairline(s.y, left, right, 400, hairlineGrey)
		}
	})
}

// chargeRows sets the lines that are charged, and says where their columns are.
func (s *sheet) chargeRows(heads row) ([]row, columns) {
	var rows []row
	var charged []billing.Line
	var quantities, unitsOf, prices, amounts int // the widths of the columns
	widen := func(r row) {
		quantities, unitsOf = max(quantities, r.quantity.width()), max(unitsOf, r.unit.width())
		prices, amounts = max(prices, r.price.width()), max(amounts, r.amount.width())
	}
	widen(heads)
	for _, l := range s.invoice.Lines {
		if l.Kind == billing.UsageKind {
			continue
		}
		r := row{
			no:       s.number(l),
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
	at := columns{amount: right}
	at.price = at.amount - amounts - columnGap
	at.unit = at.price - prices - columnGap - unitsOf
	at.quantity = at.unit - 4*pt
	width := at.describing(left+s.indent, quantities)
	for i, l := range charged {
		what, more := describe(s.invoice, l, s.account.ReasonFor(s.invoice, l))
		rows[i].what = s.block(what, fonts.Regular, normal, leading, width, ink)
		if more != "" {
			rows[i].more = s.block(more, fonts.Regular, small, tight, width, grey)
		}
	}
	return rows, at
}

// sum is a line of the totals: of a tax with the reason why there is none below.
type sum struct{ name, value, reason block }

func (s sum) height() int { return s.name.height() + s.reason.height() + 3_400 }

// totals puts the sums on the right and how to pay them on the left.
func (s *sheet) totals(due civil.Date) {
	const gap = 36 * pt
	const width = across/2 - gap/2
	taxes, _, gross := s.account.Taxes(s.invoice)
	sums, total := s.sums(taxes, gross, width)
	pay := s.payment(gross, due, across-width-gap)

	height := total.name.height() + 18*pt
	for _, l := range sums {
		height += l.height()
	}
	payHeight := 0
	for _, b := range pay {
		payHeight += b.height()
	}
	s.y += 14 * pt
	s.reserve(max(height, payHeight))

	paid := s.y
	for i, b := range pay {
		s.paragraph(func() { s.draw(b, left, paid, false) })
		paid += b.height()
		if i == 0 {
			paid += 2 * pt
		}
	}
	x, y := right-width, s.y
	for _, l := range sums {
		s.paragraph(func() {
			s.draw(l.name, x, y, false)
			s.draw(l.value, right, y, true)
			s.draw(l.reason, x, y+l.name.height()+1_400, false)
		})
		y += l.height()
	}
	if len(sums) > 0 {
		y += 2 * pt
		s.hairline(y, x, right, 700, ink)
		y += 7 * pt
	}
	s.paragraph(func() {
		s.draw(total.name, x, y, false)
		s.draw(total.value, right, y, true)
	})
	s.y = max(paid, y+total.name.height()) + 26*pt
}

// sums sets the net total and the taxes, none where no tax is stated, and the total below them.
func (s *sheet) sums(taxes []billing.Subtotal, gross decimal.Decimal, width int) (sums []sum, total sum) {
	amount := func(d decimal.Decimal) string { return grouped(d, s.invoice.MinorUnits) }
	title, shown := "To pay", gross
	if gross.IsNegative() {
		title, shown = "Credit", gross.Abs()
	}
	if len(taxes) > 0 {
		title += ", gross"
	} else {
		title += ", net"
	}
	beside := func(value block) int { return max(width-value.width()-8*pt, 60*pt) }
	total.value = s.block(s.invoice.Currency+space+amount(shown), fonts.SemiBoldFigures, 12*pt, 16*pt, 10*pageWidth, ink)
	total.name = s.block(title, fonts.SemiBold, 12*pt, 16*pt, beside(total.value), ink)
	add := func(text, value, reason string) {
		v := s.label(value, fonts.Figures, normal, ink)
		l := sum{name: s.block(text, fonts.Regular, normal, leading, beside(v), grey), value: v}
		if reason != "" {
			l.reason = s.block(reason, fonts.Regular, small, tight, width, grey)
		}
		sums = append(sums, l)
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
	return sums, total
}

// payment sets what to pay by when, and where to.
func (s *sheet) payment(gross decimal.Decimal, due civil.Date, width int) (pay []block) {
	put := func(text string, style fonts.Style, fill colour) {
		pay = append(pay, s.block(text, style, normal, leading, width, fill))
	}
	put("Payment", fonts.SemiBold, ink)
	put(payment(s.invoice, gross, due, s.seller, s.draft), fonts.Regular, ink)
	if !gross.IsPositive() {
		return pay
	}
	if s.seller.IBAN != "" {
		put("IBAN "+iban(s.seller.IBAN), fonts.Regular, ink)
	}
	if days := int64(due - s.account.IssueDate); days > 0 {
		put("Terms: "+count(decimal.NewFromInt(days), "day", "days")+" from the issue date", fonts.Regular, grey)
	}
	return pay
}

// reasons says why each overage and each correction is charged, beside a picture of the pool around its peak.
func (s *sheet) reasons() {
	pooled := len(s.tenant.Subscriptions) > 1
	for _, l := range s.invoice.Lines {
		correction := s.account.ReasonFor(s.invoice, l)
		switch {
		case l.Kind == billing.Overage:
			used := l.Quantity.IntPart() + l.Entitled
			s.reason("Why there is overage: "+thing(l.Meter), why(s.invoice, l, s.zone, pooled),
				picture{l.Pool, []mark{{l.PeakMS, used, "", rust}}})
		case correction != nil:
			head := "Why there is a correction: " + thing(l.Meter) + ", " + month(l.From.Month())
			s.reason(head, whyCorrected(s.invoice, l, correction, s.zone, pooled), correctionPicture(l, correction))
		}
	}
}

// reason puts a text below its head, and a picture beside them where there is one.
func (s *sheet) reason(title, words string, p picture) {
	const column, gap = 196 * pt, 24 * pt
	drawn := len(p.pool) > 1
	width := across
	if drawn {
		width = column
	}
	head := s.block(title, fonts.SemiBold, normal, leading, width, ink)
	text := s.block(words, fonts.Regular, normal, leading, width, ink)
	height := head.height() + 2*pt + text.height()
	if drawn {
		height = max(height, chartHeight)
	}
	s.reserve(height)
	s.tag("H2", "", func() { s.draw(head, left, s.y, false) })
	s.paragraph(func() { s.draw(text, left, s.y+head.height()+2*pt, false) })
	if drawn {
		s.figure(s.words(p), func() { s.chart(p, left+column+gap, s.y) })
	}
	s.y += height + 22*pt
}

// usage says, in lighter type, how the usage of the tenant is split among its subscriptions; nothing is charged for it.
func (s *sheet) usage() {
	const row = 12_400
	const numbers = 236 * pt // where the numbers end
	head := func(more string) {
		title := s.label("How usage is split"+more, fonts.SemiBold, small, grey)
		s.tag("H2", "", func() { s.draw(title, left, s.y, false) })
		note := s.label("This subscription’s own, for information. It is not charged.", fonts.Regular, small, grey)
		s.paragraph(func() { s.draw(note, left+title.width()+8*pt, s.y, false) })
		s.y += leading + 2*pt
	}
	begun := false
	for _, l := range s.invoice.Lines {
		if l.Kind != billing.UsageKind {
			continue
		}
		if !begun {
			s.reserve(leading + 2*pt + row)
			head("")
		} else if s.reserve(row) {
			s.artifact(func() { head(", continued") })
		}
		begun = true
		what, when := split(l, s.zone)
		s.paragraph(func() {
			s.draw(s.number(l), left, s.y, false)
			s.draw(s.label(what, fonts.Regular, small, grey), left+s.indent, s.y, false)
			s.draw(s.label(grouped(l.Quantity, 0), fonts.Figures, small, ink), left+s.indent+numbers, s.y, true)
			s.draw(s.label(when, fonts.Regular, small, grey), left+s.indent+numbers+12*pt, s.y, false)
		})
		s.y += row
	}
}

// footers go on when the number of pages is known, and belong to no part of the text.
func (s *sheet) footers() {
	s.open = nil
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
		s.hairline(y, left, right, 400, hairlineGrey)
		s.draw(who, left, y+7*pt, false)
		number := s.label(fmt.Sprintf("Page %d of %d", i+1, len(s.pages)), fonts.Regular, small, grey)
		s.draw(number, right, y+6*pt, true)
	}
}

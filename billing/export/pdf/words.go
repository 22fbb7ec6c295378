package pdf

import (
	"fmt"
	"strings"

	"github.com/shopspring/decimal"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// What an invoice says to people. Every function here is of its arguments alone.

const (
	space = "\u00a0" // that does not break
	minus = "\u2212"
)

// grouped writes a decimal with at least so many places. A space parts the thousands, since a comma and a point
// mean each the other elsewhere.
func grouped(d decimal.Decimal, places int32) string {
	if fewest := -d.Exponent(); fewest > places {
		// The fewest places that still say all of it.
		for places < fewest && !d.Truncate(places).Equal(d) {
			places++
		}
	}
	whole, fraction, _ := strings.Cut(d.Abs().StringFixed(places), ".")
	var b strings.Builder
	if d.IsNegative() {
		b.WriteString(minus)
	}
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(space)
		}
		b.WriteRune(digit)
	}
	if fraction != "" {
		b.WriteString("." + fraction)
	}
	return b.String()
}

// day writes a date as 4 November 2026.
func day(d civil.Date) string { return d.Time().Format("2 January 2006") }

// dates writes the dates `[from, to)`: 1–31 October 2026, or one date, with no more months and years than it takes.
func dates(from, to civil.Date) string {
	last := to.Add(-1)
	a, b := from.Time(), last.Time()
	switch {
	case last <= from:
		return day(from)
	case from.Month() == last.Month():
		return a.Format("2") + "–" + day(last)
	case a.Year() == b.Year():
		return a.Format("2 January") + " – " + day(last)
	default:
		return day(from) + " – " + day(last)
	}
}

// month writes a period as October 2026.
func month(m civil.Month) string { return m.First().Time().Format("January 2006") }

var channels = map[string]string{
	"sms": "SMS", "mms": "MMS", "rcs": "RCS", "whatsapp": "WhatsApp", "email": "e-mail", "livechat": "live chat",
	"apple_messages": "Apple Messages",
}

// thing names what a meter measures, as it begins a sentence: Standard seats.
func thing(meter string) string {
	switch meter {
	case schemas.AgentStandard:
		return "Standard seats"
	case schemas.AgentPremium:
		return "Premium seats"
	case schemas.IVRPort:
		return "IVR ports"
	}
	if channel, ok := strings.CutPrefix(meter, schemas.ConnectPrefix); ok {
		if name, ok := channels[channel]; ok {
			return "Connect, " + name
		}
		return "Connect, " + channel
	}
	if addOn, ok := strings.CutPrefix(meter, "addon."); ok {
		return "Add-on " + addOn
	}
	return meter
}

// describe says what a line is for, and in smaller type what there is to add: of an adjustment, for which there may be
// a reason, the words of the line that it corrects.
func describe(invoice billing.Invoice, l billing.Line, reason *billing.Reason) (what, more string) {
	switch l.Kind {
	case billing.Commitment:
		what = thing(l.Meter) + ", committed · " + dates(l.From, l.To)
		if days := invoice.Period.Days(); l.Days > 0 && l.Days < days {
			more = fmt.Sprintf("%d of the %d days of the month, at the price of a month", l.Days, days)
		}
	case billing.Connect:
		what = thing(l.Meter) + " · " + dates(l.From, l.To)
	case billing.Overage:
		what = thing(l.Meter) + ", overage · " + dates(l.From, l.To)
	case billing.Adjustment:
		what = thing(l.Meter) + ", correction of " + month(l.From.Month())
		corrected := billing.Line{Kind: l.CorrectsKind, Meter: l.Meter, From: l.From, To: l.To}
		if reason != nil {
			corrected.From, corrected.To = reason.From, reason.To
		}
		words, _ := describe(invoice, corrected, nil)
		more = correctedLine(l.Corrects) + ": " + words
	default:
		what = thing(l.Meter) + " · " + dates(l.From, l.To)
	}
	return what, more
}

// correctedLine says in words what an adjustment names: INV-Sub1-202609/3 is line 3 of an invoice.
func correctedLine(corrects string) string {
	if invoice, no, err := billing.ParseLineID(corrects); err == nil {
		return fmt.Sprintf("Corrects line %d of invoice %s", no, invoice)
	}
	return "Adds to invoice " + corrects
}

// units is the unit of a quantity.
func units(l billing.Line) string {
	return several(l.Quantity.Abs(), l.Unit, l.Unit+"s")
}

// count writes a whole number with what is counted, in words up to nine: one seat, 12 seats.
func count(n decimal.Decimal, one, many string) string {
	words := []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
	number := grouped(n, 0)
	if n.IsInteger() && !n.IsNegative() && n.LessThan(decimal.NewFromInt(10)) {
		number = words[n.IntPart()]
	}
	return number + " " + several(n, one, many)
}

// sentence begins a text with a capital letter.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// whole writes a whole number.
func whole(n int64) string { return grouped(decimal.NewFromInt(n), 0) }

// clock writes an instant as the tenant's clock reads it: 09:31 on 14 October.
func clock(zone *civil.Zone, ms int64) string { return zone.Time(ms).Format("15:04 on 2 January") }

// several chooses the word for one or for more.
func several(n decimal.Decimal, one, many string) string {
	if n.Equal(decimal.NewFromInt(1)) {
		return one
	}
	return many
}

// why says why there is an overage and why it is on this invoice (R15, R16); pooled says that the tenant has more
// subscriptions than this one.
func why(invoice billing.Invoice, l billing.Line, zone *civil.Zone, pooled bool) string {
	fact := peakFact(invoice.Period, l.Meter, l.PeakMS, decimal.NewFromInt(l.Entitled).Add(l.Quantity), zone)
	included := including(l.Entitled)
	overage := sentence(count(l.Quantity, l.Unit, l.Unit+"s"))
	if l.Quantity.GreaterThan(decimal.NewFromInt(9)) { // no sentence begins with figures
		overage = "The " + overage
	}
	overage += " of overage " + several(l.Quantity, "is", "are") + " charged"
	switch {
	case !pooled:
		return fmt.Sprintf("%s; the subscription includes %s. %s.", fact, included, overage)
	case l.PeakMS == billing.NoInstant:
		return fmt.Sprintf("%s; the subscriptions together include %s. "+
			"%s to this subscription because it is the oldest of those active at the end.", fact, included, overage)
	default:
		return fmt.Sprintf("%s; the subscriptions together include %s. "+
			"%s to this subscription because it is the oldest active one.", fact, included, overage)
	}
}

// peakFact says how many were used: at a peak or, where there is none, in the period.
func peakFact(period civil.Month, meter string, peakMS int64, used decimal.Decimal, zone *civil.Zone) string {
	agents := several(used, "agent", "agents")
	if meter == schemas.AgentPremium {
		agents = "premium " + agents
	}
	switch {
	case peakMS == billing.NoInstant:
		return fmt.Sprintf("In %s, %s different %s worked", month(period), grouped(used, 0), agents)
	case meter == schemas.IVRPort:
		return fmt.Sprintf("At %s, %s IVR %s in progress at once", clock(zone, peakMS), grouped(used, 0),
			several(used, "call was", "calls were"))
	default:
		return fmt.Sprintf("At %s, %s %s %s signed in at once", clock(zone, peakMS), grouped(used, 0), agents,
			several(used, "was", "were"))
	}
}

// including is how many a pool has.
func including(entitled int64) string {
	if entitled == 0 {
		return "none"
	}
	return whole(entitled)
}

// whyCorrected says what came after a month was invoiced, and what has become of what it corrects (R21).
func whyCorrected(invoice billing.Invoice, l billing.Line, r *billing.Reason, zone *civil.Zone, pooled bool) string {
	period := l.From.Month()
	text := cause(l, r)
	if l.CorrectsKind == billing.Overage {
		include := "the subscription includes"
		if pooled {
			include = "the subscriptions together include"
		}
		if r.Now.Quantity.IsZero() {
			text += " No overage of this subscription is left."
		} else {
			used := decimal.NewFromInt(r.Now.Entitled).Add(r.Now.Quantity)
			text += fmt.Sprintf(" %s; %s %s.", peakFact(period, l.Meter, r.Now.PeakMS, used, zone), include,
				including(r.Now.Entitled))
		}
		if !r.Then.Quantity.IsZero() {
			used := decimal.NewFromInt(r.Then.Entitled).Add(r.Then.Quantity)
			when := ""
			if r.Then.PeakMS != billing.NoInstant {
				when = " at " + clock(zone, r.Then.PeakMS)
			}
			text += fmt.Sprintf(" Invoiced before were %s%s, with %s included.", grouped(used, 0), when,
				including(r.Then.Entitled))
		}
	}
	return text + fmt.Sprintf(" This makes %s in place of %s.", charged(invoice, l, r.Now), charged(invoice, l, r.Then))
}

// cause says what came after a month was invoiced.
func cause(l billing.Line, r *billing.Reason) string {
	one, many := "session", "sessions"
	switch {
	case l.Meter == schemas.IVRPort:
		one, many = "call", "calls"
	case l.CorrectsKind == billing.Connect:
		one, many = "report of usage", "reports of usage"
	}
	number := func(n int, one, many string) string { return count(decimal.NewFromInt(int64(n)), one, many) }
	was := func(n int) string {
		if n == 1 {
			return "was"
		}
		return "were"
	}
	const agreed = "what was agreed for the month was changed"
	text := "After " + month(l.From.Month()) + " was invoiced, "
	switch {
	case r.Late > 0 && r.Corrected > 0:
		text += number(r.Late, one, many) + " came in late and " +
			strings.TrimSpace(number(r.Corrected, "", "")) + " " + was(r.Corrected) + " corrected"
	case r.Late > 0:
		text += number(r.Late, one, many) + " came in late"
	case r.Corrected > 0:
		text += number(r.Corrected, one, many) + " " + was(r.Corrected) + " corrected"
	case r.Registry:
		return text + agreed + "."
	default:
		return sentence(month(l.From.Month())) + " was rated again by other settings."
	}
	if r.Registry {
		text += ", and " + agreed
	}
	return text + "."
}

// charged says what a quantity is charged with: two seats for SEK 2 200.00.
func charged(invoice billing.Invoice, l billing.Line, c billing.Charged) string {
	if c.Quantity.IsZero() && c.Amount.IsZero() {
		return "nothing"
	}
	return count(c.Quantity, l.Unit, l.Unit+"s") + " for " + invoice.Currency + space +
		grouped(c.Amount, invoice.MinorUnits)
}

// split says in a line of the smaller table what a usage line tells: how much of the tenant's usage is this
// subscription's, and when it was at its greatest.
func split(l billing.Line, zone *civil.Zone) (what, when string) {
	switch {
	case l.PeakMS == billing.NoInstant && l.Meter == schemas.AgentPremium:
		return "Different premium agents", ""
	case l.PeakMS == billing.NoInstant:
		return "Different standard agents", ""
	case l.Meter == schemas.AgentPremium:
		what = "Premium agents signed in at once, at the most"
	case l.Meter == schemas.AgentStandard:
		what = "Standard agents signed in at once, at the most"
	case l.Meter == schemas.IVRPort:
		what = "IVR calls in progress at once, at the most"
	default:
		what = thing(l.Meter)
	}
	return what, "first at " + clock(zone, l.PeakMS)
}

// taxWords names the tax of a category of EN 16931.
func taxWords(tax registry.Tax) string {
	switch tax.Category {
	case "S":
		return "VAT " + grouped(tax.Rate, 0) + "%"
	case "Z":
		return "VAT 0%, zero rated"
	case "E":
		return "VAT, exempt"
	case "AE":
		return "VAT, reverse charge"
	case "G":
		return "VAT, export outside the EU"
	default:
		return "Not subject to VAT"
	}
}

// addressLines is a name and address with the numbers of a company, a line each.
func addressLines(address registry.Address, vatID, registrationID string) []string {
	lines := []string{address.Street, strings.TrimSpace(address.Postcode + " " + address.City), country(address.Country)}
	if vatID != "" {
		lines = append(lines, "VAT "+vatID)
	}
	if registrationID != "" {
		lines = append(lines, "Reg. no. "+registrationID)
	}
	full := lines[:0]
	for _, l := range lines {
		if l != "" {
			full = append(full, l)
		}
	}
	return full
}

// country returns the English name of an ISO 3166-1 code; a code that has none stands for itself.
func country(code string) string {
	region, err := language.ParseRegion(code)
	if err != nil {
		return code
	}
	if name := display.English.Regions().Name(region); name != "" {
		return name
	}
	return code
}

// iban writes an account number in fours, as it is printed on cards and slips.
func iban(s string) string {
	var b strings.Builder
	for i, r := range strings.ReplaceAll(s, " ", "") {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// payment says what to pay, by when, where to and in whose name, of a draft once it is issued; of a credit and of
// nothing that there is nothing to pay.
func payment(invoice billing.Invoice, gross decimal.Decimal, due civil.Date, seller billing.Seller, draft bool) string {
	amount := invoice.Currency + space + grouped(gross.Abs(), invoice.MinorUnits)
	switch {
	case gross.IsZero():
		return "Nothing is to be paid."
	case gross.IsNegative() && draft:
		return "Nothing is to be paid: " + amount + " will be credited to you."
	case gross.IsNegative():
		return "Nothing is to be paid: " + amount + " is credited to you."
	}
	please, account := "Please pay ", ""
	if draft {
		please = "Once this is issued, please pay "
	}
	if seller.IBAN != "" {
		account = " to the account below"
	}
	return please + amount + " by " + day(due) + account + ", quoting " + invoice.ID + "."
}

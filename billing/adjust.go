package billing

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Correction compares a period that has been issued with what is known of it now (R21).
type Correction struct {
	Period civil.Month
	// Issued are the tenant's invoices since the period was issued, its own first: they have all that was issued for
	// it, since adjustments only come later.
	Issued []Invoice
	// Now are the invoices that a first issue of the period would give now.
	Now []Invoice
}

// charge is what R21 compares: what a subscription is charged for one kind and meter of a period, over all versions.
type charge struct {
	subscription string
	kind         Kind
	meter        string
}

// sums are the quantities and amounts of a charge.
type sums struct{ quantity, amount decimal.Decimal }

func (s sums) add(l Line) sums { return sums{s.quantity.Add(l.Quantity), s.amount.Add(l.Amount)} }

// Adjust adds to a tenant's invoices for a period the adjustment lines that correct periods issued before (R21). A
// subscription that has no invoice gets one for its adjustments alone. What has come back to the issued figure
// nets to nothing and has no line.
func Adjust(tenant *registry.Tenant, period civil.Month, invoices []Invoice, corrections []Correction) []Invoice {
	for _, c := range corrections {
		for of, difference := range c.differences() {
			at := slices.IndexFunc(invoices, func(i Invoice) bool { return i.Subscription == of.subscription })
			if at < 0 {
				at = len(invoices)
				invoices = append(invoices, newInvoice(tenant, tenant.Subscription(of.subscription), period))
			}
			invoices[at].Lines = append(invoices[at].Lines, difference)
		}
	}
	return number(invoices)
}

// differences returns the adjustment line of every charge whose amount is not what has been issued for it.
func (c Correction) differences() map[charge]Line {
	issued, now := map[charge]sums{}, map[charge]sums{}
	first := map[charge]string{} // the line that is corrected
	invoices := map[string]Invoice{}
	for _, i := range c.Now {
		invoices[i.Subscription] = i
		for _, l := range i.Lines {
			of := charge{i.Subscription, l.Kind, l.Meter}
			now[of] = now[of].add(l)
		}
	}
	for _, i := range c.Issued {
		for _, l := range i.Lines {
			of := charge{i.Subscription, l.Kind, l.Meter}
			switch {
			case l.Kind == Adjustment && l.From == c.Period.First():
				of.kind = l.CorrectsKind
			case l.Kind == Adjustment || i.Period != c.Period:
				continue
			case first[of] == "":
				first[of] = LineID(i.ID, l.No)
			}
			invoices[i.Subscription] = i
			issued[of] = issued[of].add(l)
			if _, ok := now[of]; !ok {
				now[of] = sums{}
			}
		}
	}
	lines := map[charge]Line{}
	for of, is := range now {
		was := issued[of]
		if is.amount.Equal(was.amount) {
			continue
		}
		i := invoices[of.subscription]
		lines[of] = Line{
			Kind: Adjustment, Meter: of.meter, Quantity: is.quantity.Sub(was.quantity), Unit: unitOf(of.meter),
			Amount: is.amount.Sub(was.amount),
			From:   c.Period.First(), To: c.Period.Next().First(), PeakMS: NoInstant,
			Corrects: cmp.Or(first[of], InvoiceID(of.subscription, c.Period)), CorrectsKind: of.kind,
			Note: fmt.Sprintf("R21: %s of %s: %s for %s issued so far, %s for %s now", of.kind, c.Period,
				was.quantity, i.Money(was.amount), is.quantity, i.Money(is.amount)),
		}
	}
	return lines
}

// newInvoice returns an invoice without lines.
func newInvoice(tenant *registry.Tenant, s *registry.Subscription, period civil.Month) Invoice {
	places, _ := registry.MinorUnits(s.Currency)
	return Invoice{ID: InvoiceID(s.ID, period), Tenant: tenant.ID, Subscription: s.ID, Period: period,
		Currency: s.Currency, MinorUnits: places}
}

// number puts the invoices in the byte order of their subscriptions, and their lines in theirs, numbered and added up.
func number(invoices []Invoice) []Invoice {
	slices.SortFunc(invoices, func(a, b Invoice) int { return cmp.Compare(a.Subscription, b.Subscription) })
	for i := range invoices {
		invoice := &invoices[i]
		invoice.Total = decimal.Zero
		slices.SortStableFunc(invoice.Lines, compareLines)
		for n := range invoice.Lines {
			invoice.Lines[n].No = n + 1
			invoice.Total = invoice.Total.Add(invoice.Lines[n].Amount)
		}
	}
	return invoices
}

package billing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Corrected is what an adjustment line makes good (R21).
type Corrected struct {
	Period civil.Month `json:"period"`
	Kind   Kind        `json:"kind"`
	// Issued are the lines that had been issued for the period, kind and meter, and Now what they are now.
	Issued []InvoiceLine `json:"issued"`
	Now    []InvoiceLine `json:"now"`
	// Quantity and Amount are their sums; the line is the difference.
	Quantity Pair       `json:"quantity"`
	Amount   AmountPair `json:"amount"`
	// Reason is what is recorded of it with an issue.
	Reason Reason `json:"-"`
	// PeakThen and PeakNow are the peaks of an overage, nil where it has none.
	PeakThen *Instant `json:"peakThen,omitempty"`
	PeakNow  *Instant `json:"peakNow,omitempty"`
	// Events are those that have come since the tenant's issue before and make the difference: of an overage at its peaks,
	// else anywhere in the period, of the subscription. Commands are those that changed the tenant's document since.
	Events   []ChangedEvent    `json:"events"`
	Commands []registry.Change `json:"commands"`
}

// InvoiceLine is a line with the invoice that it is on.
type InvoiceLine struct {
	Invoice Invoice
	Line    Line
}

// InvoiceLineJSON is a line in JSON, as its invoice has it.
type InvoiceLineJSON struct {
	Invoice string `json:"invoiceId"`
	LineJSON
}

// MarshalJSON writes the line as its invoice has it.
func (l InvoiceLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(InvoiceLineJSON{l.Invoice.ID, l.Invoice.lineJSON(l.Line)})
}

func (x *Explainer) correction(ctx context.Context, e *Explanation) error {
	c, since, err := x.issuedBefore(ctx, e.Invoice, e.Line)
	if err != nil {
		return err
	}
	now, err := x.recomputePeriod(ctx, c, e.Invoice.Subscription, e.Line.Meter, nil)
	if err != nil {
		return err
	}
	e.Adjustment = c
	e.check("between what was issued and what it adds up to now", c.Quantity.Difference())
	if !c.Amount.Difference().Equal(e.Line.Amount) {
		e.Differences = append(e.Differences,
			fmt.Sprintf("the line has the amount %s, and the difference is %s", e.Line.Amount, c.Amount.Difference()))
	}
	e.Sum = fmt.Sprintf("%s − %s = %s %s", e.Invoice.Money(c.Amount.After), e.Invoice.Money(c.Amount.Before),
		e.Invoice.Money(e.Line.Amount), e.Invoice.Currency)
	if x.Then == nil {
		return nil
	}
	var issued []Invoice
	for _, i := range since {
		issued = append(issued, i.Invoices...)
	}
	c.Reason = reasonOf(e.Invoice, e.Line, issued, now, since)
	return x.whatCame(ctx, c, e.Line)
}

// whatCame finds what makes the difference between then and now.
func (x *Explainer) whatCame(ctx context.Context, c *Corrected, line Line) (err error) {
	c.Commands = append(c.Commands, x.Commands...)
	if c.Kind != Commitment {
		changed, err := x.changedSince(ctx, x.Then.Bound, c.Period, line.Meter, nil)
		if err != nil {
			return err
		}
		of := charge{c.Reason.Subscription, c.Kind, line.Meter}
		c.Events = append(c.Events, changed.mattering(of, c.Reason.Peaks())...)
	}
	c.Reason.count(c.Events)
	if at := c.Reason.Then.PeakMS; at != NoInstant {
		if c.PeakThen, err = x.Then.peakAt(ctx, line.Meter, at); err != nil {
			return err
		}
	}
	if at := c.Reason.Now.PeakMS; at != NoInstant {
		c.PeakNow, err = x.peakAt(ctx, line.Meter, at)
	}
	return err
}

// issuedBefore finds the lines that an adjustment counts as issued: those of the period that it corrects, and the
// adjustments of them since. It returns the issues from that of the period on as well.
func (x *Explainer) issuedBefore(ctx context.Context, invoice Invoice, line Line) (*Corrected, []Issue, error) {
	c := &Corrected{
		Period: line.From.Month(), Kind: line.CorrectsKind, Issued: []InvoiceLine{}, Now: []InvoiceLine{},
		Events: []ChangedEvent{}, Commands: []registry.Change{},
		Amount: AmountPair{MinorUnits: invoice.MinorUnits},
	}
	type candidate struct {
		InvoiceLine
		period civil.Month
	}
	var all []candidate
	// What was issued later counts for nothing here; nothing has been yet after the draft of a period.
	chain := x.Chain
	if at := slices.IndexFunc(chain, func(i Issue) bool { return i.Period == invoice.Period }); at >= 0 {
		chain = chain[:at]
	}
	invoices, err := IssuedInvoices(ctx, x.Lines, chain)
	if err != nil {
		return nil, nil, err
	}
	var since []Issue
	for _, issue := range chain {
		if issue.Period == c.Period || since != nil {
			issue.Invoices = invoices[issue.ID]
			since = append(since, issue)
		}
		for _, i := range invoices[issue.ID] {
			for _, l := range i.Lines {
				if i.Subscription == invoice.Subscription && l.Meter == line.Meter {
					all = append(all, candidate{InvoiceLine{i, l}, issue.Period})
				}
			}
		}
	}
	for _, l := range all {
		corrects := l.Line.Kind == Adjustment && l.Line.From.Month() == c.Period && l.Line.CorrectsKind == c.Kind
		if l.period == c.Period && l.Line.Kind == c.Kind || corrects {
			c.Issued = append(c.Issued, l.InvoiceLine)
			c.Quantity.Before = c.Quantity.Before.Add(l.Line.Quantity)
			c.Amount.Before = c.Amount.Before.Add(l.Line.Amount)
		}
	}
	return c, since, nil
}

// recomputePeriod adds what the corrected period is now, and returns its invoices.
func (x *Explainer) recomputePeriod(
	ctx context.Context, c *Corrected, subscription, meter string, progress func(deliveries int64),
) ([]Invoice, error) {
	invoices, err := x.recompute(ctx, c.Period, c.Kind, meter, progress)
	if err != nil {
		return nil, err
	}
	for _, i := range invoices {
		for _, l := range i.Lines {
			if i.Subscription == subscription && l.Kind == c.Kind && l.Meter == meter {
				c.Now = append(c.Now, InvoiceLine{i, l})
				c.Quantity.After = c.Quantity.After.Add(l.Quantity)
				c.Amount.After = c.Amount.After.Add(l.Amount)
			}
		}
	}
	return invoices, nil
}

// Package billing turns the usage of a period into invoices, by the billing rules: who is primary and what the
// pool is (R4, R14), the overage and its payer (R15, R16), the lines and their rounding (R18, R19).
//
// It asks billing/registry for what was agreed and takes usage by date from aggregate. [Bill] is a pure
// function of the two, for one tenant and period; [Biller] runs it for many and keeps what is issued, in the
// store that billing/clickhouse has. The invoices go to billing/export, which writes them as files.
package billing

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// Kind is the kind of an invoice line (R18).
type Kind string

// The kinds of lines.
const (
	Commitment Kind = "commitment"
	UsageKind  Kind = "usage"
	Connect    Kind = "connect"
	Overage    Kind = "overage"
	Adjustment Kind = "adjustment"
)

// kinds are all of them, in the order in which they are on an invoice.
var kinds = []Kind{Commitment, UsageKind, Connect, Overage, Adjustment}

func (k Kind) order() int { return slices.Index(kinds, k) }

func (k Kind) known() bool { return slices.Contains(kinds, k) }

// Line is one line of an invoice (R18).
type Line struct {
	No    int
	Kind  Kind
	Meter string
	// Quantity is in Unit: seat, port or unit.
	Quantity decimal.Decimal
	Unit     string
	// UnitPrice is per unit, and for a commitment per month; usage has none.
	UnitPrice decimal.NullDecimal
	// Amount is rounded to the currency's minor units (R19).
	Amount decimal.Decimal
	// From and To are the dates that the line covers, To exclusive.
	From, To civil.Date
	// PeakMS is the peak instant in UTC epoch milliseconds (R15, R18), or NoInstant.
	PeakMS int64
	// Corrects names what an adjustment corrects, and CorrectsKind is the kind of it (R21); the period is that of
	// From.
	Corrects     string
	CorrectsKind Kind
	// Days of the period are what a commitment is charged for, of all the days of the month (R18); else 0.
	Days int
	// Entitled is the pool behind an overage (R14); else 0.
	Entitled int64
	// Pool is the tenant's concurrency around the peak instant of an overage, in the order of time; else empty.
	Pool []PoolPoint
	// Note says in words which rule and figures are behind the line.
	Note string
}

// PoolPoint is a stretch of the picture behind an overage, from AtMS (UTC epoch milliseconds) until the next: the
// greatest concurrency in it (R13), and what the tenant was entitled to (R14).
type PoolPoint struct {
	AtMS     civil.Millis `json:"at"`
	Live     int64        `json:"live"`
	Entitled int64        `json:"entitled"`
}

// NoInstant is the PeakMS of a line that has no peak instant.
const NoInstant int64 = -1

// PeakAt returns the peak instant as 2026-10-14T08:31:07.000Z, and nothing where there is none.
func (l Line) PeakAt() string {
	if l.PeakMS == NoInstant {
		return ""
	}
	return civil.FormatMillis(l.PeakMS)
}

// Price returns the unit price without trailing zeros, and nothing where there is none.
func (l Line) Price() string {
	if !l.UnitPrice.Valid {
		return ""
	}
	return l.UnitPrice.Decimal.String()
}

// NoteIn returns the note as files have it: that of a draft says that it is one.
func (l Line) NoteIn(draft bool) string {
	if draft {
		return "DRAFT. " + l.Note
	}
	return l.Note
}

// Invoice is what one subscription is charged for one period (R18).
type Invoice struct {
	ID, Tenant, Subscription string
	Period                   civil.Month
	Currency                 string
	// MinorUnits is the number of decimals that the currency's amounts have (ISO 4217).
	MinorUnits int32
	Lines      []Line
	Total      decimal.Decimal
}

// Money writes an amount with the decimals of the invoice's currency.
func (i Invoice) Money(amount decimal.Decimal) string { return amount.StringFixed(i.MinorUnits) }

// InvoiceID is the id of a subscription's invoice for a period. Subscription ids are unique across tenants (R1),
// so it is too.
func InvoiceID(subscription string, period civil.Month) string {
	return "INV-" + subscription + "-" + strings.ReplaceAll(period.String(), "-", "")
}

// InvoiceName says which invoice is meant.
type InvoiceName struct {
	Subscription string
	Period       civil.Month
}

// String is the invoice's id.
func (n InvoiceName) String() string { return InvoiceID(n.Subscription, n.Period) }

var invoiceIDForm = regexp.MustCompile(`^INV-(.+)-([0-9]{4})([0-9]{2})$`)

// ParseInvoiceID reads an invoice's id, such as INV-Sub100001-202610.
func ParseInvoiceID(id string) (InvoiceName, error) {
	parts := invoiceIDForm.FindStringSubmatch(id)
	if parts == nil {
		return InvoiceName{}, fmt.Errorf("%q is not the id of an invoice, such as INV-Sub100001-202610", id)
	}
	period, err := civil.ParseMonth(parts[2] + "-" + parts[3])
	if err != nil {
		return InvoiceName{}, fmt.Errorf("%q is not the id of an invoice: %w", id, err)
	}
	return InvoiceName{parts[1], period}, nil
}

// LineID names a line of an invoice, such as INV-Sub100001-202610/3.
func LineID(invoice string, no int) string { return invoice + "/" + strconv.Itoa(no) }

// ParseLineID returns the invoice and the number that name a line.
func ParseLineID(id string) (invoice InvoiceName, no int, err error) {
	of, number, _ := strings.Cut(id, "/")
	if no, err = strconv.Atoi(number); err != nil || no < 1 || !invoiceIDForm.MatchString(of) {
		return invoice, 0, fmt.Errorf("%q is not a line; write the invoice and the number of the line, such as %s",
			id, "INV-Sub100001-202610/3")
	}
	invoice, err = ParseInvoiceID(of)
	return invoice, no, err
}

// CorrectedInvoice is the invoice that an adjustment corrects a line of.
func (l Line) CorrectedInvoice() string {
	invoice, _, _ := strings.Cut(l.Corrects, "/")
	return invoice
}

// compareLines is the order of R18: kind, then meter in byte order, and of adjustments then the period and the kind
// that they correct (R21); lines of the versions of one meter keep the order in which they were made.
func compareLines(a, b Line) int {
	byKind := cmp.Or(cmp.Compare(a.Kind.order(), b.Kind.order()), cmp.Compare(a.Meter, b.Meter))
	if a.Kind != Adjustment {
		return byKind
	}
	return cmp.Or(byKind, cmp.Compare(a.From, b.From), cmp.Compare(a.CorrectsKind.order(), b.CorrectsKind.order()))
}

// Package billing turns the usage of a period into invoices, by the billing rules: who is primary and what the
// pool is (R4, R14), the overage and its payer (R15, R16), the lines and their rounding (R18, R19).
//
// It asks billing/registry for what was agreed and takes usage by date from aggregate. [Bill] is a pure
// function of the two, for one tenant and period; [Biller] runs it for many and keeps what is issued, in the
// store that billing/clickhouse has. The invoices go to billing/export, which writes them as files.
package billing

import (
	"cmp"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// Kind is the kind of an invoice line (R18).
type Kind string

// The kinds, in the order in which they stand on an invoice.
const (
	Commitment Kind = "commitment"
	UsageKind  Kind = "usage"
	Connect    Kind = "connect"
	Overage    Kind = "overage"
	Adjustment Kind = "adjustment"
)

// order is the place of the kind on an invoice.
func (k Kind) order() int {
	return strings.Index("commitment usage connect overage adjustment", string(k))
}

// Line is one line of an invoice (R18).
type Line struct {
	No    int    `json:"lineNo"`
	Kind  Kind   `json:"kind"`
	Meter string `json:"meter"`
	// Quantity is in Unit: seat, port or unit.
	Quantity decimal.Decimal `json:"quantity"`
	Unit     string          `json:"unit"`
	// UnitPrice is per unit, and for a commitment per month; usage has none.
	UnitPrice decimal.NullDecimal `json:"unitPrice"`
	// Amount is rounded to the currency's minor units (R19).
	Amount decimal.Decimal `json:"amount"`
	// From and To are the dates that the line covers, To exclusive.
	From civil.Date `json:"from"`
	To   civil.Date `json:"to"`
	// PeakMS is the peak instant in UTC epoch milliseconds (R15, R18), or NoInstant.
	PeakMS int64 `json:"peakMs"`
	// Corrects names what an adjustment corrects (R21).
	Corrects string `json:"corrects,omitempty"`
	// Note says in words which rule and figures are behind the line.
	Note string `json:"note"`
}

// NoInstant is the PeakMS of a line that has no peak instant.
const NoInstant int64 = -1

// Invoice is what one subscription is charged for one period (R18).
type Invoice struct {
	ID           string          `json:"id"`
	Tenant       string          `json:"tenant"`
	Subscription string          `json:"subscription"`
	Period       civil.Month     `json:"period"`
	Currency     string          `json:"currency"`
	MinorUnits   int32           `json:"minorUnits"`
	Lines        []Line          `json:"lines"`
	Total        decimal.Decimal `json:"total"`
}

// InvoiceID is the id of a subscription's invoice for a period. Subscription ids are unique across tenants (R1),
// so it is too.
func InvoiceID(subscription string, period civil.Month) string {
	return "INV-" + subscription + "-" + strings.ReplaceAll(period.String(), "-", "")
}

// compareLines is the order of R18: kind, then meter in byte order; lines of the versions of one meter keep the
// order in which they were made.
func compareLines(a, b Line) int {
	return cmp.Or(cmp.Compare(a.Kind.order(), b.Kind.order()), cmp.Compare(a.Meter, b.Meter))
}

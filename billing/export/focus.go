package export

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// focusColumns are those of focus.csv: of FOCUS 1.2 Cost and Usage, in byte order, and then our own. The
// CommitmentDiscountStatus is null on every row, and there because the rule for ConsumedQuantity asks it.
var focusColumns = []string{
	"BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
	"ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
	"CommitmentDiscountStatus", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice",
	"EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName",
	"PublisherName", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SubAccountId", "SubAccountName",
	"x_PeakAt", "x_EntitledQuantity", "x_Corrects",
}

// What FOCUS is told of every line alike.
const (
	chargeCategory     = "Usage" // a Purchase would have no effective cost, and no line is bought ahead of its use
	serviceCategory    = "Business Applications"
	serviceSubcategory = "Other (Business Applications)"
	serviceName        = "Contact Centre"
)

// monthPlaces is how many decimals the months have that part of a month is priced by: a proration by 31 days has
// no finite form.
const monthPlaces = 12

// FocusCSV writes focus.csv: every line of the invoices as a charge of FOCUS 1.2. Without the seller's name, which
// FOCUS needs, the error is a *Refusal.
func FocusCSV(w io.Writer, run *billing.Run) error {
	if err := needIssuer(run, "focus.csv"); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(focusColumns); err != nil {
		return err
	}
	for _, i := range run.Invoices {
		account := run.Accounts[i.Tenant]
		issuer := Guard(account.Seller.Name)
		start := func(d civil.Date) string { return startOf(account, d) }
		for _, l := range i.Lines {
			c := chargeOf(i, l)
			if err := out.Write([]string{
				pointed(i.Money(l.Amount)),
				i.Tenant,
				Guard(account.Tenant.Name),
				i.Currency,
				start(i.Period.Next().First()),
				start(i.Period.First()),
				chargeCategory,
				c.class,
				describe(l, run.Draft),
				c.frequency,
				start(l.To),
				start(l.From),
				"",
				pointed(l.Quantity.String()),
				c.unit,
				pointed(c.cost.String()),
				c.price,
				pointed(i.Money(l.Amount)),
				i.ID,
				issuer,
				pointed(c.cost.String()),
				pointed(c.quantity.String()),
				c.pricingUnit,
				issuer,
				issuer,
				serviceCategory,
				serviceName,
				serviceSubcategory,
				i.Subscription,
				Guard(account.SubscriptionName(i)),
				l.PeakAt(),
				c.entitled,
				l.Corrects,
			}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// needIssuer returns a *Refusal of a file of FOCUS where an invoice has no seller's name.
func needIssuer(run *billing.Run, file string) error {
	for _, i := range run.Invoices {
		if strings.TrimSpace(run.Accounts[i.Tenant].Seller.Name) == "" {
			return &Refusal{File: file, Code: schemas.MissingSeller, Field: "seller.name",
				Message: "is not there, and FOCUS needs it", Advice: schemas.MissingSeller.Advice()}
		}
	}
	return nil
}

// startOf is the instant at which a date begins in the zone of a tenant.
func startOf(account billing.Account, d civil.Date) string {
	return time.UnixMilli(account.Zone.Start(d)).UTC().Format("2006-01-02T15:04:05Z")
}

// describe says what a line is, in words.
func describe(l billing.Line, draft bool) string {
	return Guard(strings.Join([]string{string(l.Kind), l.Meter + ":", l.NoteIn(draft)}, " "))
}

// charge is what FOCUS asks of a line beyond what the line itself has. The price times the quantity is the cost, to
// the last decimal, but for a correction, which has no price.
type charge struct {
	class, frequency  string
	unit, pricingUnit string
	quantity          decimal.Decimal
	price             string
	cost              decimal.Decimal
	entitled          string
}

func chargeOf(i billing.Invoice, l billing.Line) charge {
	c := charge{frequency: "Usage-Based", unit: plural(l.Unit), pricingUnit: plural(l.Unit), quantity: l.Quantity}
	switch l.Kind {
	case billing.Adjustment:
		c.class, c.frequency, c.cost = "Correction", "One-Time", l.Amount
		return c
	case billing.Commitment:
		c.frequency = "Recurring"
		c.pricingUnit = singular(l.Unit) + "-Months"
		if days := i.Period.Days(); l.Days != days {
			c.quantity = l.Quantity.Mul(decimal.NewFromInt(int64(l.Days))).DivRound(decimal.NewFromInt(int64(days)), monthPlaces)
		}
	case billing.Overage:
		c.entitled = pointed(strconv.FormatInt(l.Entitled, 10))
	}
	c.price = pointed(l.UnitPrice.Decimal.String()) // 0 on usage, which is for information
	c.cost = l.UnitPrice.Decimal.Mul(c.quantity)
	return c
}

// pointed writes a number with a point, a whole one too: a reader that tells types by looking takes a column of
// whole numbers for integers, which FOCUS does not have.
func pointed(number string) string {
	if !strings.Contains(number, ".") {
		number += ".0"
	}
	return number
}

// singular returns a unit as FOCUS writes it: Seat.
func singular(unit string) string { return strings.ToUpper(unit[:1]) + unit[1:] }

// plural returns several of a unit as FOCUS writes them: Seats.
func plural(unit string) string { return singular(unit) + "s" }

// Guard returns a name that no spreadsheet runs as a formula: one that begins like a formula gets an apostrophe
// before it. It is for names alone; a negative number begins with a sign of its own.
func Guard(name string) string {
	if name != "" && strings.ContainsRune("=+-@\t\r\n", rune(name[0])) {
		return "'" + name
	}
	return name
}

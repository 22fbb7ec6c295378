package registry

import (
	"fmt"
	"regexp"

	"apportion/schemas"
)

// Warning is something about a document that is taken. A missing_price is one that a line would need and the price list
// lacks: a period that may need it is stopped with this code (R19). An id that looks_like_number is changed by
// a spreadsheet that opens a file with it. An undated_tax takes the place of another in months before it changed (R26).
type Warning struct {
	Code    schemas.Code `json:"code"`
	Field   string       `json:"field"`
	Message string       `json:"message"`
	Rule    string       `json:"rule,omitempty"`
	Advice  string       `json:"advice"`
}

func warningOf(code schemas.Code, field, message string) Warning {
	return Warning{code, field, message, code.Rule(), code.Advice()}
}

// String returns the warning on one line.
func (w Warning) String() string { return string(w.Code) + " " + w.Field + ": " + w.Message }

// Warnings returns what to say of a tenant that is taken: prices that are missing, ids that spreadsheets change.
func Warnings(t *Tenant) []Warning { return append(missingPrices(t), changedIDs(t)...) }

// ChangeWarnings returns what to say of a change that is taken: a tax that was put in place of another without a date.
func ChangeWarnings(before, after *Tenant) []Warning {
	if before == nil || before.BillTo == nil || after.BillTo == nil ||
		len(before.BillTo.Tax) == 0 || len(after.BillTo.Tax) == 0 {
		return nil
	}
	old, now := before.BillTo.Tax[0], after.BillTo.Tax[0]
	if old.Category == now.Category && old.Rate.Equal(now.Rate) {
		return nil
	}
	return []Warning{warningOf(schemas.UndatedTax, tenantPath(after.ID)+".billTo.tax", fmt.Sprintf(
		"%s replaces %s in every month that is not issued yet, also in those before it changed (R26); "+
			"if it applies from a date, leave the old entry first and add the new one with its from",
		taxText(now), taxText(old)))}
}

// taxText shows a tax by its category and, where that has one, its rate.
func taxText(t Tax) string {
	if t.Rate.IsZero() {
		return t.Category
	}
	return t.Category + " " + t.Rate.String()
}

// changedIDs returns the ids in files that a spreadsheet takes for numbers or dates, and shows and saves otherwise.
func changedIDs(t *Tenant) []Warning {
	var warnings []Warning
	warn := func(field, id string) {
		if sameNumber.MatchString(id) || !readsOtherwise.MatchString(id) {
			return
		}
		warnings = append(warnings, warningOf(schemas.LooksLikeNumber, field, fmt.Sprintf(
			"a spreadsheet that opens lines.csv takes %s for a number or a date, and saves another; "+
				"import the column as text, or open invoices.xlsx, which keeps it", id)))
	}
	warn(tenantPath(t.ID)+".id", t.ID)
	for _, s := range t.Subscriptions {
		warn(tenantPath(t.ID)+".subscriptions["+s.ID+"].id", s.ID)
	}
	return warnings
}

const monthName = `(jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*`

var (
	// sameNumber is a number that is shown as it was written: a spreadsheet keeps 15 digits, and no zeros before others.
	sameNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,10})$`)
	// readsOtherwise is any other number, a date of numbers, or one of the English name of a month.
	readsOtherwise = regexp.MustCompile(`(?i)^([0-9]+|[0-9]*\.?[0-9]+(e[-+]?[0-9]+)?|[0-9]+\.(e[-+]?[0-9]+)?|` +
		`[0-9]{1,4}[-.][0-9]{1,2}([-.][0-9]{1,4})?|` +
		monthName + `[-. ]?[0-9]{1,4}|[0-9]{1,2}[-. ]?` + monthName + `|true|false)$`)
)

// missingPrices returns the prices that a tenant's invoices may need and lack (R19): the overage of every
// meter in each effective version while its subscription is the primary, and the commitment price of whatever is
// committed in an effective version while its subscription is active. A commitment of 0 and a prepaid one have no
// line (R18), so they need no price.
func missingPrices(t *Tenant) []Warning {
	all := t.all()
	dates := changes(all, nil)
	for _, s := range all {
		for _, v := range s.Versions {
			dates = append(dates, v.From)
		}
	}
	primary, active := make(map[*Version]bool), make(map[*Version]bool)
	for _, d := range dates {
		if p := t.PrimaryOn(d); p != nil {
			primary[p.VersionOn(d)] = true
		}
		for _, s := range t.ActiveOn(d) {
			active[s.VersionOn(d)] = true
		}
	}
	var warnings []Warning
	for _, s := range all {
		for i := range s.Versions {
			v := &s.Versions[i]
			path := fmt.Sprintf("%s.subscriptions[%s].versions[%s].prices", tenantPath(t.ID), s.ID, v.From)
			warn := func(kind, meter, when string) {
				warnings = append(warnings, warningOf(schemas.MissingPrice, path+"."+kind+"."+meter,
					fmt.Sprintf("no price, and a period that needs it is stopped (R19): %s; add one, 0 if it is free", when)))
			}
			if primary[v] {
				for _, meter := range schemas.PooledMeters {
					if _, ok := v.Prices.Overage[meter]; !ok {
						warn("overage", meter, s.ID+" can become the primary, which pays for overage")
					}
				}
			}
			if active[v] && s.Billing == Monthly {
				for _, meter := range sortedKeys(v.Commitments) {
					if _, ok := v.Prices.Commitment[meter]; !ok && v.Commitments[meter] > 0 {
						warn("commitment", meter, fmt.Sprintf("%s commits to %d of it", s.ID, v.Commitments[meter]))
					}
				}
			}
		}
	}
	return warnings
}

package registry

import "fmt"

// Warning is a price that a line would need and the price list lacks. The document is taken, but a period that
// comes to need the price is stopped with this code (R19).
type Warning struct {
	Code    string `json:"code"` // missing_price
	Field   string `json:"field"`
	Message string `json:"message"`
}

// String returns the warning on one line.
func (w Warning) String() string { return w.Code + " " + w.Field + ": " + w.Message }

// Warnings returns the prices that a tenant's invoices may come to need and lack (R19): the overage of every
// meter in each version in force while its subscription is the primary, and the commitment price of whatever is
// committed in a version in force while its subscription is active. A commitment of 0 and a prepaid one have no
// line (R18), so they need no price.
func Warnings(t *Tenant) []Warning {
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
				warnings = append(warnings, Warning{"missing_price", path + "." + kind + "." + meter,
					fmt.Sprintf("no price, and a period that needs it is stopped (R19): %s; add one, 0 if it is free", when)})
			}
			if primary[v] {
				for _, meter := range pooledMeters {
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

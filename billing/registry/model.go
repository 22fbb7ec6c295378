// Package registry is what is known of the tenants: their subscriptions, licences and entry points, the
// rules that read them by date (R1 to R7, R9, R10, R14), and the fold over the command log that keeps them.
//
// A document ([Parse]) becomes commands ([Plan]) for the command topic; every replica applies that topic's
// records in offset order ([State.Apply]) and so has the same state. Billing asks the tenants of that
// state by date, and the aggregation's SQL looks the same answers up by instant ([Tenant.Timelines]). The
// package is pure: it reads no clock, no database and no broker.
package registry

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// The words of the registry document.
const (
	Concurrent = "concurrent" // licence models (R2)
	Named      = "named"
	Monthly    = "monthly" // billing (R2)
	Prepaid    = "prepaid"
	Standard   = "standard" // licence classes (R7)
	Premium    = "premium"
)

var (
	telephonyOptions = []string{"webex_calling", "bundled_pstn", "vpop"}
	roles            = []string{Admin, Agent} // of users (R7)
	classes          = []string{Standard, Premium}
)

// Document is a registry document: the tenants as they should be.
type Document struct {
	Tenants []Tenant `json:"tenants"`
}

// Tenant is a customer organisation (R1). Read one with [Parse] or [DecodeCommand], not with encoding/json,
// which knows neither the defaults nor the dates that may be absent.
type Tenant struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	TimeZone      string         `json:"timeZone"`  // IANA name; every date below is read in it
	Telephony     string         `json:"telephony"` // one option for all subscriptions (R6)
	Subscriptions []Subscription `json:"subscriptions"`
	BillTo        *BillTo        `json:"billTo,omitempty"` // nil: no UBL and no PDF for this tenant
	Licences      []Licence      `json:"licences,omitempty"`
	EntryPoints   []EntryPoint   `json:"entryPoints,omitempty"`
}

// Subscription is a billing subscription of one tenant (R2).
type Subscription struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"` // of the department
	LicenceModel string     `json:"licenceModel"`
	Plan         string     `json:"plan"`
	Deployment   string     `json:"deployment"`
	Currency     string     `json:"currency"` // ISO 4217
	Billing      string     `json:"billing"`
	Telephony    string     `json:"telephony,omitempty"` // "": the tenant's; else the same (R6)
	Terms        []Term     `json:"terms"`
	Versions     []Version  `json:"versions"`
	Cancelled    civil.Date `json:"cancelled,omitzero"` // not active from this date on; NoDate: not cancelled
}

// Term is [From, To) in dates of the tenant's zone.
type Term struct {
	From civil.Date `json:"from"`
	To   civil.Date `json:"to"`
}

// Version is what a subscription commits to, and its price list, from a date until the next version's.
type Version struct {
	From        civil.Date       `json:"from"`
	Commitments map[string]int64 `json:"commitments,omitempty"` // whole seats, ports or add-ons, by meter
	Prices      Prices           `json:"prices,omitzero"`
}

// Prices are unit prices in the subscription's currency, with at most 6 decimals: commitment and overage by
// meter, connect by channel. A price of 0 is a price; one that is absent is not (R19).
type Prices struct {
	Commitment map[string]decimal.Decimal `json:"commitment,omitempty"`
	Overage    map[string]decimal.Decimal `json:"overage,omitempty"`
	Connect    map[string]decimal.Decimal `json:"connect,omitempty"`
}

// IsZero reports whether there is no price at all.
func (p Prices) IsZero() bool { return len(p.Commitment)+len(p.Overage)+len(p.Connect) == 0 }

// Licence maps a user to a subscription during [From, To) (R7); without a To it goes on.
type Licence struct {
	User         string     `json:"user"`
	Role         string     `json:"role"`  // admin or agent
	Class        string     `json:"class"` // standard or premium
	Subscription string     `json:"subscription"`
	From         civil.Date `json:"from"`
	To           civil.Date `json:"to,omitzero"` // NoDate: it goes on
}

// EntryPoint maps an IVR entry point to a subscription during [From, To) (R10); without a To it goes on.
type EntryPoint struct {
	EntryPoint   string     `json:"entryPoint"`
	Subscription string     `json:"subscription"`
	From         civil.Date `json:"from"`
	To           civil.Date `json:"to,omitzero"` // NoDate: it goes on
}

// BillTo is the buyer on UBL and PDF invoices.
type BillTo struct {
	Name           string    `json:"name,omitempty"` // "": the tenant's name
	Address        Address   `json:"address"`
	VATID          string    `json:"vatId,omitempty"`
	RegistrationID string    `json:"registrationId,omitempty"`
	Endpoint       *Endpoint `json:"endpoint,omitempty"`
	LeitwegID      string    `json:"leitwegId,omitempty"` // where German authorities take invoices
	Reference      string    `json:"reference,omitempty"`
	Tax            Taxes     `json:"tax,omitempty"`
	TermsDays      *int64    `json:"termsDays,omitempty"` // nil: the seller's
}

// Address is a postal address; only the country, ISO 3166-1 alpha-2, is needed.
type Address struct {
	Street   string `json:"street,omitempty"`
	City     string `json:"city,omitempty"`
	Postcode string `json:"postcode,omitempty"`
	Country  string `json:"country"`
}

// Endpoint is a Peppol participant: the identifier scheme and the identifier.
type Endpoint struct {
	Scheme string `json:"scheme"`
	ID     string `json:"id"`
}

// Tax is the EN 16931 category of what is on the tenant's invoices, from a date until the next entry's (R26).
type Tax struct {
	From     civil.Date      `json:"from,omitzero"` // NoDate: the first entry, which has no date
	Category string          `json:"category"`      // S Z E AE G O
	Rate     decimal.Decimal `json:"rate"`          // percent; 0 in every category but S
	Reason   string          `json:"reason,omitempty"`
}

// Taxes is a buyer's tax: one entry, or a history in the order of its dates, the first without one (R26).
type Taxes []Tax

// On returns the entry that applies on a date (R26), and nil where no tax is stated.
func (t Taxes) On(date civil.Date) *Tax {
	for i := range slices.Backward(t) {
		if t[i].From <= date { // of the first too, since NoDate is before every date
			return &t[i]
		}
	}
	return nil
}

// MarshalJSON writes the tax as in the registry document: one entry as an object, a history as a list.
func (t Taxes) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]Tax(t))
}

// canonical returns the tenant in the one form that documents meaning the same share: lists in order, exact
// repeats of a mapping dropped, and nothing said twice. Subscription telephony is dropped because it must
// agree with the tenant's (R6), which lets a tenant-wide change be a change of one field.
func canonical(t *Tenant) *Tenant {
	c := *t
	c.Subscriptions = slices.Clone(t.Subscriptions)
	for i := range c.Subscriptions {
		s := &c.Subscriptions[i]
		s.Telephony = ""
		s.Terms = slices.SortedFunc(slices.Values(s.Terms), func(a, b Term) int { return cmp.Compare(a.From, b.From) })
		s.Versions = slices.SortedFunc(slices.Values(s.Versions),
			func(a, b Version) int { return cmp.Compare(a.From, b.From) })
	}
	slices.SortFunc(c.Subscriptions, func(a, b Subscription) int { return strings.Compare(a.ID, b.ID) })
	c.Licences, c.EntryPoints = inOrder(t.Licences), inOrder(t.EntryPoints)
	return &c
}

// canonicalJSON returns the bytes by which two tenants are compared.
func canonicalJSON(t *Tenant) []byte {
	data, err := json.Marshal(canonical(t))
	if err != nil {
		panic(err) // the model holds nothing that JSON cannot write
	}
	return data
}

// sortedKeys returns a map's keys in byte order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

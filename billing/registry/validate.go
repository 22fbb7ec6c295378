package registry

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/typo"
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidID reports whether a tenant or a subscription may have an id (R1).
func ValidID(id string) bool { return idForm.MatchString(id) }

// Validate returns every reason to refuse the document: those of each tenant, and those between them.
func (d *Document) Validate() []Refusal {
	var refusals []Refusal
	tenants := make(map[string]bool)
	owners := make(map[string]string)
	for i := range d.Tenants {
		t := &d.Tenants[i]
		refusals = append(refusals, t.Validate()...)
		var c checker
		c.withdrawn(t)
		refusals = append(refusals, c.refusals...)
		if tenants[t.ID] && t.ID != "" {
			refusals = append(refusals,
				refusal(schemas.InvalidField, tenantPath(t.ID)+".id", t.ID, "the document has this tenant twice; make them one"))
		}
		tenants[t.ID] = true
		for _, s := range t.Subscriptions {
			if owner, taken := owners[s.ID]; taken && owner != t.ID {
				refusals = append(refusals, duplicateSubscription(t.ID, s.ID, owner))
				continue
			}
			owners[s.ID] = t.ID
		}
	}
	return refusals
}

func duplicateSubscription(tenant, subscription, owner string) Refusal {
	return refusal(schemas.DuplicateSubscription, tenantPath(tenant)+".subscriptions["+subscription+"].id", subscription,
		"tenant %s has a subscription of this id; ids are unique across all tenants (R1), so choose another", owner)
}

func tenantPath(id string) string { return "tenants[" + id + "]" }

// checker collects the refusals of one tenant.
type checker struct{ refusals []Refusal }

func (c *checker) refuse(code schemas.Code, path, value, format string, args ...any) {
	c.refusals = append(c.refusals, refusal(code, path, value, format, args...))
}

// missing refuses what is needed and absent, and reports whether it is.
func (c *checker) missing(path string, absent bool, what string) bool {
	if absent {
		c.refuse(schemas.MissingField, path, "", "needed; give %s", what)
	}
	return absent
}

// text checks a string that people or platforms chose: of at most 200 bytes, without control characters.
func (c *checker) text(path, value string) {
	if len(value) > 200 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		c.refuse(schemas.InvalidField, path, value, "write at most 200 bytes of UTF-8 without control characters")
	}
}

func (c *checker) neededText(path, value, what string) {
	if !c.missing(path, value == "", what) {
		c.text(path, value)
	}
}

func (c *checker) id(path, value string) {
	if !c.missing(path, value == "", "an id") && !idForm.MatchString(value) {
		c.refuse(schemas.InvalidField, path, value,
			"an id is a letter or digit, then at most 63 letters, digits, dots, underscores or hyphens (R1)")
	}
}

func (c *checker) oneOf(path, value string, words ...string) {
	list := strings.Join(words, ", ")
	if !c.missing(path, value == "", "one of "+list) && !slices.Contains(words, value) {
		c.refuse(schemas.InvalidField, path, value, "write one of %s%s", list, typo.Hint(value, words))
	}
}

// Validate returns every reason to refuse the tenant by itself; what depends on what exists already is decided
// by [Decide].
func (t *Tenant) Validate() []Refusal {
	var c checker
	path := tenantPath(t.ID)
	c.id(path+".id", t.ID)
	c.neededText(path+".name", t.Name, "the organisation's name")
	if !c.missing(path+".timeZone", t.TimeZone == "", "an IANA time zone, such as Europe/Stockholm") {
		if _, err := civil.LoadZone(t.TimeZone); err != nil {
			c.refuse(schemas.InvalidField, path+".timeZone", t.TimeZone,
				"not an IANA time zone of the %s data; write one such as Europe/Stockholm", civil.Edition())
		}
	}
	c.oneOf(path+".telephony", t.Telephony, telephonyOptions...)
	c.missing(path+".subscriptions", len(t.Subscriptions) == 0, "at least one subscription (R1)")

	models := make(map[string]*Subscription, len(t.Subscriptions))
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		at := path + ".subscriptions[" + s.ID + "]"
		c.subscription(at, s)
		if s.Telephony != "" && s.Telephony != t.Telephony {
			c.refuse(schemas.TelephonyMismatch, at+".telephony", s.Telephony,
				"the tenant has %s, and one option is for all subscriptions (R6); leave this one out", t.Telephony)
		}
		if _, twice := models[s.ID]; twice {
			c.refuse(schemas.DuplicateSubscription, at+".id", s.ID, "the tenant has this subscription twice (R1); make them one")
		}
		models[s.ID] = s
		for j := range i {
			if other := &t.Subscriptions[j]; mixed(other.LicenceModel, s.LicenceModel) && termsOverlap(other, s) {
				c.refuse(schemas.MixedLicenceModel, at+".licenceModel", s.LicenceModel,
					"%s is %s, %s is %s, and their terms overlap (R5); end the one's last term where the other's first begins",
					other.ID, other.LicenceModel, s.ID, s.LicenceModel)
			}
		}
	}
	if t.BillTo != nil {
		c.billTo(path+".billTo", t.BillTo)
	}
	mapped := func(at, subscription string, from, to civil.Date) {
		c.mappedTo(at+".subscription", subscription, models[subscription])
		if !c.missing(at+".from", from == civil.NoDate, "the first date of the mapping") {
			c.mappedDates(at+".to", from, to)
		}
	}
	for _, l := range t.Licences {
		at := path + ".licences[" + l.User + "]"
		c.neededText(at+".user", l.User, "the user")
		c.oneOf(at+".role", l.Role, roles...)
		c.oneOf(at+".class", l.Class, classes...)
		mapped(at, l.Subscription, l.From, l.To)
	}
	for _, e := range t.EntryPoints {
		at := path + ".entryPoints[" + e.EntryPoint + "]"
		c.neededText(at+".entryPoint", e.EntryPoint, "the entry point")
		mapped(at, e.Subscription, e.From, e.To)
	}
	return c.refusals
}

// mappedTo checks that a mapping is to a subscription that the tenant has.
func (c *checker) mappedTo(path, id string, of *Subscription) {
	if !c.missing(path, id == "", "the subscription it is mapped to") && of == nil {
		c.refuse(schemas.InvalidField, path, id, "the tenant has no such subscription; add it, or name one that it has")
	}
}

// mappedDates checks that a mapping ends, if it does, after it begins.
func (c *checker) mappedDates(path string, from, to civil.Date) {
	if to != civil.NoDate && to <= from {
		c.refuse(schemas.InvalidField, path, to.String(),
			"not after from (%s); a mapping's to is the first date without it", from)
	}
}

func (c *checker) subscription(path string, s *Subscription) {
	c.id(path+".id", s.ID)
	c.neededText(path+".name", s.Name, "the department's name")
	c.oneOf(path+".licenceModel", s.LicenceModel, Concurrent, Named)
	c.oneOf(path+".plan", s.Plan, "flex", "flex3")
	c.oneOf(path+".deployment", s.Deployment, "cloud", "hybrid")
	c.oneOf(path+".billing", s.Billing, Monthly, Prepaid)
	if !c.missing(path+".currency", s.Currency == "", "an ISO 4217 code, such as SEK") {
		if _, ok := MinorUnits(s.Currency); !ok {
			c.refuse(schemas.InvalidCurrency, path+".currency", s.Currency,
				"not an ISO 4217 code that has minor units; write one such as SEK")
		}
	}
	c.terms(path, s.Terms)
	c.versions(path, s)
}

func (c *checker) terms(path string, terms []Term) {
	c.missing(path+".terms", len(terms) == 0, "at least one term (R2)")
	for i, a := range terms {
		at := fmt.Sprintf("%s.terms[%s]", path, a.From)
		if c.missing(at+".from", a.From == civil.NoDate, "the term's first date") ||
			c.missing(at+".to", a.To == civil.NoDate, "the first date after the term") {
			continue
		}
		if a.To <= a.From {
			c.refuse(schemas.InvalidTerms, at+".to", a.To.String(),
				"not after from; a term's to is the first date after it (R2)")
		}
		for _, b := range terms[:i] {
			if a.From < b.To && b.From < a.To {
				c.refuse(schemas.InvalidTerms, at, a.From.String()+"/"+a.To.String(),
					"overlaps the term %s/%s (R2); let one begin where the other ends", b.From, b.To)
			}
		}
	}
}

func (c *checker) versions(path string, s *Subscription) {
	if c.missing(path+".versions", len(s.Versions) == 0, "a version that starts no later than the first term (R2)") {
		return
	}
	first := s.Versions[0].From
	seen := make(map[civil.Date]bool)
	for _, v := range s.Versions {
		at := fmt.Sprintf("%s.versions[%s].from", path, v.From)
		if c.missing(at, v.From == civil.NoDate, "the date on which the version takes effect") {
			return
		}
		if seen[v.From] {
			c.refuse(schemas.InvalidVersions, at, v.From.String(), "two versions start on this date (R2); make them one")
		}
		seen[v.From] = true
		first = min(first, v.From)
	}
	if len(s.Terms) > 0 && first > s.FirstStart() {
		c.refuse(schemas.InvalidVersions, path+".versions", first.String(),
			"the first version starts after the first term does, on %s (R2); let it start no later", s.FirstStart())
	}
}

// mixed reports whether two licence models differ; one that is no model is refused for that alone.
func mixed(a, b string) bool {
	return a == Concurrent && b == Named || a == Named && b == Concurrent
}

// termsOverlap reads R5 by its words: a cancellation does not shorten a term.
func termsOverlap(a, b *Subscription) bool {
	return slices.ContainsFunc(a.Terms, func(x Term) bool {
		return slices.ContainsFunc(b.Terms, func(y Term) bool { return x.From < y.To && y.From < x.To })
	})
}

var countryForm = regexp.MustCompile(`^[A-Z]{2}$`)

func (c *checker) billTo(path string, b *BillTo) {
	for _, f := range []struct{ name, value string }{
		{"name", b.Name}, {"address.street", b.Address.Street},
		{"address.city", b.Address.City}, {"address.postcode", b.Address.Postcode},
		{"vatId", b.VATID}, {"registrationId", b.RegistrationID}, {"reference", b.Reference},
	} {
		c.text(path+"."+f.name, f.value)
	}
	if at := path + ".address.country"; !c.missing(at, b.Address.Country == "", "an ISO 3166-1 code, such as SE") &&
		!countryForm.MatchString(b.Address.Country) {
		c.refuse(schemas.InvalidField, at, b.Address.Country, "not an ISO 3166-1 code; write two capital letters, such as SE")
	}
	if e := b.Endpoint; e != nil {
		c.neededText(path+".endpoint.scheme", e.Scheme, "the Peppol identifier scheme, such as 0007")
		c.neededText(path+".endpoint.id", e.ID, "the Peppol identifier")
	}
	if b.LeitwegID != "" && !isLeitwegID(b.LeitwegID) {
		c.refuse(schemas.InvalidField, path+".leitwegId", b.LeitwegID,
			"not a Leitweg-ID, whose last two digits check the rest; copy it from the order, such as 04011000-1234512345-06")
	}
	c.taxes(path+".tax", b.Tax)
}

// taxes holds a history to R26: the first entry has no date, the others one each, in order.
func (c *checker) taxes(path string, history Taxes) {
	for i := range history {
		tax, at := &history[i], path
		if len(history) > 1 {
			at = fmt.Sprintf("%s[%s]", path, cmp.Or(tax.From.String(), strconv.Itoa(i)))
		}
		switch {
		case i == 0 && tax.From != civil.NoDate:
			c.refuse(schemas.InvalidField, at+".from", tax.From.String(),
				"the first entry has no date: it applies until the next one's (R26); leave it out, or put the entry before it")
		case i > 0 && c.missing(at+".from", tax.From == civil.NoDate,
			"the date from which the entry applies; only the first has none (R26)"):
		case i > 0 && tax.From == history[i-1].From:
			c.refuse(schemas.InvalidField, at+".from", tax.From.String(),
				"two entries apply from this date (R26); make them one")
		case i > 0 && tax.From < history[i-1].From:
			c.refuse(schemas.InvalidField, at+".from", tax.From.String(),
				"before the entry above it, which applies from %s (R26); write them in the order of their dates", history[i-1].From)
		}
		c.tax(at, tax)
	}
}

// tax holds the categories to what EN 16931 asks of each, so that no invoice is found invalid at month end.
func (c *checker) tax(path string, tax *Tax) {
	seen := len(c.refusals)
	c.oneOf(path+".category", tax.Category, "S", "Z", "E", "AE", "G", "O")
	if len(c.refusals) > seen {
		return
	}
	rate, reason := path+".rate", path+".reason"
	switch {
	case tax.Category != "S" && !tax.Rate.IsZero():
		c.refuse(schemas.InvalidField, rate, tax.Rate.String(), "only category S has a rate; leave it out")
	case tax.Category == "S" && tax.Rate.IsZero():
		c.refuse(schemas.InvalidField, rate, "0", "category S has a rate above 0; for a rate of 0 choose Z, E, AE, G or O")
	case tax.Rate.GreaterThan(hundred):
		c.refuse(schemas.InvalidField, rate, tax.Rate.String(), "a rate is at most 100 percent")
	}
	switch {
	case tax.Category != "S" && tax.Category != "Z":
		c.neededText(reason, tax.Reason, "the reason why there is no tax, which goes on the invoice")
	case tax.Reason != "":
		c.refuse(schemas.InvalidField, reason, tax.Reason, "only the categories E, AE, G and O have a reason; leave it out")
	}
}

var hundred = decimal.NewFromInt(100)

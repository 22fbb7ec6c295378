package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/strict"
	"apportion/schemas/typo"
)

// Refusal is one reason why a document or a command is not taken.
type Refusal struct {
	Code    schemas.Code `json:"code"`
	Field   string       `json:"field,omitempty"` // a path such as tenants[acme].subscriptions[Sub1].currency
	Value   string       `json:"value,omitempty"` // what it has there, shortened
	Message string       `json:"message"`         // what is wrong, and what would be right
	Rule    string       `json:"rule,omitempty"`
	Advice  string       `json:"advice"`
}

// Error returns the refusal on one line.
func (r Refusal) Error() string {
	var b strings.Builder
	b.WriteString(string(r.Code))
	if r.Field != "" {
		b.WriteString(" " + r.Field)
	}
	if r.Value != "" {
		fmt.Fprintf(&b, " %q", r.Value)
	}
	return b.String() + ": " + r.Message
}

// refusal builds a Refusal, its value cut to what fits a line.
func refusal(code schemas.Code, field, value, format string, args ...any) Refusal {
	const longest = 100
	if len(value) > longest {
		value = strings.ToValidUTF8(value[:longest], "") + "…"
	}
	return Refusal{code, field, value, fmt.Sprintf(format, args...), code.Rule(), code.Advice()}
}

// Problem is a refusal with where it is in a file.
type Problem struct {
	File string
	Line int // 1 is the first
	Refusal
}

// Error returns the problem as file:line and the refusal.
func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Refusal.Error()) }

// Parse reads a registry document, YAML or (when it begins with a brace) JSON, and returns every problem that
// its form has: syntax, unknown and repeated fields, wrong types, numbers that are not exact. What the values
// mean is checked by [Document.Validate]. The document is nil when there are problems. The name is for messages.
//
// A null is an absent field, in YAML too: there an id of null needs quotes, while 007, 9e5 and true are taken
// by their text where text is wanted.
func Parse(name string, data []byte) (*Document, []Problem) {
	var doc Document
	strictly, root := strict.Read(data)
	r := reader{strictly}
	switch {
	case root == nil:
	case strict.Null(root):
		r.Refuse(root, schemas.MalformedDocument, "", "", "not one YAML document: nothing is in it")
	default:
		r.Object("", root, strict.Fields{"tenants": strict.List(r.Reader, "id", &doc.Tenants, r.tenant)})
		if len(r.Problems) == 0 && len(doc.Tenants) == 0 {
			r.Refuse(root, schemas.MissingField, "tenants", "", "the document has no tenants; begin it with tenants: and a list")
		}
	}
	if len(r.Problems) == 0 {
		return &doc, nil
	}
	var problems []Problem
	for _, p := range r.Problems {
		problems = append(problems, Problem{name, p.Line, refusal(p.Code, p.Path, p.Value, "%s", p.Message)})
	}
	return nil, problems
}

// reader reads what only registry documents have.
type reader struct{ *strict.Reader }

func (r reader) date(dst *civil.Date) strict.Field {
	return func(path string, n *strict.Node) {
		var text string
		seen := len(r.Problems)
		r.Text(&text)(path, n)
		if len(r.Problems) > seen {
			return
		}
		d, err := civil.ParseDate(text)
		if err != nil {
			r.Refuse(n, schemas.InvalidField, path, text, "not a date; write it as 2026-10-14")
			return
		}
		*dst = d
	}
}

var decimalForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$`)

func (r reader) decimal(dst *decimal.Decimal) strict.Field {
	return func(path string, n *strict.Node) {
		text, _, ok := r.Scalar(path, n, "a decimal number")
		if !ok {
			return
		}
		if !decimalForm.MatchString(text) {
			r.Refuse(n, schemas.InvalidField, path, text,
				"not a decimal number; write it without sign or exponent, at most 12 digits before the point and 6 after, "+
					"such as \"900.00\"")
			return
		}
		*dst = decimal.RequireFromString(text)
	}
}

var wholeForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

// whole reads a count. It is a number, so text in quotes is refused, and so is 10.0.
func (r reader) whole(code schemas.Code, dst *int64) strict.Field {
	return func(path string, n *strict.Node) {
		text, plain, ok := r.Scalar(path, n, "a whole number")
		if !ok {
			return
		}
		if !plain || !wholeForm.MatchString(text) {
			r.Refuse(n, code, path, text, "not a whole number; write one from 0 to 999999999, without quotes, sign or point")
			return
		}
		*dst, _ = strconv.ParseInt(text, 10, 64) // nine digits always fit
	}
}

var (
	addonForm   = regexp.MustCompile(`^addon\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	channelForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
)

func pooled(meter string) bool    { return slices.Contains(schemas.PooledMeters, meter) }
func committed(meter string) bool { return pooled(meter) || addonForm.MatchString(meter) }
func channel(name string) bool    { return channelForm.MatchString(name) }

// IsMeter reports whether invoice lines can be of a meter of this name.
func IsMeter(name string) bool {
	of, connect := strings.CutPrefix(name, "connect.")
	return connect && channel(of) || committed(name)
}

// meters reads an object of one value a meter into dst; a name that is no meter here is refused with the code.
func meters[V any](
	r reader, dst *map[string]V, valid func(string) bool, code schemas.Code, want string, read func(*V) strict.Field,
) strict.Field {
	return func(path string, n *strict.Node) {
		values := make(map[string]V)
		r.Members(path, n, func(name string, key, value *strict.Node) {
			if !valid(name) {
				r.Refuse(key, code, strict.Join(path, name), name, "%s%s", want, typo.Hint(name, schemas.PooledMeters))
				return
			}
			var v V
			read(&v)(strict.Join(path, name), value)
			values[name] = v
		})
		*dst = values
	}
}

func (r reader) tenant(path string, n *strict.Node) (t Tenant) {
	r.Object(path, n, strict.Fields{
		"id": r.Text(&t.ID), "name": r.Text(&t.Name), "timeZone": r.Text(&t.TimeZone), "telephony": r.Text(&t.Telephony),
		"subscriptions": strict.List(r.Reader, "id", &t.Subscriptions, r.subscription),
		"billTo": func(path string, n *strict.Node) {
			t.BillTo = new(BillTo)
			r.billTo(path, n, t.BillTo)
		},
		"licences":    strict.List(r.Reader, "user", &t.Licences, r.licence),
		"entryPoints": strict.List(r.Reader, "entryPoint", &t.EntryPoints, r.entryPoint),
	})
	return t
}

func (r reader) subscription(path string, n *strict.Node) Subscription {
	s := Subscription{Cancelled: civil.NoDate}
	r.Object(path, n, strict.Fields{
		"id": r.Text(&s.ID), "name": r.Text(&s.Name), "licenceModel": r.Text(&s.LicenceModel), "plan": r.Text(&s.Plan),
		"deployment": r.Text(&s.Deployment), "currency": r.Text(&s.Currency), "billing": r.Text(&s.Billing),
		"telephony": r.Text(&s.Telephony), "cancelled": r.date(&s.Cancelled),
		"terms":    strict.List(r.Reader, "from", &s.Terms, r.term),
		"versions": strict.List(r.Reader, "from", &s.Versions, r.version),
	})
	return s
}

func (r reader) term(path string, n *strict.Node) Term {
	t := Term{civil.NoDate, civil.NoDate}
	r.Object(path, n, strict.Fields{"from": r.date(&t.From), "to": r.date(&t.To)})
	return t
}

func (r reader) version(path string, n *strict.Node) Version {
	v := Version{From: civil.NoDate}
	r.Object(path, n, strict.Fields{
		"from": r.date(&v.From),
		"commitments": meters(r, &v.Commitments, committed, schemas.InvalidCommitment,
			"commit to agent_standard, agent_premium, ivr_port or addon.<word>",
			func(dst *int64) strict.Field { return r.whole(schemas.InvalidCommitment, dst) }),
		"prices": func(path string, n *strict.Node) { r.prices(path, n, &v.Prices) },
	})
	return v
}

func (r reader) prices(path string, n *strict.Node, p *Prices) {
	r.Object(path, n, strict.Fields{
		"commitment": meters(r, &p.Commitment, committed, schemas.UnknownField,
			"a commitment price is for agent_standard, agent_premium, ivr_port or addon.<word>", r.decimal),
		"overage": meters(r, &p.Overage, pooled, schemas.UnknownField,
			"an overage price is for agent_standard, agent_premium or ivr_port", r.decimal),
		"connect": meters(r, &p.Connect, channel, schemas.InvalidField,
			"a channel is a lower-case letter, then letters, digits, _ or -, such as sms", r.decimal),
	})
}

func (r reader) licence(path string, n *strict.Node) Licence {
	l := Licence{Class: Standard, From: civil.NoDate, To: civil.NoDate}
	r.Object(path, n, strict.Fields{
		"user": r.Text(&l.User), "role": r.Text(&l.Role), "class": r.Text(&l.Class), "subscription": r.Text(&l.Subscription),
		"from": r.date(&l.From), "to": r.date(&l.To),
	})
	return l
}

func (r reader) entryPoint(path string, n *strict.Node) EntryPoint {
	e := EntryPoint{From: civil.NoDate, To: civil.NoDate}
	r.Object(path, n, strict.Fields{
		"entryPoint": r.Text(&e.EntryPoint), "subscription": r.Text(&e.Subscription),
		"from": r.date(&e.From), "to": r.date(&e.To),
	})
	return e
}

func (r reader) billTo(path string, n *strict.Node, b *BillTo) {
	r.Object(path, n, strict.Fields{
		"name": r.Text(&b.Name), "vatId": r.Text(&b.VATID), "registrationId": r.Text(&b.RegistrationID),
		"reference": r.Text(&b.Reference), "leitwegId": r.Text(&b.LeitwegID),
		"address": func(path string, n *strict.Node) {
			a := &b.Address
			r.Object(path, n, strict.Fields{"street": r.Text(&a.Street), "city": r.Text(&a.City),
				"postcode": r.Text(&a.Postcode), "country": r.Text(&a.Country)})
		},
		"endpoint": func(path string, n *strict.Node) {
			b.Endpoint = new(Endpoint)
			r.Object(path, n, strict.Fields{"scheme": r.Text(&b.Endpoint.Scheme), "id": r.Text(&b.Endpoint.ID)})
		},
		"tax": func(path string, n *strict.Node) {
			if !r.IsList(n) {
				b.Tax = Taxes{r.tax(path, n)}
				return
			}
			strict.List(r.Reader, "from", (*[]Tax)(&b.Tax), r.tax)(path, n)
			if len(b.Tax) == 0 {
				r.Refuse(n, schemas.MissingField, path, "", "needed; give at least one entry, or leave tax out")
			}
		},
		"termsDays": func(path string, n *strict.Node) {
			b.TermsDays = new(int64)
			r.whole(schemas.InvalidField, b.TermsDays)(path, n)
		},
	})
}

func (r reader) tax(path string, n *strict.Node) Tax {
	t := Tax{From: civil.NoDate}
	r.Object(path, n, strict.Fields{"from": r.date(&t.From), "category": r.Text(&t.Category), "rate": r.decimal(&t.Rate),
		"reason": r.Text(&t.Reason)})
	return t
}

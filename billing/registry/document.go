package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"apportion/schemas/civil"
	"apportion/schemas/typo"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/shopspring/decimal"
	"go.yaml.in/yaml/v4"
)

// Refusal is one reason why a document or a command is not taken.
type Refusal struct {
	Code    string `json:"code"`            // stable, one of the constants below
	Field   string `json:"field,omitempty"` // a path such as tenants[acme].subscriptions[Sub1].currency
	Value   string `json:"value,omitempty"` // what stands there, shortened
	Message string `json:"message"`         // what is wrong and what to do
}

// Error returns the refusal on one line.
func (r Refusal) Error() string {
	var b strings.Builder
	b.WriteString(r.Code)
	if r.Field != "" {
		b.WriteString(" " + r.Field)
	}
	if r.Value != "" {
		fmt.Fprintf(&b, " %q", r.Value)
	}
	return b.String() + ": " + r.Message
}

// refusal builds a Refusal, its value cut to what fits a line.
func refusal(code, field, value, format string, args ...any) Refusal {
	const longest = 100
	if len(value) > longest {
		value = strings.ToValidUTF8(value[:longest], "") + "…"
	}
	return Refusal{code, field, value, fmt.Sprintf(format, args...)}
}

// Problem is a refusal with the place in a file where it stands.
type Problem struct {
	File string
	Line int // 1 is the first
	Refusal
}

// Error returns the problem as file:line and the refusal.
func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Refusal.Error()) }

// Parse reads a registry document, YAML or (when it begins with a brace) JSON, and returns every problem that
// its form has: syntax, unknown and repeated fields, wrong types, numbers that are not exact. What the values
// mean is judged by [Document.Validate]. The document is nil when there are problems. The name is for messages.
//
// A null is an absent field, in YAML too: there an id of null needs quotes, while 007, 9e5 and true are taken
// by their text where text is wanted.
func Parse(name string, data []byte) (*Document, []Problem) {
	r := reader{file: name}
	root := r.load(data)
	if root == nil {
		return nil, r.problems
	}
	var doc Document
	r.object("", root, fields{"tenants": list(&r, "id", &doc.Tenants, r.tenant)})
	if len(r.problems) == 0 && len(doc.Tenants) == 0 {
		r.refuse(root, codeMissingField, "tenants", "", "the document has no tenants; begin it with tenants: and a list")
	}
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return &doc, nil
}

// reader walks one tree of nodes, from YAML or JSON, and collects every problem on its way.
type reader struct {
	file     string
	json     bool // only JSON strings are text
	problems []Problem
	aliases  int // how many YAML aliases the walk stands in
	expanded int // nodes seen inside aliases
}

// field reads one member's value; path is where it stands.
type field func(path string, n *yaml.Node)

// fields are the members that an object may have.
type fields map[string]field

// load returns the tree of a YAML or JSON document, or nil with a problem.
func (r *reader) load(data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return r.loadJSON(data)
	}
	var root yaml.Node
	// Repeated keys are left to the walk, which reports all of them and not only the first.
	if err := yaml.Load(data, &root, yaml.WithUniqueKeys(false)); err != nil {
		line := 1
		var load *yaml.LoadError
		if errors.As(err, &load) {
			line = max(line, load.Mark.Line)
		}
		r.refuse(&yaml.Node{Line: line}, codeMalformedDocument, "", "", "not one YAML document: %v", err)
		return nil
	}
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		return root.Content[0]
	}
	return &root
}

// loadJSON returns a JSON document in the nodes of YAML, so that one walk serves both. YAML itself is not used
// for JSON, because it does not read the escapes of characters beyond the basic plane.
func (r *reader) loadJSON(data []byte) *yaml.Node {
	r.json = true
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	line, counted := 1, int64(0)
	var value func(tok jsontext.Token) (*yaml.Node, error)
	next := func() (jsontext.Token, error) {
		tok, err := dec.ReadToken()
		end := dec.InputOffset()
		line += bytes.Count(data[counted:end], []byte("\n"))
		counted = end
		return tok, err
	}
	value = func(tok jsontext.Token) (*yaml.Node, error) {
		n := &yaml.Node{Kind: yaml.ScalarNode, Line: line}
		switch kind := tok.Kind(); kind {
		case '{', '[':
			n.Kind = yaml.MappingNode
			if kind == '[' {
				n.Kind = yaml.SequenceNode
			}
			for {
				tok, err := next()
				if err != nil {
					return nil, err
				}
				if k := tok.Kind(); k == '}' || k == ']' {
					return n, nil
				}
				child, err := value(tok)
				if err != nil {
					return nil, err
				}
				n.Content = append(n.Content, child)
			}
		case '"':
			n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
		case '0':
			n.Tag = "!!float"
		case 'n':
			n.Tag = "!!null"
		default:
			n.Tag = "!!bool"
		}
		n.Value = tok.String()
		return n, nil
	}
	tok, err := next()
	var root *yaml.Node
	if err == nil {
		root, err = value(tok)
	}
	if err == nil {
		if _, err = next(); err == nil {
			err = errors.New("something follows the document")
		} else if errors.Is(err, io.EOF) {
			return root
		}
	}
	r.refuse(&yaml.Node{Line: line}, codeMalformedDocument, "", "", "not one JSON document: %v", err)
	return nil
}

func (r *reader) refuse(n *yaml.Node, code, path, value, format string, args ...any) {
	r.problems = append(r.problems, Problem{r.file, n.Line, refusal(code, path, value, format, args...)})
}

// enter returns what a node stands for: itself, or the target of an alias until leave is called. Aliases that
// multiply into more than any real document holds are refused, so that a small file cannot exhaust memory.
func (r *reader) enter(n *yaml.Node) (target *yaml.Node, leave func()) {
	const most = 1_000_000
	leave = func() {}
	if n.Kind == yaml.AliasNode {
		r.aliases++
		n, leave = n.Alias, func() { r.aliases-- }
	}
	if r.aliases > 0 {
		if r.expanded++; r.expanded > most {
			if r.expanded == most+1 {
				r.refuse(n, codeMalformedDocument, "", "", "the aliases expand to more than %d nodes; write them out", most)
			}
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, leave
		}
	}
	return n, leave
}

func null(n *yaml.Node) bool { return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// members calls each with the name and value of every member that is not null; repeated names are refused.
func (r *reader) members(path string, n *yaml.Node, each func(name string, key, value *yaml.Node)) {
	n, leave := r.enter(n)
	defer leave()
	if n.Kind != yaml.MappingNode {
		r.refuse(n, codeInvalidField, path, n.Value, "write fields with names here, not %s", kindOf(n))
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for pair := range slices.Chunk(n.Content, 2) {
		key, value := pair[0], pair[1]
		if key.Kind != yaml.ScalarNode {
			r.refuse(key, codeInvalidField, path, "", "a field's name is plain text, not %s", kindOf(key))
			continue
		}
		name := key.Value
		if line, seen := lines[name]; seen {
			r.refuse(key, codeInvalidField, join(path, name), "", "repeated: it already stands on line %d; keep one of them", line)
			continue
		}
		lines[name] = key.Line
		target, leave := r.enter(value)
		if !null(target) {
			each(name, key, value)
		}
		leave()
	}
}

// object reads the members of an object, none of which may be unknown: a typo must not bill.
func (r *reader) object(path string, n *yaml.Node, known fields) {
	r.members(path, n, func(name string, key, value *yaml.Node) {
		if read, ok := known[name]; ok {
			read(join(path, name), value)
			return
		}
		r.refuse(key, codeUnknownField, join(path, name), "", "no such field here%s", typo.Hint(name, slices.Collect(maps.Keys(known))))
	})
}

// list reads a list of objects into dst. Their label is what the member of that name says, where it can be read.
func list[T any](r *reader, label string, dst *[]T, read func(path string, n *yaml.Node) T) field {
	return func(path string, n *yaml.Node) {
		n, leave := r.enter(n)
		defer leave()
		if n.Kind != yaml.SequenceNode {
			r.refuse(n, codeInvalidField, path, n.Value, "write a list here, not %s", kindOf(n))
			return
		}
		for i, item := range n.Content {
			at := strconv.Itoa(i)
			target, leave := r.enter(item)
			if target.Kind == yaml.MappingNode {
				for pair := range slices.Chunk(target.Content, 2) {
					if pair[0].Value == label && pair[1].Kind == yaml.ScalarNode && pair[1].Value != "" {
						at = pair[1].Value
					}
				}
			}
			leave()
			*dst = append(*dst, read(path+"["+at+"]", item))
		}
	}
}

// scalar returns the literal text of a scalar, and whether it was written without quotes.
func (r *reader) scalar(path string, n *yaml.Node, want string) (text string, plain, ok bool) {
	n, leave := r.enter(n)
	defer leave()
	if n.Kind != yaml.ScalarNode {
		r.refuse(n, codeInvalidField, path, n.Value, "write %s here, not %s", want, kindOf(n))
		return "", false, false
	}
	return n.Value, n.Style&^yaml.TaggedStyle == 0, true
}

func (r *reader) text(dst *string) field {
	return func(path string, n *yaml.Node) {
		text, plain, ok := r.scalar(path, n, "text")
		switch {
		case !ok:
		case r.json && plain:
			r.refuse(n, codeInvalidField, path, text, "write text here, in quotes")
		default:
			*dst = text
		}
	}
}

func (r *reader) date(dst *civil.Date) field {
	return func(path string, n *yaml.Node) {
		var text string
		seen := len(r.problems)
		r.text(&text)(path, n)
		if len(r.problems) > seen {
			return
		}
		d, err := civil.ParseDate(text)
		if err != nil {
			r.refuse(n, codeInvalidField, path, text, "not a date; write it as 2026-10-14")
			return
		}
		*dst = d
	}
}

var decimalForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$`)

func (r *reader) decimal(dst *decimal.Decimal) field {
	return func(path string, n *yaml.Node) {
		text, _, ok := r.scalar(path, n, "a decimal number")
		if !ok {
			return
		}
		if !decimalForm.MatchString(text) {
			r.refuse(n, codeInvalidField, path, text,
				"not a decimal number; write it without sign or exponent, at most 12 digits before the point and 6 after, such as \"900.00\"")
			return
		}
		*dst = decimal.RequireFromString(text)
	}
}

var wholeForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

// whole reads a count. It is a number, so text in quotes is refused, and so is 10.0.
func (r *reader) whole(code string, dst *int64) field {
	return func(path string, n *yaml.Node) {
		text, plain, ok := r.scalar(path, n, "a whole number")
		if !ok {
			return
		}
		if !plain || !wholeForm.MatchString(text) {
			r.refuse(n, code, path, text, "not a whole number; write one from 0 to 999999999, without quotes, sign or point")
			return
		}
		*dst, _ = strconv.ParseInt(text, 10, 64) // nine digits always fit
	}
}

var (
	addonForm   = regexp.MustCompile(`^addon\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	channelForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
)

func pooled(meter string) bool    { return slices.Contains(pooledMeters, meter) }
func committed(meter string) bool { return pooled(meter) || addonForm.MatchString(meter) }
func channel(name string) bool    { return channelForm.MatchString(name) }

// IsMeter reports whether invoice lines can be of a meter of this name.
func IsMeter(name string) bool {
	of, connect := strings.CutPrefix(name, "connect.")
	return connect && channel(of) || committed(name)
}

// meters reads an object of one value a meter into dst; a name that is no meter here is refused with the code.
func meters[V any](r *reader, dst *map[string]V, valid func(string) bool, code, want string, read func(*V) field) field {
	return func(path string, n *yaml.Node) {
		values := make(map[string]V)
		r.members(path, n, func(name string, key, value *yaml.Node) {
			if !valid(name) {
				r.refuse(key, code, join(path, name), name, "%s%s", want, typo.Hint(name, pooledMeters))
				return
			}
			var v V
			read(&v)(join(path, name), value)
			values[name] = v
		})
		*dst = values
	}
}

func (r *reader) tenant(path string, n *yaml.Node) (t Tenant) {
	r.object(path, n, fields{
		"id": r.text(&t.ID), "name": r.text(&t.Name), "timeZone": r.text(&t.TimeZone), "telephony": r.text(&t.Telephony),
		"subscriptions": list(r, "id", &t.Subscriptions, r.subscription),
		"billTo": func(path string, n *yaml.Node) {
			t.BillTo = new(BillTo)
			r.billTo(path, n, t.BillTo)
		},
		"licences":    list(r, "user", &t.Licences, r.licence),
		"entryPoints": list(r, "entryPoint", &t.EntryPoints, r.entryPoint),
	})
	return t
}

func (r *reader) subscription(path string, n *yaml.Node) Subscription {
	s := Subscription{Cancelled: civil.NoDate}
	r.object(path, n, fields{
		"id": r.text(&s.ID), "name": r.text(&s.Name), "licenceModel": r.text(&s.LicenceModel), "plan": r.text(&s.Plan),
		"deployment": r.text(&s.Deployment), "currency": r.text(&s.Currency), "billing": r.text(&s.Billing),
		"telephony": r.text(&s.Telephony), "cancelled": r.date(&s.Cancelled),
		"terms":    list(r, "from", &s.Terms, r.term),
		"versions": list(r, "from", &s.Versions, r.version),
	})
	return s
}

func (r *reader) term(path string, n *yaml.Node) Term {
	t := Term{civil.NoDate, civil.NoDate}
	r.object(path, n, fields{"from": r.date(&t.From), "to": r.date(&t.To)})
	return t
}

func (r *reader) version(path string, n *yaml.Node) Version {
	v := Version{From: civil.NoDate}
	r.object(path, n, fields{
		"from": r.date(&v.From),
		"commitments": meters(r, &v.Commitments, committed, codeInvalidCommitment,
			"commit to agent_standard, agent_premium, ivr_port or addon.<word>",
			func(dst *int64) field { return r.whole(codeInvalidCommitment, dst) }),
		"prices": func(path string, n *yaml.Node) { r.prices(path, n, &v.Prices) },
	})
	return v
}

func (r *reader) prices(path string, n *yaml.Node, p *Prices) {
	r.object(path, n, fields{
		"commitment": meters(r, &p.Commitment, committed, codeUnknownField,
			"a commitment price is for agent_standard, agent_premium, ivr_port or addon.<word>", r.decimal),
		"overage": meters(r, &p.Overage, pooled, codeUnknownField,
			"an overage price is for agent_standard, agent_premium or ivr_port", r.decimal),
		"connect": meters(r, &p.Connect, channel, codeInvalidField,
			"a channel is a lower-case letter, then letters, digits, _ or -, such as sms", r.decimal),
	})
}

func (r *reader) licence(path string, n *yaml.Node) Licence {
	l := Licence{Class: Standard, From: civil.NoDate, To: civil.NoDate}
	r.object(path, n, fields{
		"user": r.text(&l.User), "role": r.text(&l.Role), "class": r.text(&l.Class), "subscription": r.text(&l.Subscription),
		"from": r.date(&l.From), "to": r.date(&l.To),
	})
	return l
}

func (r *reader) entryPoint(path string, n *yaml.Node) EntryPoint {
	e := EntryPoint{From: civil.NoDate, To: civil.NoDate}
	r.object(path, n, fields{
		"entryPoint": r.text(&e.EntryPoint), "subscription": r.text(&e.Subscription), "from": r.date(&e.From), "to": r.date(&e.To),
	})
	return e
}

func (r *reader) billTo(path string, n *yaml.Node, b *BillTo) {
	r.object(path, n, fields{
		"name": r.text(&b.Name), "vatId": r.text(&b.VATID), "registrationId": r.text(&b.RegistrationID), "reference": r.text(&b.Reference),
		"address": func(path string, n *yaml.Node) {
			a := &b.Address
			r.object(path, n, fields{"street": r.text(&a.Street), "city": r.text(&a.City), "postcode": r.text(&a.Postcode), "country": r.text(&a.Country)})
		},
		"endpoint": func(path string, n *yaml.Node) {
			b.Endpoint = new(Endpoint)
			r.object(path, n, fields{"scheme": r.text(&b.Endpoint.Scheme), "id": r.text(&b.Endpoint.ID)})
		},
		"tax": func(path string, n *yaml.Node) {
			target, leave := r.enter(n)
			defer leave()
			if target.Kind != yaml.SequenceNode {
				b.Tax = Taxes{r.tax(path, n)}
				return
			}
			if len(target.Content) == 0 {
				r.refuse(n, codeMissingField, path, "", "needed; give at least one entry, or leave tax out")
			}
			list(r, "from", (*[]Tax)(&b.Tax), r.tax)(path, n)
		},
		"termsDays": func(path string, n *yaml.Node) {
			b.TermsDays = new(int64)
			r.whole(codeInvalidField, b.TermsDays)(path, n)
		},
	})
}

func (r *reader) tax(path string, n *yaml.Node) Tax {
	t := Tax{From: civil.NoDate}
	r.object(path, n, fields{"from": r.date(&t.From), "category": r.text(&t.Category), "rate": r.decimal(&t.Rate), "reason": r.text(&t.Reason)})
	return t
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields with names"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if null(n) {
			return "nothing"
		}
		return "a single value"
	default:
		return "nothing"
	}
}

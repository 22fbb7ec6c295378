package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"apportion/schemas/civil"
)

// effect is what a document of a tenant would change, as POST /tenants/{tenant}/what-if has it.
type effect struct {
	Accepted bool           `json:"accepted"`
	Changes  []string       `json:"changes"`
	Warnings []warning      `json:"warnings"`
	Refusals []fieldProblem `json:"refusals"`
	Access   struct {
		Gained []accessSpan `json:"gained"`
		Lost   []accessSpan `json:"lost"`
	} `json:"access"`
	Periods []periodEffect `json:"periods"`
	Kinds   []kindTotal    `json:"kinds"`
	Totals  []pairTotal    `json:"totals"`
}

// warning is something to look at about a document that would be taken.
type warning struct {
	Code    string `json:"code"`
	Field   string `json:"field"`
	Message string `json:"message"`
	Rule    string `json:"rule"`
	Advice  string `json:"advice"`
}

// accessSpan is a stretch of dates in which a user would have access and has none, or the reverse.
type accessSpan struct {
	User string      `json:"user"`
	Role string      `json:"role"`
	From civil.Date  `json:"from"`
	To   *civil.Date `json:"to"`
}

// periodEffect is a month as it stands and as it would.
type periodEffect struct {
	Period  string      `json:"period"`
	Kinds   []kindTotal `json:"kinds"`
	Totals  []pairTotal `json:"totals"`
	Stopped stops       `json:"stopped"`
}

// stops are why there is no bill, as it stands and as it would.
type stops struct {
	Before []stop `json:"before"`
	After  []stop `json:"after"`
}

type kindTotal struct {
	Kind     string `json:"kind"`
	Currency string `json:"currency"`
	Amount   pair   `json:"amount"`
}

type pairTotal struct {
	Currency string `json:"currency"`
	Amount   pair   `json:"amount"`
}

// pair is an amount as it stands and as it would.
type pair struct {
	Before     string `json:"before"`
	After      string `json:"after"`
	Difference string `json:"difference"`
}

// Same reports whether nothing differs.
func (p pair) Same() bool { return p.Before == p.After }

// Changed is More or Less, as an amount would grow or not; empty where it would not change.
func (p pair) Changed() string {
	switch {
	case p.Same():
		return ""
	case p.Difference[0] == '-':
		return "less"
	}
	return "more"
}

// effectRow is a month of an effect in one currency, or all months.
type effectRow struct {
	Period, Currency         string
	Commitment, Overage, All *pair
	Stops                    []stop
}

// Rows are the months of an effect.
func (e *effect) Rows() (rows []effectRow) {
	for _, period := range e.Periods {
		rows = append(rows, effectRows(period.Period, period.Kinds, period.Totals)...)
		if len(period.Totals) == 0 {
			rows = append(rows, effectRow{Period: period.Period,
				Stops: slices.Concat(period.Stopped.Before, period.Stopped.After)})
		}
	}
	return rows
}

// Sums are all months together.
func (e *effect) Sums() []effectRow { return effectRows("", e.Kinds, e.Totals) }

func effectRows(period string, kinds []kindTotal, totals []pairTotal) (rows []effectRow) {
	for i, t := range totals {
		row := effectRow{Period: period, Currency: t.Currency, All: &totals[i].Amount}
		for j, k := range kinds {
			switch {
			case k.Currency == t.Currency && k.Kind == "commitment":
				row.Commitment = &kinds[j].Amount
			case k.Currency == t.Currency && k.Kind == "overage":
				row.Overage = &kinds[j].Amount
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// proposal is a change of a tenant's document that is not made, with its effect and what a form needs to make it.
type proposal struct {
	*effect
	// ETag is that of the document that it was made from.
	ETag string
	// Fields are what the form was filled in with.
	Fields []struct{ Name, Value string }
	// To is where it is applied.
	To string
}

// propose asks what a document would change, of some months.
func (p *page) propose(document []byte, months []civil.Month, fields map[string][]string) (*proposal, error) {
	of := &proposal{effect: &effect{}, ETag: p.Tenant.ETag, To: p.Path()}
	target := route("tenants", p.Tenant.ID, "what-if")
	if at := p.Query("at"); at != "" {
		target = withParameter(target, "at", at)
	}
	_, err := p.ask(http.MethodPost, target, nil,
		map[string]any{"document": json.RawMessage(document), "periods": months}, of.effect)
	if err != nil {
		return nil, err
	}
	for name, values := range fields {
		for _, value := range values {
			if !slices.Contains([]string{"do", "key", "etag", "at", "compare"}, name) {
				of.Fields = append(of.Fields, struct{ Name, Value string }{name, value})
			}
		}
	}
	return of, nil
}

// monthsFrom are so many months from one on.
func monthsFrom(first civil.Month, n int) (months []civil.Month) {
	for i := range n {
		months = append(months, first+civil.Month(i))
	}
	return months
}

// edited returns the document of the page's tenant with a change made to it. All else stays as it is written.
func (p *page) edited(change func(subscriptions map[string]map[string]any)) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(p.Tenant.Document.raw))
	decoder.UseNumber() // numbers stay as they are written
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	byID := map[string]map[string]any{}
	all, _ := document["subscriptions"].([]any)
	for _, one := range all {
		if s, ok := one.(map[string]any); ok {
			id, _ := s["id"].(string)
			byID[id] = s
		}
	}
	change(byID)
	return json.Marshal(document)
}

// count is what a form has for a number: the number, or what else was written, which the API refuses by its field.
func count(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	return text
}

// newVersion adds a version to a subscription from a date on, in place of one that begins then, with the commitments of
// the one that is effective then changed, and its prices where there are any.
func newVersion(s map[string]any, from string, commitments map[string]string, prices map[string]map[string]string) {
	versions, _ := s["versions"].([]any)
	version := map[string]any{}
	effective := ""
	var others []any
	for _, one := range versions {
		v, _ := one.(map[string]any)
		begins, _ := v["from"].(string)
		if begins <= from && begins >= effective { // dates in the order of their text
			effective, version = begins, v
		}
		if begins != from {
			others = append(others, one)
		}
	}
	next := map[string]any{"from": from}
	for name, value := range version {
		if name != "from" {
			next[name] = value
		}
	}
	if len(commitments) > 0 {
		committed := map[string]any{}
		of, _ := version["commitments"].(map[string]any)
		for meter, n := range of {
			committed[meter] = n
		}
		for meter, n := range commitments {
			if delete(committed, meter); n != "" {
				committed[meter] = count(n)
			}
		}
		next["commitments"] = committed
	}
	if prices != nil {
		list := map[string]any{}
		for kind, of := range prices {
			list[kind] = of
		}
		next["prices"] = list
	}
	s["versions"] = append(others, next)
}

package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/schemas/civil"
)

// ManifestName is the name of the manifest in the directory of a period.
const ManifestName = "manifest.json"

// Manifest says what the directory of a period holds, what it adds up to, and what it is based on.
type Manifest struct {
	Period civil.Month `json:"period"`
	Draft  bool        `json:"draft"`
	// Totals are by currency, in byte order.
	Totals []Total `json:"totals"`
	// Basis has the tenants in groups of one basis, since they can be issued at different moments.
	Basis []Basis `json:"basis"`
	// LeftOut are the files that could not be written.
	LeftOut []*Refusal `json:"leftOut"`
	// Files are all others in the directory, in the byte order of their paths.
	Files []File `json:"files"`
}

// Total is what the invoices in one currency add up to. Sums have the decimals of the currency.
type Total struct {
	Currency string `json:"currency"`
	Invoices int    `json:"invoices"`
	Lines    int    `json:"lines"`
	Net      string `json:"net"`
	// Tax and Gross are of the invoices that have them: of those whose buyer's document states taxes.
	Tax   string `json:"tax"`
	Gross string `json:"gross"`
}

// Basis is what the invoices of some tenants are based on.
type Basis struct {
	// Tenants are in byte order.
	Tenants []string `json:"tenants"`
	aggregate.Basis
}

func newManifest(run *billing.Run, files []File, leftOut []*Refusal) *Manifest {
	return &Manifest{
		Period: run.Period, Draft: run.Draft, Totals: totals(run), Basis: bases(run),
		LeftOut: append([]*Refusal{}, leftOut...), Files: files,
	}
}

func (m *Manifest) write(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(m)
}

// totals adds the invoices up by currency.
func totals(run *billing.Run) []Total {
	t := tally{}
	for _, i := range run.Invoices {
		h := headOf(i, run)
		sum := t.of(i.Currency)
		sum.invoices, sum.lines, sum.places = sum.invoices+1, sum.lines+len(i.Lines), i.MinorUnits
		sum.net = sum.net.Add(i.Total)
		if h.taxed {
			sum.tax, sum.gross = sum.tax.Add(h.tax), sum.gross.Add(h.gross)
		}
	}
	return t.totals()
}

// tally adds up by currency.
type tally map[string]*tallied

type tallied struct {
	invoices, lines int
	net, tax, gross decimal.Decimal
	places          int32
}

func (t tally) of(currency string) *tallied {
	if t[currency] == nil {
		t[currency] = &tallied{}
	}
	return t[currency]
}

func (t tally) totals() []Total {
	list := []Total{}
	for _, currency := range slices.Sorted(maps.Keys(t)) {
		sum := t[currency]
		money := func(amount decimal.Decimal) string { return amount.StringFixed(sum.places) }
		list = append(list, Total{currency, sum.invoices, sum.lines, money(sum.net), money(sum.tax), money(sum.gross)})
	}
	return list
}

// bases groups the tenants of a run by what they are based on.
func bases(run *billing.Run) []Basis {
	groups := map[string]*Basis{}
	for _, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
		b := Basis{Basis: basisOf(run.Accounts[tenant])}
		key := fmt.Sprintf("%#v", b)
		if groups[key] == nil {
			groups[key] = &b
		}
		groups[key].Tenants = append(groups[key].Tenants, tenant)
	}
	list := []Basis{}
	for _, b := range groups {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b Basis) int { return cmp.Compare(a.Tenants[0], b.Tenants[0]) })
	return list
}

// basisOf returns what the figures of a tenant are based on, the positions in the order of topic and partition.
func basisOf(a billing.Account) aggregate.Basis {
	b := a.Basis
	b.Positions = Positions(b.Positions)
	return b
}

// Positions returns the ends of a ledger in the order of topic and partition, as files have them.
func Positions(ledger []aggregate.Position) []aggregate.Position {
	list := append([]aggregate.Position{}, ledger...)
	slices.SortFunc(list, func(x, y aggregate.Position) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return list
}

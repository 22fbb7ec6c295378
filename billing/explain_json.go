package billing

import (
	"encoding/json"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// MarshalJSON writes the explanation whole: the invoice with the one line, and every delivery behind it. Times are
// UTC; quantities, prices and amounts are strings.
func (e *Explanation) MarshalJSON() ([]byte, error) {
	invoice := e.Invoice
	invoice.Lines = []Line{e.Line}
	out := struct {
		Invoice        Invoice         `json:"invoice"`
		Sum            string          `json:"sum,omitempty"`
		Price          *priceJSON      `json:"price,omitempty"`
		Payer          string          `json:"payer,omitempty"`
		Commitment     *prorationJSON  `json:"commitment,omitempty"`
		Instant        *instantJSON    `json:"instant,omitempty"`
		DistinctAgents *headsJSON      `json:"distinctAgents,omitempty"`
		Connect        *connectJSON    `json:"connect,omitempty"`
		Adjustment     *correctionJSON `json:"adjustment,omitempty"`
		Differences    []string        `json:"differences"`
	}{Invoice: invoice, Sum: e.Sum, Payer: e.Payer, Differences: append([]string{}, e.Differences...)}
	if p := e.Price; p != nil {
		out.Price = &priceJSON{p.Subscription, p.Version, p.From, p.To, p.ListedAs, p.Name, e.Line.Price()}
	}
	if c := e.Commitment; c != nil {
		out.Commitment = &prorationJSON{c.Committed, c.Days, c.MonthDays, append([]registry.Term{}, c.Terms...), c.Cancelled.String()}
	}
	if i := e.Instant; i != nil {
		out.Instant = &instantJSON{civil.FormatMillis(i.AtMS), i.Date, i.Live, i.Entitled, members(i.Members), evidence(i.Sessions)}
	}
	if h := e.DistinctAgents; h != nil {
		out.DistinctAgents = &headsJSON{len(h.Sessions), h.Entitled, h.EntitledOn, h.Closing, members(h.Members), evidence(h.Sessions)}
	}
	if c := e.Connect; c != nil {
		out.Connect = &connectJSON{[]connectDayJSON{}, evidence(c.Events)}
		for _, d := range c.Days {
			out.Connect.Days = append(out.Connect.Days, connectDayJSON{d.Date, d.Events, d.Units.String()})
		}
	}
	if a := e.Adjustment; a != nil {
		out.Adjustment = &correctionJSON{a.Period, a.Kind, e.linesJSON(a.Issued), e.linesJSON(a.Now),
			a.Quantity.json(decimal.Decimal.String), a.Amount.json(fixed(e.Invoice.MinorUnits))}
	}
	return json.Marshal(out)
}

type priceJSON struct {
	Subscription string     `json:"subscriptionId"`
	Version      civil.Date `json:"version"`
	From         civil.Date `json:"from"`
	To           civil.Date `json:"to"`
	List         string     `json:"list"`
	Name         string     `json:"name"`
	UnitPrice    string     `json:"unitPrice"`
}

type prorationJSON struct {
	Committed int64           `json:"committed"`
	Days      int             `json:"days"`
	MonthDays int             `json:"monthDays"`
	Terms     []registry.Term `json:"terms"`
	Cancelled string          `json:"cancelled,omitempty"`
}

type memberJSON struct {
	Subscription string     `json:"subscriptionId"`
	Active       bool       `json:"active"`
	FirstStart   civil.Date `json:"firstStart"`
	Version      string     `json:"version,omitempty"`
	Seats        int64      `json:"seats,omitempty"`
	Factor       int64      `json:"portsPerSeat,omitempty"`
	Ports        int64      `json:"ports,omitempty"`
	Entitled     int64      `json:"entitled"`
	Used         int64      `json:"used"`
	Over         int64      `json:"over"`
}

type instantJSON struct {
	At       string         `json:"at"`
	Date     civil.Date     `json:"date"`
	Live     int64          `json:"live"`
	Entitled int64          `json:"entitled"`
	Members  []memberJSON   `json:"subscriptions"`
	Sessions []evidenceJSON `json:"sessions"`
}

type headsJSON struct {
	Agents     int            `json:"agents"`
	Entitled   int64          `json:"entitled"`
	EntitledOn civil.Date     `json:"entitledOn"`
	Closing    civil.Date     `json:"closing"`
	Members    []memberJSON   `json:"subscriptions"`
	Sessions   []evidenceJSON `json:"sessions"`
}

type connectDayJSON struct {
	Date   civil.Date `json:"date"`
	Events int64      `json:"events"`
	Units  string     `json:"units"`
}

type connectJSON struct {
	Days   []connectDayJSON `json:"days"`
	Events []evidenceJSON   `json:"events"`
}

type correctionJSON struct {
	Period   civil.Month       `json:"period"`
	Kind     Kind              `json:"kind"`
	Issued   []invoiceLineJSON `json:"issued"`
	Now      []invoiceLineJSON `json:"now"`
	Quantity pairJSON          `json:"quantity"`
	Amount   pairJSON          `json:"amount"`
}

type invoiceLineJSON struct {
	Invoice  string `json:"invoiceId"`
	No       int    `json:"lineNo"`
	Kind     Kind   `json:"kind"`
	Quantity string `json:"quantity"`
	Amount   string `json:"amount"`
	Note     string `json:"note"`
}

// evidenceJSON is an event: as it counts, and its deliveries.
type evidenceJSON struct {
	Source       string         `json:"source"`
	ID           string         `json:"id"`
	Type         string         `json:"type"`
	Agent        string         `json:"agent,omitempty"`
	EntryPoint   string         `json:"entryPoint,omitempty"`
	Class        string         `json:"class,omitempty"`
	Subscription string         `json:"subscriptionId"`
	By           aggregate.By   `json:"attributedBy"`
	At           string         `json:"at"`
	Until        string         `json:"until,omitempty"`
	Open         bool           `json:"open,omitempty"`
	Units        string         `json:"units,omitempty"`
	Delivery     deliveryJSON   `json:"delivery"`
	Others       []deliveryJSON `json:"otherDeliveries"`
}

type deliveryJSON struct {
	schemas.RecordID
	Fate      string `json:"fate"`
	Revision  int32  `json:"revision"`
	Voided    bool   `json:"voided,omitempty"`
	ArrivedAt string `json:"arrivedAt"`
}

func members(from []Member) []memberJSON {
	to := []memberJSON{}
	for _, m := range from {
		to = append(to, memberJSON{m.Subscription, m.Active, m.FirstStart, m.Version.String(), m.Seats, m.Factor, m.Ports, m.Entitled, m.Used, m.Over()})
	}
	return to
}

func evidence(from []aggregate.Evidence) []evidenceJSON {
	to := []evidenceJSON{}
	for i := range from {
		e := &from[i]
		j := evidenceJSON{Source: e.Winner.Source, ID: e.Winner.ID, Type: e.Winner.Type.String(), Agent: e.Winner.Agent, EntryPoint: e.Winner.EntryPoint,
			Class: e.Winner.Class, Subscription: e.To.Subscription, By: e.To.By, At: civil.FormatMillis(e.Winner.OccurredMS()), Others: []deliveryJSON{}}
		if e.Winner.Type == schemas.ConnectUsage {
			j.Units = decimal.New(e.Winner.Quantity, -6).String()
		} else {
			j.Until, j.Open = civil.FormatMillis(e.ToMS), e.Winner.EndMS == schemas.Absent
		}
		for _, d := range e.Deliveries {
			delivery := deliveryJSON{d.RecordID, d.Fate, d.Revision, d.Voided, civil.FormatMillis(d.ArrivedMS)}
			if d.Fate == aggregate.Wins {
				j.Delivery = delivery
			} else {
				j.Others = append(j.Others, delivery)
			}
		}
		to = append(to, j)
	}
	return to
}

func (e *Explanation) linesJSON(from []InvoiceLine) []invoiceLineJSON {
	to := []invoiceLineJSON{}
	for _, l := range from {
		to = append(to, invoiceLineJSON{l.Invoice, l.Line.No, l.Line.Kind, l.Line.Quantity.String(), e.Invoice.Money(l.Line.Amount), l.Line.Note})
	}
	return to
}

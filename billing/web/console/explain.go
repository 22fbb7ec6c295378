package console

import (
	"net/http"
	"strconv"
	"strings"

	"apportion/schemas/civil"
)

// explained is GET /invoices/{invoice}/lines/{line}/explanation.
type explained struct {
	Basis       basis       `json:"basis"`
	Explanation explanation `json:"explanation"`
}

// explanation is how a line came about.
type explanation struct {
	Invoice        invoice         `json:"invoice"`
	Sum            string          `json:"sum"`
	Price          *priceOf        `json:"price"`
	Payer          string          `json:"payer"`
	Commitment     *proration      `json:"commitment"`
	Instant        *instant        `json:"instant"`
	DistinctAgents *distinctAgents `json:"distinctAgents"`
	Connect        *connectUnits   `json:"connect"`
	Adjustment     *corrected      `json:"adjustment"`
	Differences    []string        `json:"differences"`
}

// Line is the line that is explained.
func (e *explanation) Line() invoiceLine { return e.Invoice.Lines[0] }

// Events are those behind the line.
func (e *explanation) Events() []evidence {
	switch {
	case e.Instant != nil:
		return e.Instant.Sessions
	case e.DistinctAgents != nil:
		return e.DistinctAgents.Sessions
	case e.Connect != nil:
		return e.Connect.Events
	}
	return nil
}

// priceOf is the version whose price a line has.
type priceOf struct {
	Version   civil.Date `json:"version"`
	From      civil.Date `json:"from"`
	To        civil.Date `json:"to"`
	List      string     `json:"list"`
	Name      string     `json:"name"`
	UnitPrice string     `json:"unitPrice"`
}

// proration is what a commitment is charged for.
type proration struct {
	Committed int64       `json:"committed"`
	Days      int         `json:"days"`
	MonthDays int         `json:"monthDays"`
	Terms     []term      `json:"terms"`
	Cancelled *civil.Date `json:"cancelled"`
}

// instant is what is live at one, against the pool (R13, R14).
type instant struct {
	At            string       `json:"at"`
	Date          civil.Date   `json:"date"`
	Live          int64        `json:"live"`
	Entitled      int64        `json:"entitled"`
	Subscriptions []poolMember `json:"subscriptions"`
	Sessions      []evidence   `json:"sessions"`
}

// poolMember is the part of a subscription in a pool, and in what is used of it.
type poolMember struct {
	Subscription string      `json:"subscriptionId"`
	Active       bool        `json:"active"`
	FirstStart   civil.Date  `json:"firstStart"`
	Version      *civil.Date `json:"version"`
	Seats        int64       `json:"seats"`
	PortsPerSeat int64       `json:"portsPerSeat"`
	Ports        int64       `json:"ports"`
	Entitled     int64       `json:"entitled"`
	Used         int64       `json:"used"`
	Over         int64       `json:"over"`
}

// distinctAgents are those of a named tenant in a period, against the greatest entitlement (R15).
type distinctAgents struct {
	Agents        int64        `json:"agents"`
	Entitled      int64        `json:"entitled"`
	EntitledOn    civil.Date   `json:"entitledOn"`
	Closing       civil.Date   `json:"closing"`
	Subscriptions []poolMember `json:"subscriptions"`
	Sessions      []evidence   `json:"sessions"`
}

// connectUnits are the units of a Connect line.
type connectUnits struct {
	Days []struct {
		Date   civil.Date `json:"date"`
		Events int64      `json:"events"`
		Units  string     `json:"units"`
	} `json:"days"`
	Events []evidence `json:"events"`
}

// corrected is what an adjustment corrects (R21).
type corrected struct {
	Period   civil.Month    `json:"period"`
	Kind     string         `json:"kind"`
	Issued   []invoiceLine  `json:"issued"`
	Now      []invoiceLine  `json:"now"`
	Quantity pair           `json:"quantity"`
	Amount   pair           `json:"amount"`
	PeakThen *instant       `json:"peakThen"`
	PeakNow  *instant       `json:"peakNow"`
	Events   []changedEvent `json:"events"`
	Commands []command      `json:"commands"`
}

// changedEvent is an event that counts otherwise than before.
type changedEvent struct {
	Cause string    `json:"cause"`
	Then  *evidence `json:"then"`
	Now   evidence  `json:"now"`
}

// evidence is an event as it counts, with its deliveries.
type evidence struct {
	Source       string     `json:"source"`
	ID           string     `json:"id"`
	Type         string     `json:"type"`
	Agent        string     `json:"agent"`
	EntryPoint   string     `json:"entryPoint"`
	Subscription string     `json:"subscriptionId"`
	By           string     `json:"attributedBy"`
	At           string     `json:"at"`
	Until        string     `json:"until"`
	Open         bool       `json:"open"`
	Units        string     `json:"units"`
	Delivery     delivery   `json:"delivery"`
	Others       []delivery `json:"otherDeliveries"`
}

// delivery is one of an event, with what became of it.
type delivery struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Fate      string `json:"fate"`
	Revision  int    `json:"revision"`
	Voided    bool   `json:"voided"`
	ArrivedAt string `json:"arrivedAt"`
}

// Deliveries are all of an event, the winner first.
func (e evidence) Deliveries() []delivery { return append([]delivery{e.Delivery}, e.Others...) }

// Why says what became of a delivery: that it wins, or why not (R8).
func (d delivery) Why() string {
	switch {
	case d.Voided:
		return d.Fate + ", voids the event"
	case d.Fate == "winner":
		return "winner: the highest revision"
	case d.Fate == "superseded":
		return "superseded: another has a higher revision, or a later time at the same"
	case d.Fate == "duplicate":
		return "duplicate: repeats a revision and its content"
	}
	return d.Fate
}

// Attributed says how an event came to a subscription (R10, R11).
func (e evidence) Attributed() string {
	switch e.By {
	case "own":
		return "the event names it"
	case "mapped":
		if e.EntryPoint != "" {
			return "its entry point is mapped to it"
		}
		return "its agent is mapped to it"
	case "primary":
		return "it was the primary"
	}
	return e.By
}

// verification is what came of computing a line again.
type verification struct {
	Equal       bool     `json:"equal"`
	Deliveries  int64    `json:"deliveries"`
	Differences []string `json:"differences"`
}

// eventPage is a part of some events.
type eventPage struct {
	Events          []evidence
	First, Last, Of int
	// Before and After are the addresses of the parts beside it, "" where there is none.
	Before, After string
}

// eventsShown is how many of the events behind a line a page has.
const eventsShown = 200

// eventsOf returns the part of some events that the parameter events asks for: from that one on, counted from 1.
func (p *page) eventsOf(all []evidence) eventPage {
	first, err := strconv.Atoi(p.Query("events"))
	if err != nil || first < 1 || first > len(all) {
		first = 1
	}
	last := min(first-1+eventsShown, len(all))
	shown := eventPage{Events: all[first-1 : last], First: first, Last: last, Of: len(all)}
	if first > 1 {
		shown.Before = p.With("events", formatInt(max(1, first-eventsShown))) + "#deliveries"
	}
	if last < len(all) {
		shown.After = p.With("events", formatInt(last+1)) + "#deliveries"
	}
	return shown
}

// shownLine is a line with how it came about.
type shownLine struct {
	explained
	Line   invoiceLine
	Events eventPage
	// Agents says that it is told who was live, and OfAgents that there is somebody to tell of.
	Agents, OfAgents bool
	// Dates has the units of a Connect line by date, as bars.
	Dates *bars
}

// line shows how a line came about, from its amount down to the deliveries.
func (c *Console) line(p *page) error {
	var shown shownLine
	id, no := p.r.PathValue("invoice"), p.r.PathValue("line")
	if err := p.get(&shown.explained, route("invoices", id, "lines", no)+"/explanation"); err != nil {
		return err
	}
	e := &shown.Explanation
	shown.Line = e.Line()
	if err := p.ofInvoice(e.Invoice.Tenant, e.Invoice.Period); err != nil {
		return err
	}
	if shown.Basis.Issued {
		p.Trail = append(p.Trail, link{id, route("invoices", id)})
	}
	all := e.Events()
	shown.Events = p.eventsOf(all)
	for _, event := range all {
		shown.Agents = shown.Agents || event.Agent != ""
		shown.OfAgents = shown.OfAgents || event.Type == "agent.session"
	}
	if e.Connect != nil {
		shown.Dates = unitsByDate(e.Connect)
	}
	p.Command, p.Styles = "apportion explain "+id+"/"+no, moneyStyles
	return p.show("line", "Line "+no+" of "+id, &shown)
}

// verifyLine has a line computed again from the deliveries and the registry, and changes nothing.
func (c *Console) verifyLine(p *page) error {
	var v verification
	of := route("invoices", p.r.PathValue("invoice"), "lines", p.r.PathValue("line"))
	_, err := p.ask(http.MethodPost, of+"/verify", nil, nil, &v)
	p.Answered = &v
	return err
}

// chargedName names what a meter has charged, as invoices do.
func chargedName(meter string) string {
	switch meter {
	case "agent_standard":
		return "Standard seats"
	case "agent_premium":
		return "Premium seats"
	case "ivr_port":
		return "IVR ports"
	}
	if channel, is := strings.CutPrefix(meter, "connect."); is {
		return "Connect, " + channel
	}
	if addOn, is := strings.CutPrefix(meter, "addon."); is {
		return "Add-on " + addOn
	}
	return meter
}

// liveName names what of a meter is live at once.
func liveName(meter string) string {
	switch meter {
	case "agent_standard":
		return "standard agents"
	case "agent_premium":
		return "premium agents"
	}
	return "IVR calls"
}

package console

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"apportion/schemas/civil"
)

func (c *Console) periodScreens() []screen {
	const ofTenant = "/tenants/{tenant}/periods"
	return []screen{
		{path: "/periods", needs: "listPeriods", show: c.periods, send: c.sendPeriod},
		{path: "/periods/{period}/balance", needs: "getBalance", show: c.balance},
		{path: ofTenant, needs: "listTenantPeriods", show: c.tenantPeriods},
		{path: ofTenant + "/{period}", needs: "listTenantPeriods", show: c.period, send: c.sendPeriod},
		{path: ofTenant + "/{period}/changes", needs: "getDiff", show: c.changesOf},
	}
}

// periodStates are how far a period can be, in the order in which it gets there.
var periodStates = []string{"open", "closing", "due", "held", "stopped", "issued"}

// gridMonths and gridTenants are how many a table of periods has.
const (
	gridMonths  = 12
	gridTenants = 30
)

// periodsPage has periods of tenants: a row for each tenant and a column for each month or, where some are chosen, a
// list.
type periodsPage struct {
	States []string
	Grid   []periodRow
	Months []string
	List   *list[periodState]
	Next   string
	// Earlier and Later are the addresses of the twelve months before and after, "" where there are none.
	Earlier, Later string
	// DuePeriods are the months that can be issued to somebody shown.
	DuePeriods []string
}

// periodRow is a tenant with its months, nil where it has none.
type periodRow struct {
	Tenant, Name string
	Cells        []*periodState
}

// TagOf is the class that sets a state apart, besides its word.
func (s periodState) TagOf() string {
	switch s.State {
	case "issued":
		return "good"
	case "stopped":
		return "bad"
	case "due", "held":
		return "look"
	}
	return ""
}

// periods shows how far the months of tenants are.
func (c *Console) periods(p *page) error {
	shown := &periodsPage{States: periodStates}
	p.Command, p.Styles = "apportion bill status", moneyStyles
	if p.Query("state") != "" || p.Query("code") != "" || p.Query("period") != "" {
		shown.List = &list[periodState]{}
		if err := p.get(shown.List, "/periods", "state", p.Query("state"), "code", p.Query("code"), "from", p.Query("period"),
			"to", p.Query("period"), "after", p.Query("after")); err != nil {
			return err
		}
		shown.Next = shown.List.Next
		shown.due(shown.List.Items)
		return p.show("periods", "Periods", shown)
	}
	var tenants list[tenant]
	if err := p.get(&tenants, "/tenants", "q", p.Query("q"), "after", p.Query("after"),
		"limit", formatInt(gridTenants)); err != nil {
		return err
	}
	shown.Next = tenants.Next
	last := civil.DateOfTime(p.c.Clock().UTC()).Month()
	if to, err := civil.ParseMonth(p.Query("to")); err == nil {
		last = to
		shown.Later = p.With("to", (to + gridMonths).String(), "after", "")
	}
	shown.Earlier = p.With("to", (last - gridMonths).String(), "after", "")
	for m := last - gridMonths + 1; m <= last; m++ {
		shown.Months = append(shown.Months, m.String())
	}
	var ids []string
	for _, t := range tenants.Items {
		ids = append(ids, t.ID)
	}
	if len(ids) > 0 {
		var periods list[periodState]
		if err := p.get(&periods, "/periods", "tenants", strings.Join(ids, ","), "from", shown.Months[0], "to", last.String(),
			"limit", "500"); err != nil {
			return err
		}
		shown.due(periods.Items)
		for _, t := range tenants.Items {
			shown.Grid = append(shown.Grid, rowOf(t, shown.Months, periods.Items))
		}
	}
	return p.show("periods", "Periods", shown)
}

func rowOf(t tenant, months []string, periods []periodState) periodRow {
	row := periodRow{Tenant: t.ID, Name: t.Name}
	for _, month := range months {
		var cell *periodState
		for i := range periods {
			if periods[i].Tenant == t.ID && periods[i].Period == month {
				cell = &periods[i]
			}
		}
		row.Cells = append(row.Cells, cell)
	}
	return row
}

// due notes which months can be issued, the earliest first.
func (s *periodsPage) due(periods []periodState) {
	have := map[string]bool{}
	for i := len(periods) - 1; i >= 0; i-- {
		if month := periods[i].Period; periods[i].State == "due" && !have[month] {
			have[month] = true
			s.DuePeriods = append(s.DuePeriods, month)
		}
	}
}

// issueRun is what was issued, or would be; the tenants that would are in Due.
type issueRun struct {
	Period   string
	Due      *list[periodState]
	Invoices []invoice `json:"invoices"`
	Stopped  []struct {
		Tenant string `json:"tenantId"`
		stop
	} `json:"stopped"`
}

// sendPeriod issues what is due of a month, or holds or releases a period of a tenant.
func (c *Console) sendPeriod(p *page) error {
	form := p.r.PostForm
	period, tenant := p.Form("period", p.r.PathValue("period")), p.Form("tenant", p.r.PathValue("tenant"))
	switch form.Get("what") {
	case "hold", "release":
		method := map[string]string{"hold": http.MethodPut, "release": http.MethodDelete}[form.Get("what")]
		return p.give(method, route("tenants", tenant, "periods", period, "hold"), nil,
			map[string]string{"reason": form.Get("reason")}, p.With())
	}
	run := &issueRun{Period: period}
	if form.Get("do") == "check" {
		run.Due = &list[periodState]{}
		p.Answered = run
		return p.get(run.Due, "/periods", "from", period, "to", period, "state", "due", "tenants", tenant, "limit", "500")
	}
	body := map[string]any{}
	if tenant != "" {
		body["tenants"] = []string{tenant}
	}
	if _, err := p.ask(http.MethodPost, route("periods", period, "issue"), nil, body, run); err != nil {
		return err
	}
	p.Answered = run
	return nil
}

// tenantPeriods lists the months of a tenant.
func (c *Console) tenantPeriods(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	shown := struct {
		list[periodState]
		States []string
	}{States: periodStates}
	if err := p.get(&shown.list, route("tenants", p.Tenant.ID, "periods"), "state", p.Query("state"),
		"after", p.Query("after"), "limit", "24"); err != nil {
		return err
	}
	p.Command, p.Styles = "apportion bill status --tenant "+p.Tenant.ID, moneyStyles
	return p.show("tenant-periods", "Periods", shown)
}

// periodPage is a period of a tenant.
type periodPage struct {
	periodState
	// Issued are its invoices or, where it is not issued, Draft those as they stand.
	Issued []invoiceHead
	Draft  []invoice
	// Stopped is why there is no draft.
	Stopped *problem
	Overage []meterOverage
}

// meterOverage is how what is used of a meter compares with its pool (R15).
type meterOverage struct {
	Meter          string          `json:"meter"`
	Live           int64           `json:"live"`
	Pool           int64           `json:"pool"`
	Excess         int64           `json:"excess"`
	Payer          string          `json:"payer"`
	Why            string          `json:"why"`
	UnitPrice      string          `json:"unitPrice"`
	Amount         string          `json:"amount"`
	Currency       string          `json:"currency"`
	Instant        *instant        `json:"instant"`
	DistinctAgents *distinctAgents `json:"distinctAgents"`
}

// Parts are those of the subscriptions.
func (o meterOverage) Parts() []poolMember {
	switch {
	case o.Instant != nil:
		return o.Instant.Subscriptions
	case o.DistinctAgents != nil:
		return o.DistinctAgents.Subscriptions
	}
	return nil
}

// period shows a period of a tenant: what is issued, or the draft, and its overage.
func (c *Console) period(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	period := p.r.PathValue("period")
	of := route("tenants", p.Tenant.ID, "periods")
	var states list[periodState]
	if err := p.get(&states, of, "from", period, "to", period); err != nil {
		return err
	}
	shown := &periodPage{periodState: periodState{Tenant: p.Tenant.ID, Period: period}}
	if len(states.Items) > 0 {
		shown.periodState = states.Items[0]
	}
	p.Trail = append(p.Trail, link{"Periods", of})
	p.Command, p.Styles = "apportion bill preview --period "+period+" --tenant "+p.Tenant.ID, moneyStyles
	var err error
	switch {
	case shown.State == "issued" && p.May("listInvoices"):
		var issued list[invoiceHead]
		err = p.get(&issued, "/invoices", "tenant", p.Tenant.ID, "period", period, "limit", "500")
		shown.Issued = issued.Items
		p.Command = "apportion bill list --period " + period + " --tenant " + p.Tenant.ID
	case shown.State != "issued" && p.May("getDraft"):
		var draft struct {
			Invoices []invoice `json:"invoices"`
		}
		err = p.get(&draft, of+"/"+period+"/draft")
		shown.Draft = draft.Invoices
	}
	if err = shown.stop(err); err != nil {
		return err
	}
	var overage struct {
		Meters []meterOverage `json:"meters"`
	}
	if err = shown.stop(p.get(&overage, of+"/"+period+"/overage")); err != nil {
		return err
	}
	for _, o := range overage.Meters {
		if o.Live > 0 || o.Pool > 0 {
			shown.Overage = append(shown.Overage, o)
		}
	}
	slices.SortStableFunc(shown.Overage, func(a, b meterOverage) int { return cmp.Compare(b.Excess, a.Excess) })
	return p.show("period", period, shown)
}

// stop keeps what stops the period, which the page shows, and returns any other error.
func (s *periodPage) stop(err error) error {
	var of *problem
	if errors.As(err, &of) && of.Status == http.StatusConflict {
		s.Stopped = of
		return nil
	}
	return err
}

// difference is GET /tenants/{tenant}/periods/{period}/diff.
type difference struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Changes []struct {
		Subscription string  `json:"subscriptionId"`
		Kind         string  `json:"kind"`
		Meter        string  `json:"meter"`
		Quantity     pair    `json:"quantity"`
		Amount       pair    `json:"amount"`
		Currency     string  `json:"currency"`
		Causes       *causes `json:"causes"`
	} `json:"changes"`
	Totals  []pairTotal `json:"totals"`
	Stopped stops       `json:"stopped"`
}

// causes say what made a difference.
type causes struct {
	Late        part           `json:"late"`
	Corrections part           `json:"corrections"`
	Registry    part           `json:"registry"`
	Adjusted    part           `json:"adjusted"`
	Events      []changedEvent `json:"events"`
	Commands    []command      `json:"commands"`
}

type part struct {
	Quantity string `json:"quantity"`
	Amount   string `json:"amount"`
}

// changesOf shows what changed in a period since it was issued, or between two instants.
func (c *Console) changesOf(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	period := p.r.PathValue("period")
	of := route("tenants", p.Tenant.ID, "periods", period)
	p.Trail = append(p.Trail, link{"Periods", route("tenants", p.Tenant.ID, "periods")}, link{period, of})
	p.Command, p.Styles = "apportion bill diff --period "+period+" --tenant "+p.Tenant.ID, moneyStyles
	var d difference
	err := p.get(&d, of+"/diff", "from", p.Query("from"), "to", p.Query("to"))
	var refused *problem
	if errors.As(err, &refused) && (refused.Status == http.StatusConflict || refused.Status == http.StatusBadRequest) {
		p.Refused, err = refused, nil
	}
	if err != nil {
		return err
	}
	return p.show("changes", "What changed in "+period, &d)
}

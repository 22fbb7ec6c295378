package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// explainedText writes for people how a line came about, with so many of the events behind it at the most.
type explainedText struct {
	*service.Explained
	most int
}

// eventsOfEach is how many events are shown of each line of a whole invoice.
const eventsOfEach = 5

// writeExplainedInvoice writes how every line came about, below what they add up to.
func writeExplainedInvoice(w io.Writer, e *service.ExplainedInvoice) {
	i := e.Invoice
	fmt.Fprintf(w, "%s  %s, subscription %s, %s: net %s %s", i.ID, i.Tenant, i.Subscription, i.Period, i.Net, i.Currency)
	if i.Gross != "" {
		fmt.Fprintf(w, ", tax %s, gross %s", i.Tax, i.Gross)
	}
	fmt.Fprint(w, "\n")
	writeBasis(w, e.Basis)
	for _, line := range e.Lines {
		fmt.Fprint(w, "\n")
		r := explainedText{line, eventsOfEach}
		r.writeFigures(w)
		r.writeDifferences(w)
	}
}

// write says how the line came about, and what it is based on.
func (r explainedText) write(w io.Writer) {
	r.writeFigures(w)
	writeBasis(w, r.Basis)
	r.writeDifferences(w)
}

// writeFigures says what the line is, the figures, who pays what price, the deliveries.
func (r explainedText) writeFigures(w io.Writer) {
	e := r.Explanation
	i, l := e.Invoice, e.Line
	state := "issued"
	if !r.Basis.Issued {
		state = "not issued: a preview as of " + r.Basis.Now
	}
	unit := l.Unit
	if !l.Quantity.Equal(decimal.NewFromInt(1)) {
		unit += "s"
	}
	fmt.Fprintf(w, "%s  %s %s: %s %s, %s %s\n",
		billing.LineID(i.ID, l.No), l.Kind, l.Meter, l.Quantity, unit, i.Money(l.Amount), i.Currency)
	fmt.Fprintf(w, "%s, subscription %s, %s to %s, %s\n", i.Tenant, i.Subscription, l.From, l.To, state)
	fmt.Fprintf(w, "%s\n\n", l.Note)
	switch {
	case e.Commitment != nil:
		r.writeCommitment(w)
	case e.Instant != nil:
		r.writeInstant(w)
	case e.DistinctAgents != nil:
		r.writeDistinctAgents(w)
	case e.Connect != nil:
		r.writeConnect(w)
	case e.Adjustment != nil:
		r.writeAdjustment(w)
	}
}

// writeDifferences says where the deliveries do not add up to the line, and what came of recomputing it.
func (r explainedText) writeDifferences(w io.Writer) {
	for _, d := range r.Explanation.Differences {
		fmt.Fprintln(w, "differs:", d)
	}
	if v := r.Verified; v != nil {
		for _, d := range v.Differences {
			fmt.Fprintln(w, "differs, recomputed:", d)
		}
		if v.Equal {
			fmt.Fprintf(w, "Verified: recomputed from the registry and %s, it is equal.\n",
				plural(int(v.Deliveries), "delivery", "deliveries"))
		}
	}
}

// writeMoney says who pays what price, and what it adds up to.
func (r explainedText) writeMoney(w io.Writer) {
	e := r.Explanation
	if e.Payer != "" {
		fmt.Fprintf(w, "Payer   %s\n", e.Payer)
	}
	if p := e.Price; p != nil {
		fmt.Fprintf(w, "Price   %s %s for %s %s, from the version of %s, effective from %s to %s (R18)\n", e.Line.Price(),
			e.Invoice.Currency, p.List, p.Name, p.Version, p.From, p.To)
		fmt.Fprintf(w, "Amount  %s (R19)\n", e.Sum)
	}
	fmt.Fprintln(w)
}

func (r explainedText) writeCommitment(w io.Writer) {
	c := r.Explanation.Commitment
	fmt.Fprintf(w, "Committed  %d, a month\n", c.Committed)
	fmt.Fprintf(w, "Days       active, with this version effective, on %d of the %d days of the month (R3, R18)\n",
		c.Days, c.MonthDays)
	for _, t := range c.Terms {
		fmt.Fprintf(w, "Term       %s to %s\n", t.From, t.To)
	}
	if c.Cancelled != civil.NoDate {
		fmt.Fprintf(w, "Cancelled  as of %s\n", c.Cancelled)
	}
	fmt.Fprintln(w)
	r.writeMoney(w)
}

func (r explainedText) writeInstant(w io.Writer) {
	e, i := r.Explanation, r.Explanation.Instant
	at := fmt.Sprintf("%s, on %s in %s", i.AtMS, i.Date, r.TimeZone)
	if e.Line.Kind == billing.UsageKind {
		fmt.Fprintf(w, "Peak    %d live at once among its own sessions at %s, "+
			"the first time in the period that there were as many (R13, R18)\n\n", i.Live, at)
	} else {
		fmt.Fprintf(w, "Peak    %d live at %s, the first time in the period that the pool was exceeded by as many (R15)\n",
			i.Live, at)
		fmt.Fprintf(w, "Pool    %d, the sum of what is committed to (R14); %d live − %d in the pool = %d\n\n", i.Entitled,
			i.Live, i.Entitled, i.Live-i.Entitled)
	}
	writeMembers(w, i.Members, "LIVE")
	if e.Line.Kind == billing.Overage {
		r.writeMoney(w)
	}
	fmt.Fprintf(w, "%s live then:\n\n", plural(len(i.Sessions), "session", "sessions"))
	writeEvidence(w, i.Sessions, r.most)
}

// writeMembers writes a row for each subscription: what it brings to the pool and what it used.
func writeMembers(w io.Writer, members []billing.Member, used string) {
	header := []string{"SUBSCRIPTION", "SINCE", "VERSION", "COMMITTED"}
	if used != "" {
		header = append(header, used, "AGAINST ITS OWN")
	}
	var rows [][]string
	for _, m := range members {
		committed := strconv.FormatInt(m.Entitled, 10)
		if m.PortsPerSeat > 0 {
			committed = fmt.Sprintf("%d × %d seats + %d = %d", m.PortsPerSeat, m.Seats, m.Ports, m.Entitled)
		}
		if !m.Active {
			committed = "not active"
		}
		row := []string{m.Subscription, m.FirstStart.String(), m.Version.String(), committed}
		if used != "" {
			row = append(row, strconv.FormatInt(m.Used, 10), against(m.Over))
		}
		rows = append(rows, row)
	}
	writeTable(w, header, rows, 4, 5)
	fmt.Fprintln(w)
}

func against(over int64) string {
	switch {
	case over > 0:
		return fmt.Sprintf("%d over", over)
	case over < 0:
		return fmt.Sprintf("%d under", -over)
	}
	return "level"
}

func (r explainedText) writeDistinctAgents(w io.Writer) {
	e, h := r.Explanation, r.Explanation.DistinctAgents
	n := len(h.Sessions)
	fmt.Fprintf(w, "Agents  %d distinct, with a session that starts in the period (R15)\n", n)
	if e.Line.Kind == billing.Overage {
		fmt.Fprintf(w, "Pool    %d at the most, first on %s (R14); %d agents − %d in the pool = %d\n\n", h.Entitled,
			h.EntitledOn, n, h.Entitled, int64(n)-h.Entitled)
		writeMembers(w, h.Members, "")
		r.writeMoney(w)
	} else {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "A session of each:\n\n")
	writeEvidence(w, h.Sessions, r.most)
}

// connectEvents is how many Connect events are shown one by one.
const connectEvents = 10

func (r explainedText) writeConnect(w io.Writer) {
	c := r.Explanation.Connect
	r.writeMoney(w)
	var rows [][]string
	for _, d := range c.Days {
		rows = append(rows, []string{d.Date.String(), strconv.FormatInt(d.Events, 10), d.Units.String()})
	}
	rows = append(rows, []string{"total", strconv.Itoa(len(c.Events)), r.Explanation.Line.Quantity.String()})
	writeTable(w, []string{"DATE", "EVENTS", "UNITS"}, rows, 2, 3)
	fmt.Fprintln(w)
	writeEvidence(w, c.Events, min(r.most, connectEvents))
}

func (r explainedText) writeAdjustment(w io.Writer) {
	e, c := r.Explanation, r.Explanation.Adjustment
	fmt.Fprintf(w, "Corrects %s %s of %s (R21)\n\n", c.Kind, e.Line.Meter, c.Period)
	var rows [][]string
	add := func(what string, lines []billing.InvoiceLine) {
		for _, l := range lines {
			name := billing.LineID(l.Invoice.ID, l.Line.No)
			if what == "now" {
				name = ""
			}
			rows = append(rows, []string{what, name, string(l.Line.Kind), l.Line.Quantity.String(),
				e.Invoice.Money(l.Line.Amount), l.Line.Note})
		}
	}
	add("issued", c.Issued)
	rows = append(rows, []string{"issued", "so far", "", c.Quantity.Before.String(), e.Invoice.Money(c.Amount.Before), ""})
	add("now", c.Now)
	rows = append(rows, []string{"now", "adds up to", "", c.Quantity.After.String(), e.Invoice.Money(c.Amount.After), ""})
	rows = append(rows, []string{"", "difference", "", signed(c.Quantity.Difference(), decimal.Decimal.String),
		signed(c.Amount.Difference(), e.Invoice.Money), ""})
	writeTable(w, []string{"", "LINE", "KIND", "QUANTITY", "AMOUNT", "NOTE"}, rows, 4, 5)
	fmt.Fprintln(w)
	r.writePeaks(w)
	r.writeChanged(w)
}

// writePeaks says what an overage was at its peak when it was issued, and what it is at its peak now.
func (r explainedText) writePeaks(w io.Writer) {
	c := r.Explanation.Adjustment
	if c.Kind != billing.Overage || c.PeakThen == nil && c.PeakNow == nil {
		return
	}
	for _, side := range []struct {
		when string
		peak *billing.Instant
	}{{"Then", c.PeakThen}, {"Now", c.PeakNow}} {
		if side.peak == nil {
			fmt.Fprintf(w, "%-4s  no overage of this subscription\n", side.when)
			continue
		}
		var members []string
		for _, m := range side.peak.Members {
			members = append(members, fmt.Sprintf("%s %d", m.Subscription, m.Entitled))
		}
		fmt.Fprintf(w, "%-4s  %d live at %s (R15), %d in the pool: %s (R14)\n", side.when, side.peak.Live, side.peak.AtMS,
			side.peak.Entitled, strings.Join(members, ", "))
	}
	fmt.Fprintln(w)
}

// writeChanged names what came since the tenant's issue before, and made the difference.
func (r explainedText) writeChanged(w io.Writer) {
	c := r.Explanation.Adjustment
	if len(c.Events) > 0 {
		fmt.Fprintf(w, "Since the issue before %s came late and %s corrected, which makes the difference:\n\n",
			plural(c.Reason.Late, "event", "events"), plural(c.Reason.Corrected, "was", "were"))
		writeChangedEvents(w, c.Events, r.most)
	} else if c.Kind != billing.Commitment {
		fmt.Fprintf(w, "No delivery since the issue before makes a difference.\n\n")
	}
	writeCommands(w, r.Explanation.Invoice.Tenant, c.Commands)
}

// writeCommands says which commands changed a tenant's document since, and what.
func writeCommands(w io.Writer, tenant string, commands []registry.Change) {
	if len(commands) == 0 {
		return
	}
	fmt.Fprintf(w, "%s changed %s since:\n\n", plural(len(commands), "registry command", "registry commands"), tenant)
	for _, command := range commands {
		fmt.Fprintln(w, changeText(command))
		for _, line := range command.Changes {
			fmt.Fprintln(w, " ", line)
		}
	}
	fmt.Fprintln(w)
}

// changeText says which command a change was, when, and who gave it.
func changeText(c registry.Change) string {
	text := fmt.Sprintf("%s at offset %d, %s", c.Command, c.Offset, c.ArrivedAt)
	if c.By.ID != "" {
		text += ", by " + escape(c.By.ID)
	}
	return text
}

// writeChangedEvents writes a row for each late event, and for one that was corrected a row as it was, too.
func writeChangedEvents(w io.Writer, events []billing.ChangedEvent, most int) {
	connect := events[0].Now.Winner.Type == schemas.ConnectUsage
	var rows [][]string
	row := func(what string, e *aggregate.Evidence) {
		at, until := civil.FormatMillis(e.FromMS), civil.FormatMillis(e.ToMS)
		who := escape(e.Winner.Agent + e.Winner.EntryPoint)
		if connect {
			at, until, who = civil.FormatMillis(e.Winner.TimeMS), "", decimal.New(e.Winner.Quantity, -6).String()
		}
		switch {
		case e.Winner.Voided:
			what += ", voided"
		case !e.Counts():
			what += ", unallocated"
		}
		record, _ := places(e)
		event := escape(strings.TrimSuffix(e.Winner.Source, "/") + "/" + e.Winner.ID)
		rows = append(rows, []string{what, who, at, until, e.To.Subscription, event, record})
	}
	for n := range events[:min(len(events), most)] {
		if events[n].Late {
			row("late", &events[n].Now)
			continue
		}
		row("before", &events[n].Then)
		row("corrected", &events[n].Now)
	}
	header := []string{"", "WHO", "FROM", "TO", "SUBSCRIPTION", "EVENT", "DELIVERY"}
	if connect {
		header = []string{"", "UNITS", "AT", "", "SUBSCRIPTION", "EVENT", "DELIVERY"}
	}
	writeTable(w, header, rows)
	if more := len(events) - most; more > 0 {
		fmt.Fprintf(w, "and %d more; --json has all %d with their deliveries\n", more, len(events))
	}
	fmt.Fprintln(w)
}

// writeEvidence writes a row for each event: who, when, where it went and why, and where its deliveries stand.
func writeEvidence(w io.Writer, events []aggregate.Evidence, most int) {
	var rows [][]string
	connect := len(events) > 0 && events[0].Winner.Type == schemas.ConnectUsage
	for n := range events[:min(len(events), most)] {
		e := &events[n]
		event := escape(strings.TrimSuffix(e.Winner.Source, "/") + "/" + e.Winner.ID)
		place, others := places(e)
		if connect {
			rows = append(rows, []string{decimal.New(e.Winner.Quantity, -6).String(), civil.FormatMillis(e.Winner.TimeMS),
				event, place, others})
			continue
		}
		until := civil.FormatMillis(e.ToMS)
		if e.Winner.EndMS == schemas.Absent {
			until += " open"
		}
		rows = append(rows, []string{escape(e.Winner.Agent + e.Winner.EntryPoint), civil.FormatMillis(e.FromMS), until,
			e.To.Subscription, string(e.To.By), event, place, others})
	}
	header := []string{"WHO", "FROM", "TO", "SUBSCRIPTION", "BY", "EVENT", "DELIVERY", "OTHER DELIVERIES"}
	if connect {
		header = []string{"UNITS", "AT", "EVENT", "DELIVERY", "OTHER DELIVERIES"}
	}
	if len(rows) > 0 {
		writeTable(w, header, rows)
	}
	if more := len(events) - len(rows); more > 0 {
		fmt.Fprintf(w, "and %d more; --json has all %d with their deliveries\n", more, len(events))
	}
	fmt.Fprintln(w)
}

// places says where the winner stands, and each of the other deliveries with its fate; of those in the same
// partition the offset is enough.
func places(e *aggregate.Evidence) (winner, others string) {
	var won schemas.RecordID
	for _, d := range e.Deliveries {
		if d.Fate == aggregate.Wins {
			won = d.RecordID
		}
	}
	var rest []string
	for _, d := range e.Deliveries {
		at := fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Offset)
		if d.RecordID == won {
			winner = at
			continue
		}
		if d.Topic == won.Topic && d.Partition == won.Partition {
			at = strconv.FormatInt(d.Offset, 10)
		}
		rest = append(rest, d.Fate+" "+at)
	}
	return winner, strings.Join(rest, ", ")
}

// writeBasis says what a line is based on.
func writeBasis(w io.Writer, basis service.Basis) {
	var ends []string
	for _, p := range basis.Positions {
		ends = append(ends, fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.LastOffset))
	}
	fmt.Fprintf(w, "Based on the registry before offset %d and the deliveries up to %s.\n",
		basis.RegistryOffset, strings.Join(ends, ", "))
}

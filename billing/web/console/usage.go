package console

import (
	"net/http"
	"slices"
	"strings"

	"apportion/schemas/civil"
)

// concurrency is that of a tenant, as GET /tenants/{tenant}/concurrency has it.
type concurrency struct {
	Meter  string     `json:"meter"`
	From   civil.Date `json:"from"`
	To     civil.Date `json:"to"`
	StepMS int64      `json:"stepMs"`
	Series []series   `json:"series"`
}

// series is the concurrency of the tenant as a whole, or of a subscription.
type series struct {
	Subscription string  `json:"subscriptionId"`
	Department   string  `json:"department"`
	Peak         *poolAt `json:"peak"`
	Over         *poolAt `json:"over"`
	// Points have the beginning of a step in UTC epoch milliseconds, the greatest concurrency in it, and the pool then.
	Points [][3]int64 `json:"points"`
}

// poolAt is a concurrency at an instant, with the pool then.
type poolAt struct {
	At   string `json:"at"`
	Live int64  `json:"live"`
	Pool int64  `json:"pool"`
}

// dayPeak is the peak of a date, as GET /tenants/{tenant}/usage has it.
type dayPeak struct {
	Date         civil.Date `json:"date"`
	Subscription string     `json:"subscriptionId"`
	Peak         int64      `json:"peak"`
	PeakAt       string     `json:"peakAt"`
	Entitled     int64      `json:"entitled"`
}

// meters are those that have a pool, with what they count, in the order in which they are offered.
var meters = []struct{ Meter, Name string }{
	{"agent_standard", "Agents, standard"}, {"agent_premium", "Agents, premium"}, {"ivr_port", "IVR ports"},
}

// meterPlace is the place of a meter among them, -1 of another.
func meterPlace(meter string) int {
	for i, m := range meters {
		if m.Meter == meter {
			return i
		}
	}
	return -1
}

// meterName says what a meter counts.
func meterName(meter string) string {
	if i := meterPlace(meter); i >= 0 {
		return meters[i].Name
	}
	return meter
}

// stepsFor are how long steps are by how many dates there are, so that the page stays quick: each step shows the
// greatest concurrency in it, and no peak is lost.
var stepsFor = []struct {
	dates int
	step  string
}{{1, "1m"}, {3, "5m"}, {7, "10m"}, {14, "15m"}, {31, "30m"}}

// StepText says how long a step is.
func (u usagePage) StepText() string {
	if u.Step == "1m" {
		return "a minute"
	}
	return strings.TrimSuffix(u.Step, "m") + " minutes"
}

// usagePage is the concurrency of a tenant over some dates.
type usagePage struct {
	Meter    string
	From, To civil.Date
	By       string
	Step     string
	Whole    series
	Plot     *plot // nil where nothing has been yet
	Rows     []usageRow
	Parts    []series // by subscription
	Strip    *strip
	// Data is where a script finds the same by the minute.
	Data string
}

// Days is how many dates there are.
func (u usagePage) Days() int { return int(u.To - u.From) }

// Dates names the dates.
func (u usagePage) Dates() string {
	first, last := u.From.Time(), u.To.Add(-1).Time()
	switch {
	case u.Days() == 1:
		return first.Format("Monday 2 January 2006")
	case u.From.Month() == u.To.Add(-1).Month():
		return first.Format("2") + " to " + last.Format("2 January 2006")
	}
	return first.Format("2 January 2006") + " to " + last.Format("2 January 2006")
}

// usageRow is a stretch of steps with the same figures.
type usageRow struct {
	From, To string // instants
	Live     int64
	Pool     int64
	Parts    []int64 // by subscription
}

// usageDates are the dates that the page shows: those of its address, or else the tenant's present one.
func (p *page) usageDates() (from, to civil.Date, err error) {
	from = p.Tenant.Date
	for _, date := range []struct {
		name string
		to   *civil.Date
	}{{"from", &from}, {"to", &to}} {
		to = from + 1
		if text := p.Query(date.name); text != "" {
			if *date.to, err = civil.ParseDate(text); err != nil {
				return from, to, &problem{Status: http.StatusBadRequest, Title: "No such date", Detail: err.Error()}
			}
		}
	}
	return from, to, nil
}

// usage is the concurrency of a tenant against its pool.
func (c *Console) usage(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	from, to, err := p.usageDates()
	if err != nil {
		return err
	}
	shown := usagePage{Meter: p.Query("meter"), From: from, To: to, By: p.Query("by"), Step: "30m"}
	if shown.Meter == "" {
		shown.Meter = meters[0].Meter
	}
	for _, s := range slices.Backward(stepsFor) {
		if shown.Days() <= s.dates {
			shown.Step = s.step
		}
	}
	ask := []string{"from", from.String(), "to", to.String(), "meter", shown.Meter, "step", shown.Step}
	target := route("tenants", p.Tenant.ID, "concurrency")
	var whole, parts concurrency
	if err := p.get(&whole, target, ask...); err != nil {
		return err
	}
	shown.Whole = whole.Series[0]
	if shown.By == "subscription" {
		if err := p.get(&parts, target, append(ask, "by", "subscription")...); err != nil {
			return err
		}
		shown.Parts = parts.Series
	}
	if len(shown.Whole.Points) > 0 {
		shown.Plot = p.newPlot(plotOf{Series: shown.Whole, Parts: shown.Parts, From: from, To: to, StepMS: whole.StepMS,
			Height: 320})
		shown.Rows = rowsOf(shown.Whole, shown.Parts, whole.StepMS)
	}
	if shown.Strip, err = p.newStrip(shown.Meter, from, to); err != nil {
		return err
	}
	shown.Data = prefix + target + "?" +
		query("from", from.String(), "to", to.String(), "meter", shown.Meter, "step", "1m")
	p.Scripts = []string{"vendor/uPlot.iife.min.js", "usage.js"}
	p.Styles = []string{"vendor/uPlot.min.css"}
	p.Trail = append(p.Trail, link{"Monitoring", route("tenants", p.Tenant.ID, "live")})
	return p.show("usage", "Usage", shown)
}

// rowsOf are the figures of a chart, steps with the same ones as one row.
func rowsOf(whole series, parts []series, stepMS int64) (rows []usageRow) {
	for i, point := range whole.Points {
		to := point[0] + stepMS
		if i+1 < len(whole.Points) {
			to = whole.Points[i+1][0]
		}
		row := usageRow{From: civil.FormatMillis(point[0]), To: civil.FormatMillis(to), Live: point[1], Pool: point[2]}
		for _, part := range parts {
			if i < len(part.Points) {
				row.Parts = append(row.Parts, part.Points[i][1])
			}
		}
		if n := len(rows); n > 0 && rows[n-1].Live == row.Live && rows[n-1].Pool == row.Pool &&
			slices.Equal(rows[n-1].Parts, row.Parts) {
			rows[n-1].To = row.To
			continue
		}
		rows = append(rows, row)
	}
	return rows
}

// strip is the peak of each date of a month.
type strip struct {
	Month                    civil.Month
	Before, After            string // the first dates of the months beside it
	Days                     []stripDay
	Width, Height, Base, Bar int
}

// stripDay is the peak of a date: its bar from Y down to the base of the strip, the pool at PoolY.
type stripDay struct {
	dayPeak
	Day                      string
	Shown                    bool // it is among the dates of the page
	Over                     bool
	X, Width, Y, PoolY, Mid  int
	Height, ExcessH, Outline int
}

const (
	stripHeight = 84
	stripBase   = 66
	stripTop    = 16
)

// newStrip draws the peaks of the month that the dates begin in.
func (p *page) newStrip(meter string, from, to civil.Date) (*strip, error) {
	month := from.Month()
	s := &strip{Month: month, Before: (month - 1).First().String(), After: month.Next().First().String(),
		Width: chartWidth, Height: stripHeight, Base: stripBase, Bar: chartWidth / month.Days()}
	for d := month.First(); d < month.Next().First(); d++ {
		n := int(d - month.First())
		s.Days = append(s.Days, stripDay{dayPeak: dayPeak{Date: d}, Day: d.Time().Format("2"), Shown: from <= d && d < to,
			X: n*s.Bar + 4, Width: s.Bar - 8, Mid: n*s.Bar + s.Bar/2, Y: stripBase, PoolY: stripBase, Outline: n * s.Bar})
	}
	greatest := int64(1)
	for after := ""; ; {
		var list struct {
			Items []dayPeak `json:"items"`
			Next  string    `json:"next"`
		}
		if err := p.get(&list, route("tenants", p.Tenant.ID, "usage"), "from", month.First().String(),
			"to", month.Next().First().String(), "meter", meter, "limit", "500", "after", after); err != nil {
			return nil, err
		}
		for _, peak := range list.Items {
			if peak.Subscription == "" {
				s.Days[peak.Date-month.First()].dayPeak = peak
				greatest = max(greatest, peak.Peak, peak.Entitled)
			}
		}
		if after = list.Next; after == "" {
			break
		}
	}
	height := scale{0, greatest, stripBase, stripTop}
	for i := range s.Days {
		d := &s.Days[i]
		d.Y, d.PoolY, d.Over = height.at(d.Peak), height.at(d.Entitled), d.Peak > d.Entitled
		d.Height = stripBase - d.Y
		if d.Over {
			d.ExcessH = d.PoolY - d.Y
		}
	}
	return s, nil
}

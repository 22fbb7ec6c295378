package console

import (
	"cmp"
	"slices"

	"apportion/schemas/civil"
)

// timelineStep is what holds of a tenant in the dates of [From, To).
type timelineStep struct {
	From    civil.Date                  `json:"from"`
	To      *civil.Date                 `json:"to"` // nil: it goes on
	Primary string                      `json:"primary"`
	Payers  map[string]string           `json:"payers"`
	Active  []string                    `json:"active"`
	Pool    map[string]int64            `json:"pool"`
	Shares  map[string]map[string]int64 `json:"shares"`
}

// Has reports whether a date is in the step.
func (s timelineStep) Has(d civil.Date) bool { return s.From <= d && (s.To == nil || d < *s.To) }

// timelineChart draws a tenant's subscriptions over their terms, who is the primary, and the pool.
type timelineChart struct {
	Width, Height, Left, Right int
	From, To                   civil.Date
	Marks                      []mark
	Today                      int // where the date of the page is; 0: it is outside
	Foot                       int // where marks of dates are written
	Ribbon                     []timelineBar
	Rows                       []timelineRow
	Meters                     []meterChart
}

// timelineBar is a stretch of dates.
type timelineBar struct {
	X, Width, Middle int
	Text             string
	Title            string
	// Ended says that the subscription was cancelled before.
	Ended bool
}

// timelineRow is a subscription.
type timelineRow struct {
	ID, Class string
	Y, Middle int
	Bars      []timelineBar
	Versions  []mark
}

// meterChart is the pool of a meter as a step line, with what each subscription brings to it.
type meterChart struct {
	Meter       string
	Top, Bottom int
	Values      []mark
	Areas       []meterArea
	Line        string
}

// meterArea is what a subscription brings to a pool. Its id is written where there is the most room; X is 0 where there
// is not enough.
type meterArea struct {
	Class, Path, ID string
	X, Y            int
}

// The heights of a timeline's parts.
const (
	timelineLeft   = 176
	timelineRight  = 28
	ribbonTop      = 24
	ribbonHeight   = 18
	rowHeight      = 30
	barHeight      = 16
	meterHeight    = 84
	meterGap       = 30
	leastLabelled  = 44
	leastHigh      = 14
	leastApart     = 84
	pooledMeterGap = 18
)

// timeline draws the subscriptions of a tenant, and the steps of what holds of it.
func (t *tenant) timeline(steps []timelineStep) *timelineChart {
	subscriptions := t.inOrder()
	c := &timelineChart{Width: chartWidth, Left: timelineLeft, Right: chartWidth - timelineRight}
	for _, s := range subscriptions {
		for _, term := range s.Terms {
			if c.To == 0 {
				c.From, c.To = term.From, term.To
			}
			c.From, c.To = min(c.From, term.From), max(c.To, term.To)
		}
	}
	if c.To <= c.From {
		return nil
	}
	x := scale{int64(c.From), int64(c.To), c.Left, c.Right}
	at := func(d civil.Date) int { return x.at(int64(d)) }
	bar := func(from, to civil.Date, text, title string) timelineBar {
		b := timelineBar{X: at(from), Width: max(1, at(to)-at(from)), Title: title}
		if b.Middle = b.X + b.Width/2; b.Width >= leastLabelled+6*len(text) {
			b.Text = text
		}
		return b
	}
	c.Marks = apart(dateMarks(x), leastApart)
	if t.Date >= c.From && t.Date < c.To {
		c.Today = at(t.Date)
	}
	for i := 0; i < len(steps); i++ {
		from, to := steps[i].From, c.To
		for ; i+1 < len(steps) && steps[i+1].Primary == steps[i].Primary; i++ { // one bar for as long as it is one
		}
		if steps[i].To != nil {
			to = *steps[i].To
		}
		if primary := steps[i].Primary; primary != "" {
			c.Ribbon = append(c.Ribbon, bar(from, to, primary, primary+" is the primary from "+from.String()+" to "+to.String()))
		}
	}
	y := ribbonTop + ribbonHeight + 14
	for n, s := range subscriptions {
		row := timelineRow{ID: s.ID, Class: hue(n), Y: y, Middle: y + barHeight - 4}
		for _, term := range s.Terms {
			to := term.To
			if s.Cancelled != nil && *s.Cancelled < to {
				to = max(term.From, *s.Cancelled)
				ended := bar(to, term.To, "", s.ID+" was cancelled from "+s.Cancelled.String()+" on")
				ended.Ended = true
				row.Bars = append(row.Bars, ended)
			}
			if to > term.From {
				row.Bars = append(row.Bars, bar(term.From, to, "", s.ID+": term from "+term.From.String()+" to "+term.To.String()))
			}
		}
		for _, v := range s.Versions {
			if v.From >= c.From && v.From < c.To {
				row.Versions = append(row.Versions, mark{at(v.From), s.ID + ": version from " + v.From.String()})
			}
		}
		c.Rows = append(c.Rows, row)
		y += rowHeight
	}
	c.Foot = y + 12
	y += meterGap + 12
	for _, meter := range pooled(steps) {
		m := drawMeter(meter, steps, subscriptions, c, y, at)
		c.Meters = append(c.Meters, m)
		y = m.Bottom + pooledMeterGap + meterGap
	}
	c.Height = y - pooledMeterGap
	return c
}

// apart returns those of some marks that are so far from one another that what is written at them can be read.
func apart(marks []mark, least int) (some []mark) {
	for _, m := range marks {
		if len(some) == 0 || m.At-some[len(some)-1].At >= least {
			some = append(some, m)
		}
	}
	return some
}

// inOrder returns the subscriptions of a tenant by the beginning of their first terms.
func (t *tenant) inOrder() []subscription {
	if t.Document == nil {
		return nil
	}
	return slices.SortedFunc(slices.Values(t.Document.Subscriptions), func(a, b subscription) int {
		return cmp.Or(cmp.Compare(a.Begins(), b.Begins()), cmp.Compare(a.ID, b.ID))
	})
}

// Begins is when the first term of a subscription begins, by which it is older or younger than others (R4).
func (s *subscription) Begins() civil.Date {
	begins := civil.NoDate
	for _, t := range s.Terms {
		if begins == civil.NoDate || t.From < begins {
			begins = t.From
		}
	}
	return begins
}

// pooled are the meters of which there is ever a pool, in order.
func pooled(steps []timelineStep) (meters []string) {
	for _, s := range steps {
		for meter, n := range s.Pool {
			if n > 0 && !slices.Contains(meters, meter) {
				meters = append(meters, meter)
			}
		}
	}
	slices.Sort(meters)
	return meters
}

// drawMeter draws the pool of a meter below a place: what subscriptions bring stacked upon one another, the oldest at
// the bottom.
func drawMeter(meter string, steps []timelineStep, subscriptions []subscription, c *timelineChart, top int,
	at func(civil.Date) int) meterChart {
	m := meterChart{Meter: meter, Top: top, Bottom: top + meterHeight}
	greatest := int64(0)
	for _, s := range steps {
		greatest = max(greatest, s.Pool[meter])
	}
	values := ticks(greatest)
	y := scale{0, values[len(values)-1], m.Bottom, m.Top}
	if len(values) > 4 { // few fit
		values = []int64{0, values[len(values)/2], values[len(values)-1]}
	}
	m.Values = valueMarks(y, values)
	below := make([]int64, len(steps))
	for n, s := range subscriptions {
		var o outline
		area, room := meterArea{Class: hue(n), ID: s.ID}, leastLabelled
		for i, step := range steps {
			share := step.Shares[s.ID][meter]
			if share > 0 {
				to := c.To
				if step.To != nil {
					to = *step.To
				}
				x, right := at(step.From), at(to)
				low, high := y.at(below[i]), y.at(below[i]+share)
				// Each step is an area of its own, which the next adjoins.
				var around outline
				around.move(x, low)
				around.move(x, high)
				around.move(right, high)
				around.move(right, low)
				o.WriteString(around.String() + "Z")
				if right-x >= room && low-high >= leastHigh {
					room, area.X, area.Y = right-x, (x+right)/2, (low+high)/2+4
				}
			}
			below[i] += share
		}
		if o.Len() > 0 {
			area.Path = o.String()
			m.Areas = append(m.Areas, area)
		}
	}
	var line outline
	last := m.Bottom
	for i, step := range steps {
		height := y.at(step.Pool[meter])
		if i == 0 {
			line.move(at(step.From), m.Bottom)
		}
		line.step(at(step.From), height, last)
		last = height
	}
	line.move(c.Right, last)
	m.Line = line.String()
	return m
}

// FootText is where the marks of dates are written.
func (c *timelineChart) FootText() int { return c.Foot + 12 }

// LabelX is where the values of an axis end.
func (c *timelineChart) LabelX() int { return c.Left - 6 }

// TextY is where a meter's name is written.
func (m meterChart) TextY() int { return m.Top + 12 }

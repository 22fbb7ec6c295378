package console

import (
	"strconv"
	"strings"

	"apportion/schemas/civil"
)

// poolPoint is a stretch of time with the greatest concurrency in it, and the pool.
type poolPoint struct {
	At       string `json:"at"`
	Live     int64  `json:"live"`
	Entitled int64  `json:"entitled"`
}

// poolChart is the concurrency of a tenant around a peak against the pool, the excess filled.
type poolChart struct {
	Width, Height, Left, Right, Top, Bottom int
	Live, Area, Pool                        string
	Excess                                  []box
	Values, Times                           []mark
	// PeakX and PeakY are where the peak is, and PeakText what is written there; Flip says that it is to the left of it.
	PeakX, PeakY int
	Flip         bool
	PeakLive     int64
	PeakPool     int64
	PeakAt       string
	Date         string
	Points       []poolPoint
}

// box is a rectangle.
type box struct{ X, Y, W, H int }

// poolChartOf draws a line's picture, nil where it has none.
func poolChartOf(l invoiceLine, zone *civil.Zone) *poolChart {
	if len(l.Pool) < 2 || zone == nil {
		return nil
	}
	c := &poolChart{Width: chartWidth, Height: 240, Left: 44, Right: chartWidth - 12, Top: 26, Bottom: 212,
		PeakAt: l.PeakAt, Points: l.Pool}
	at := make([]int64, len(l.Pool))
	greatest := int64(1)
	for i, p := range l.Pool {
		at[i], _ = civil.ParseInstant(p.At)
		greatest = max(greatest, p.Live, p.Entitled)
	}
	values := ticks(greatest)
	across := scale{at[0], at[len(at)-1] + at[1] - at[0], c.Left, c.Right}
	up := scale{0, values[len(values)-1], c.Bottom, c.Top}
	c.Values = valueMarks(up, values)
	var live, pool outline
	peak, _ := civil.ParseInstant(l.PeakAt)
	lastLive, lastPool := 0, 0
	for i, p := range l.Pool {
		x, next := across.at(at[i]), c.Right
		if i+1 < len(at) {
			next = across.at(at[i+1])
		}
		y, level := up.at(p.Live), up.at(p.Entitled)
		live.step(x, y, lastLive)
		pool.step(x, level, lastPool)
		if p.Live > p.Entitled {
			c.Excess = append(c.Excess, box{x, y, max(1, next-x), level - y})
		}
		if at[i] <= peak && peak <= at[i]+at[1]-at[0] && (c.PeakX == 0 || p.Live > c.PeakLive) {
			c.PeakX, c.PeakY, c.PeakLive, c.PeakPool = across.at(peak), y, p.Live, p.Entitled
		}
		lastLive, lastPool = y, level
		if local := zone.Time(at[i]); local.Minute() == 0 && local.Hour()%3 == 0 {
			c.Times = append(c.Times, mark{x, local.Format("15:04")})
		}
	}
	live.move(c.Right, lastLive)
	pool.move(c.Right, lastPool)
	c.Live, c.Pool = live.String(), pool.String()
	c.Area = c.Live + "V" + strconv.Itoa(c.Bottom) + "H" + strconv.Itoa(c.Left) + "Z"
	c.Flip = c.PeakX > c.Width*2/3
	c.Date = zone.Time(peak).Format("2 January 2006")
	return c
}

// Points of a table are those that differ from the one before.
func (c *poolChart) Steps() (steps []poolPoint) {
	for i, p := range c.Points {
		if i == 0 || p.Live != c.Points[i-1].Live || p.Entitled != c.Points[i-1].Entitled {
			steps = append(steps, p)
		}
	}
	return steps
}

// memberChart is what each subscription used of what it commits to itself.
type memberChart struct {
	Width, Height int
	Rows          []poolRow
}

type poolRow struct {
	poolMember
	Name string
	// Label is the baseline of the words, and Top where the bar begins, which is Bar high: Own wide to the own commitment,
	// and Over beyond it. Frame is how wide the commitment is.
	Label, Top, Bar, Own, Over, Frame int
	Hue                               string
}

// memberWidth is narrow, so that words stay readable on a telephone.
const memberWidth = 480

// memberChartOf draws the parts of subscriptions, which have names by their ids; nil where there are none.
func memberChartOf(members []poolMember, t *tenant) *memberChart {
	greatest := int64(1)
	for _, m := range members {
		greatest = max(greatest, m.Used, m.Entitled)
	}
	c := &memberChart{Width: memberWidth}
	across := scale{0, greatest, 0, memberWidth - 2}
	for n, m := range members {
		row := poolRow{poolMember: m, Label: 16 + n*48, Top: 24 + n*48, Bar: 16, Frame: across.at(m.Entitled), Hue: hue(n)}
		row.Own = min(across.at(m.Used), row.Frame)
		row.Over = across.at(m.Used) - row.Own
		if s := t.Subscription(m.Subscription); s != nil {
			row.Name = s.Name
		}
		c.Rows = append(c.Rows, row)
	}
	if c.Height = len(members)*48 + 4; len(members) == 0 {
		return nil
	}
	return c
}

// bars are amounts by date.
type bars struct {
	Width, Height, Bottom int
	Bars                  []bar
	Values                []mark
	Left                  int
}

type bar struct {
	box
	Date  civil.Date
	Value string
}

// unitsByDate draws the units of a Connect line.
func unitsByDate(of *connectUnits) *bars {
	if len(of.Days) == 0 {
		return nil
	}
	first, last := of.Days[0].Date, of.Days[len(of.Days)-1].Date
	greatest := int64(1)
	for _, d := range of.Days {
		greatest = max(greatest, wholePart(d.Units))
	}
	c := &bars{Width: chartWidth, Height: 160, Bottom: 136, Left: 60}
	values := ticks(greatest)
	across := scale{int64(first), int64(last) + 1, c.Left, chartWidth - 4}
	up := scale{0, values[len(values)-1], c.Bottom, 10}
	c.Values = valueMarks(up, values)
	for _, d := range of.Days {
		x, next, y := across.at(int64(d.Date)), across.at(int64(d.Date)+1), up.at(wholePart(d.Units))
		c.Bars = append(c.Bars, bar{box{x + 1, y, min(40, max(1, next-x-2)), c.Bottom - y}, d.Date, d.Units})
	}
	return c
}

// Dates are marks below the bars.
func (c *bars) Dates() (marks []mark) {
	for n, b := range c.Bars {
		if len(c.Bars) <= 10 || n%5 == 0 {
			marks = append(marks, mark{b.X + b.W/2, b.Date.Time().Format("2 Jan")})
		}
	}
	return marks
}

// wholePart is what of a quantity decides how high a bar is.
func wholePart(quantity string) int64 {
	whole, _, _ := strings.Cut(quantity, ".")
	n, _ := strconv.ParseInt(whole, 10, 64)
	return n
}

// Under is how much of its own commitment a subscription leaves.
func (m poolMember) Under() int64 { return -m.Over }

// PoolChart draws the picture of an overage line.
func (p *page) PoolChart(l invoiceLine) *poolChart { return poolChartOf(l, p.Zone) }

// FormOf is where a browser gets an invoice as a file of a name.
func (p *page) FormOf(name string) string {
	return p.Path() + "/as/" + name[strings.LastIndexByte(name, '.')+1:]
}

// Members draws the parts of subscriptions.
func (p *page) Members(of []poolMember) *memberChart { return memberChartOf(of, p.Tenant) }

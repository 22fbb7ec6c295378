package pdf

import (
	"fmt"
	"slices"
	"strings"

	"apportion/billing"
	"apportion/billing/export/pdf/fonts"
	"apportion/schemas/civil"
)

const (
	chartWidth  = across - 196*pt - 24*pt
	chartHeight = 116 * pt
)

// plot is the part of a chart that has the curves, with what an instant and a number are on it.
type plot struct {
	x0, y0, x1, y1 int // its lower left and upper right corners
	start, end     int64
	ceiling        int64
}

func (p plot) x(ms int64) int { return p.x0 + int((ms-p.start)*int64(p.x1-p.x0)/(p.end-p.start)) }
func (p plot) y(n int64) int  { return p.y0 - int(n*int64(p.y0-p.y1)/p.ceiling) }

// The type of a chart's labels is smaller than the text beside it.
const chartType = 6_800

// picture is the concurrency over a date, with the peaks to point at.
type picture struct {
	pool  []billing.PoolPoint
	marks []mark
}

// mark is a peak: how many were live when, and what to add to that; a peak as it was issued is grey.
type mark struct {
	at, used int64
	as       string
	fill     colour
}

// correctionPicture is that of the peak as it is now, with the peak as it was where that is on the same date.
func correctionPicture(l billing.Line, r *billing.Reason) picture {
	p := picture{pool: l.Pool}
	if len(p.pool) < 2 {
		return picture{}
	}
	start := int64(p.pool[0].AtMS)
	end := int64(2*p.pool[len(p.pool)-1].AtMS - p.pool[len(p.pool)-2].AtMS)
	add := func(c billing.Charged, as string, fill colour) {
		if c.PeakMS >= start && c.PeakMS < end {
			p.marks = append(p.marks, mark{c.PeakMS, c.Quantity.IntPart() + c.Entitled, as, fill})
		}
	}
	add(r.Now, "", rust)
	if r.Then.PeakMS != r.Now.PeakMS || !r.Then.Quantity.Equal(r.Now.Quantity) || r.Then.Entitled != r.Now.Entitled {
		add(r.Then, ", as invoiced", grey)
	}
	return p
}

// chart draws, with its top left corner at x and y, the concurrency around the peak of an overage against what was
// included (R14, R15), on the tenant's clock.
func (s *sheet) chart(of picture, x, y int) {
	pool := of.pool
	// The last stretch has no next one to end it, so it is as long as the one before.
	start, end := int64(pool[0].AtMS), int64(2*pool[len(pool)-1].AtMS-pool[len(pool)-2].AtMS)
	if end <= start {
		return
	}
	most := int64(0)
	for _, m := range of.marks {
		most = max(most, m.used)
	}
	for _, p := range pool {
		most = max(most, p.Live, p.Entitled)
	}
	step, ceiling := scale(most)

	// The plot has numbers on its left, what is included on its right, hours below and the peak's label above.
	const numbers, names, hours, above = 22 * pt, 52 * pt, 16 * pt, 14 * pt
	last := pool[len(pool)-1].Entitled
	included := s.label(whole(last)+" included", fonts.Regular, chartType, ink)
	p := plot{
		x0: x + numbers, y0: y + chartHeight - hours,
		x1: x + chartWidth - max(names, included.width()+4*pt), y1: y + above,
		start: start, end: end, ceiling: ceiling,
	}

	for n := int64(0); n <= ceiling; n += step {
		if n > 0 {
			s.hairline(p.y(n), p.x0, p.x1, 300, hairlineGrey)
		}
		s.draw(s.label(whole(n), fonts.Figures, chartType, grey), p.x0-5*pt, p.y(n)-leading/2, true)
	}
	s.curves(p, pool)
	s.hairline(p.y0, p.x0, p.x1, 500, grey)
	s.draw(included, p.x1+4*pt, p.y(last)-leading/2, false)
	s.hours(p)
	var labels []box
	for _, m := range of.marks {
		labels = append(labels, s.pointAt(p, m, labels))
	}
}

// words say what a picture shows.
func (s *sheet) words(of picture) string {
	last := of.pool[len(of.pool)-1]
	parts := []string{fmt.Sprintf("Chart of how many were live at once on %s, with %s included",
		day(s.zone.DateOf(int64(last.AtMS))), whole(last.Entitled))}
	for _, m := range of.marks {
		parts = append(parts, s.peak(m))
	}
	return strings.Join(parts, "; ")
}

// peak is the label of a peak.
func (s *sheet) peak(m mark) string {
	return whole(m.used) + " at " + s.zone.Time(m.at).Format("15:04") + m.as
}

// box is where a label is.
type box struct{ x, y, width, height int }

func (b box) meets(o box) bool {
	return b.x < o.x+o.width && o.x < b.x+b.width && b.y < o.y+o.height && o.y < b.y+b.height
}

// pointAt points at a peak, with its label above or, where another label is, below; and returns where that is.
func (s *sheet) pointAt(p plot, m mark, labels []box) box {
	at := min(max(p.x(m.at), p.x0), p.x1)
	s.page.dot(at, p.y(m.used), 2_200, m.fill)
	b := s.label(s.peak(m), fonts.SemiBold, chartType, m.fill)
	const height = 9 * pt
	from := min(max(at-b.width()/2, p.x0), p.x1-b.width())
	label := box{from - 2*pt, p.y(m.used) - 4*pt - height, b.width() + 4*pt, height}
	if slices.ContainsFunc(labels, label.meets) {
		label.y = min(p.y(m.used)+4*pt, p.y0-height-pt)
	}
	s.page.box(label.x, label.y, label.width, label.height, white)
	s.draw(b, from, label.y+height/2-leading/2, false)
	return label
}

// curves draws the concurrency, what of it is over, and what was included.
func (s *sheet) curves(p plot, pool []billing.PoolPoint) {
	live, over, included := []point{{p.x0, p.y0}}, [][]point(nil), []point(nil)
	for i, at := range pool {
		from, to := p.x(int64(at.AtMS)), p.x1
		if i+1 < len(pool) {
			to = p.x(int64(pool[i+1].AtMS))
		}
		up, limit := p.y(at.Live), p.y(at.Entitled)
		live = append(live, point{from, up}, point{to, up})
		included = append(included, point{from, limit}, point{to, limit})
		if at.Live > at.Entitled {
			over = append(over, []point{{from, limit}, {from, up}, {to, up}, {to, limit}})
		}
	}
	s.page.area(append(live, point{p.x1, p.y0}), sky)
	for _, area := range over {
		s.page.area(area, peach)
	}
	s.page.line(live[1:], 900, 0, blue)
	s.page.line(included, 900, 2_400, ink)
}

// hours marks round times below a plot, and labels those that there is space for.
func (s *sheet) hours(p plot) {
	free := p.x0 - pt // what the labels have left free
	for _, t := range ticks(s.zone, p.start, p.end) {
		at := p.x(t.at)
		s.page.line([]point{{at, p.y0}, {at, p.y0 + 2_500}}, 500, 0, grey)
		b := s.label(t.label, fonts.Regular, chartType, grey)
		if from := at - b.width()/2; from >= free {
			s.draw(b, from, p.y0+3*pt, false)
			free = from + b.width() + 6*pt
		}
	}
}

// scale returns the distance of the lines of a chart, and where it ends, for values up to most.
func scale(most int64) (step, ceiling int64) {
	for power := int64(1); ; power *= 10 {
		for _, digit := range []int64{1, 2, 5} {
			step = digit * power
			if most <= 4*step {
				return step, (most + step - 1) / step * step
			}
		}
	}
}

// tick is an instant that has a mark below a chart.
type tick struct {
	at    int64
	label string
}

// ticks returns seven marks or fewer where the zone's clock reads a round time.
func ticks(zone *civil.Zone, start, end int64) []tick {
	const minute, oneDay = 60_000, 1440
	step := int64(0) // minutes
	for _, step = range []int64{1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720,
		oneDay, 2 * oneDay, 5 * oneDay, 10 * oneDay} {
		if (end-start)/(step*minute) < 7 {
			break
		}
	}
	// The clocks of all zones in use differ by quarters of an hour.
	stride := int64(minute)
	if step >= 15 {
		stride = 15 * minute
	}
	var marks []tick
	for at := (start + stride - 1) / stride * stride; at <= end; at += stride {
		t := zone.Time(at)
		clock := int64(t.Hour()*60 + t.Minute())
		onDay := step <= oneDay || int64(t.YearDay())%(step/oneDay) == 0
		if clock%min(step, oneDay) != 0 || !onDay {
			continue
		}
		label := t.Format("15:04")
		if clock == 0 {
			label = t.Format("2 Jan")
		}
		marks = append(marks, tick{at, label})
	}
	return marks
}

package export

import (
	"apportion/billing"
	"apportion/billing/export/fonts"
	"apportion/schemas/civil"
)

const (
	chartWidth  = across - 196*pt - 24*pt
	chartHeight = 116 * pt
)

// chart draws, with its top left corner at x and y, the concurrency around the peak of an overage against what was
// included (R14, R15), on the tenant's clock.
func (s *sheet) chart(l billing.Line, x, y int) {
	pool := l.Pool
	// The last stretch has no next one to end it, so it is as long as the one before.
	start, end := pool[0].AtMS, 2*pool[len(pool)-1].AtMS-pool[len(pool)-2].AtMS
	if end <= start {
		return
	}
	used := l.Quantity.IntPart() + l.Entitled
	most := used
	for _, p := range pool {
		most = max(most, p.Live, p.Entitled)
	}
	step, ceiling := scale(most)

	// The plot has numbers on its left, what is included on its right, hours below and the peak's label above.
	const numbers, names, hours, above = 22 * pt, 52 * pt, 16 * pt, 14 * pt
	last := pool[len(pool)-1].Entitled
	named := s.label(whole(last)+" included", fonts.Regular, 6_800, ink)
	x0, x1 := x+numbers, x+chartWidth-max(names, named.width()+4*pt)
	y0, y1 := y+chartHeight-hours, y+above
	across := func(ms int64) int { return x0 + int((ms-start)*int64(x1-x0)/(end-start)) }
	up := func(n int64) int { return y0 - int(n*int64(y0-y1)/ceiling) }

	for n := int64(0); n <= ceiling; n += step {
		if n > 0 {
			s.hairline(up(n), x0, x1, 300, rule)
		}
		b := s.label(whole(n), fonts.Figures, 6_800, grey)
		s.draw(b, x0-5*pt, up(n)-leading/2, true)
	}
	live, over, included := []point{{x0, y0}}, [][]point(nil), []point(nil)
	for i, p := range pool {
		from, to := across(p.AtMS), x1
		if i+1 < len(pool) {
			to = across(pool[i+1].AtMS)
		}
		live = append(live, point{from, up(p.Live)}, point{to, up(p.Live)})
		included = append(included, point{from, up(p.Entitled)}, point{to, up(p.Entitled)})
		if p.Live > p.Entitled {
			over = append(over, []point{{from, up(p.Entitled)}, {from, up(p.Live)}, {to, up(p.Live)}, {to, up(p.Entitled)}})
		}
	}
	s.page.area(append(live, point{x1, y0}), sky)
	for _, area := range over {
		s.page.area(area, peach)
	}
	s.page.line(live[1:], 900, 0, blue)
	s.page.line(included, 900, 2_400, ink)
	s.hairline(y0, x0, x1, 500, grey)

	s.draw(named, x1+4*pt, up(last)-leading/2, false)

	free := x0 - pt // what labels of hours have left free
	for _, t := range ticks(s.zone, start, end) {
		at := across(t.at)
		s.page.line([]point{{at, y0}, {at, y0 + 2_500}}, 500, 0, grey)
		b := s.label(t.label, fonts.Regular, 6_800, grey)
		if from := at - b.width()/2; from >= free {
			s.draw(b, from, y0+3*pt, false)
			free = from + b.width() + 6*pt
		}
	}

	at := min(max(across(l.PeakMS), x0), x1)
	s.page.dot(at, up(used), 2_200, rust)
	b := s.label(whole(used)+" at "+s.zone.Time(l.PeakMS).Format("15:04"), fonts.SemiBold, 6_800, rust)
	from, height := min(max(at-b.width()/2, x0), x1-b.width()), 9*pt
	s.page.box(from-2*pt, up(used)-4*pt-height, b.width()+4*pt, height, white)
	s.draw(b, from, up(used)-4*pt-height/2-leading/2, false)
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
	for _, step = range []int64{1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, oneDay, 2 * oneDay, 5 * oneDay, 10 * oneDay} {
		if (end-start)/(step*minute) < 7 {
			break
		}
	}
	// The clocks of all zones in use differ by quarters of an hour.
	look := int64(minute)
	if step >= 15 {
		look = 15 * minute
	}
	var marks []tick
	for at := (start + look - 1) / look * look; at <= end; at += look {
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

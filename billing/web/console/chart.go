package console

import (
	"fmt"
	"strings"

	"apportion/schemas/civil"
)

// Charts are drawn in whole units of a drawing that is chartWidth wide; templates write them as SVG, with a title, a
// description and a table of the same figures beside them. Quantities are whole or come as the API writes them: where a
// chart is, no amount is computed.

// chartWidth is how wide a chart is drawn; a page shows it as wide as there is room.
const chartWidth = 960

// scale turns values into places along an axis: from is at low, to at high.
type scale struct {
	from, to  int64
	low, high int
}

// at returns the place of a value; what is outside is at the nearer end.
func (s scale) at(v int64) int {
	if s.to == s.from {
		return s.low
	}
	v = min(max(v, min(s.from, s.to)), max(s.from, s.to))
	return s.low + int((v-s.from)*int64(s.high-s.low)/(s.to-s.from))
}

// mark is a place on an axis with what is written there.
type mark struct {
	At   int
	Text string
}

// ticks are round values from 0 to at least the greatest, some five of them.
func ticks(greatest int64) (values []int64) {
	step := int64(1)
	for n := 0; step*5 < greatest; n++ {
		step = []int64{2, 5, 10}[n%3] * pow10(n/3)
	}
	for v := int64(0); ; v += step {
		values = append(values, v)
		if v >= greatest && v > 0 {
			return values
		}
	}
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// valueMarks are the ticks of an axis of values.
func valueMarks(s scale, values []int64) (marks []mark) {
	for _, v := range values {
		marks = append(marks, mark{s.at(v), number(v)})
	}
	return marks
}

// dateMarks are the beginnings of months or, of a few of them, of days or weeks, on an axis of dates.
func dateMarks(s scale) (marks []mark) {
	from, to := civil.Date(s.from), civil.Date(s.to)
	switch days := s.to - s.from; {
	case days <= 16:
		for d := from; d < to; d++ {
			marks = append(marks, mark{s.at(int64(d)), d.Time().Format("2 Jan")})
		}
	case days <= 62:
		for d := from; d < to; d += 7 {
			marks = append(marks, mark{s.at(int64(d)), d.Time().Format("2 Jan")})
		}
	default:
		step := civil.Month(max(1, days/30/12))
		for m := from.Month(); m.First() < to; m += step {
			if m.First() >= from {
				marks = append(marks, mark{s.at(int64(m.First())), m.First().Time().Format("Jan 2006")})
			}
		}
	}
	return marks
}

// outline is the path of a line, as SVG has it.
type outline struct{ strings.Builder }

// move begins at a point, or goes on to it with a line.
func (o *outline) move(x, y int) {
	command := "L"
	if o.Len() == 0 {
		command = "M"
	}
	fmt.Fprintf(o, "%s%d %d", command, x, y)
}

// step goes on to a point level first, and then up or down, as what holds until it changes does.
func (o *outline) step(x, y, lastY int) {
	if o.Len() > 0 {
		o.move(x, lastY)
	}
	o.move(x, y)
}

// hue is the class of the n-th of several things that a chart distinguishes by colour, besides their names.
func hue(n int) string { return fmt.Sprintf("s%d", n%6+1) }

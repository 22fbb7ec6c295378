package console

import (
	"fmt"
	"net/url"
	"slices"

	"apportion/schemas/civil"
)

// plotOf is what is drawn of concurrency: over the dates `[From, To)`, of the tenant as a whole and, stacked, of its
// subscriptions.
type plotOf struct {
	Series   series
	Parts    []series
	From, To civil.Date
	StepMS   int64
	Height   int
}

// plot is the concurrency of a tenant against its pool, drawn.
type plot struct {
	Width, Height            int
	Left, Right, Top, Bottom int // of the field
	Live, Area, Pool         string
	Excess                   string // where more is live than in the pool; "": nowhere
	Stacked                  []stacked
	X, Y                     []mark
	Flag                     *flag // the greatest concurrency
	Over                     *flag // the greatest excess, where that is elsewhere
}

// stacked is the part of a subscription.
type stacked struct {
	Path, Class        string
	Number             int
	Subscription, Name string
	At                 *place // where it is widest
}

type place struct{ X, Y int }

// flag marks an instant.
type flag struct {
	place
	Label place
	End   bool // the label is at its left
	poolAt
}

// newPlot draws concurrency.
func (p *page) newPlot(of plotOf) *plot {
	g := &plot{Width: chartWidth, Height: of.Height, Left: 40, Right: chartWidth - 8, Top: 26, Bottom: of.Height - 24}
	points := of.Series.Points
	greatest := int64(1)
	for _, point := range points {
		greatest = max(greatest, point[1], point[2])
	}
	tops := make([]int64, len(points)) // of the parts so far
	for _, part := range of.Parts {
		for i := range min(len(tops), len(part.Points)) {
			tops[i] += part.Points[i][1]
			greatest = max(greatest, tops[i])
		}
	}
	values := ticks(greatest)
	y := scale{0, values[len(values)-1], g.Bottom, g.Top}
	x := scale{p.Zone.Start(of.From), p.Zone.Start(of.To), g.Left, g.Right}
	g.Y, g.X = valueMarks(y, values), p.timeMarks(x, of.From, of.To)
	last := points[len(points)-1][0] + of.StepMS
	ends := func(i int) int {
		if i+1 < len(points) {
			return x.at(points[i+1][0])
		}
		return x.at(last)
	}
	g.Live = stepLine(points, 1, x, y, ends)
	g.Pool = stepLine(points, 2, x, y, ends)
	g.Area = fmt.Sprintf("%sL%d %dL%d %dZ", g.Live, ends(len(points)-1), g.Bottom, x.at(points[0][0]), g.Bottom)
	g.Excess = excess(points, x, y, ends)
	g.stack(of.Parts, points, x, y, ends)
	g.Flag = g.flag(of.Series.Peak, x, y)
	if over := of.Series.Over; over != nil && of.Series.Peak != nil && over.At != of.Series.Peak.At {
		g.Over = g.flag(over, x, y)
	}
	return g
}

// stepLine is the line of a member of points, each level until the next; points that are level with the one before are
// left out.
func stepLine(points [][3]int64, member int, x, y scale, ends func(int) int) string {
	var line outline
	lastY := 0
	for i, point := range points {
		at := y.at(point[member])
		if i == 0 {
			line.move(x.at(point[0]), at)
		} else if at != lastY {
			line.step(x.at(point[0]), at, lastY)
		}
		lastY = at
	}
	line.move(ends(len(points)-1), lastY)
	return line.String()
}

// excess is the area between what is live and the pool, where more is live.
func excess(points [][3]int64, x, y scale, ends func(int) int) string {
	path := ""
	for i := 0; i < len(points); {
		live, pool := points[i][1], points[i][2]
		n := i + 1
		for n < len(points) && points[n][1] == live && points[n][2] == pool {
			n++
		}
		if live > pool {
			from, to := x.at(points[i][0]), ends(n-1)
			path += fmt.Sprintf("M%d %dV%dH%dV%dZ", from, y.at(pool), y.at(live), max(to, from+1), y.at(pool))
		}
		i = n
	}
	return path
}

// stack draws the parts above each other.
func (g *plot) stack(parts []series, points [][3]int64, x, y scale, ends func(int) int) {
	tops := make([]int64, len(points))
	for n, part := range parts {
		count := min(len(points), len(part.Points))
		if count == 0 {
			continue
		}
		s := stacked{Class: hue(n), Number: n + 1, Subscription: part.Subscription, Name: part.Department}
		var line outline
		var under []place // where the lower edge begins to be level
		var widest int64
		lastUp := 0
		for i := range count {
			low := y.at(tops[i])
			tops[i] += part.Points[i][1]
			from, up := x.at(points[i][0]), y.at(tops[i])
			if i == 0 {
				line.move(from, up)
			} else if up != lastUp {
				line.step(from, up, lastUp)
			}
			lastUp = up
			if len(under) == 0 || under[len(under)-1].Y != low {
				under = append(under, place{from, low})
			}
			if part.Points[i][1] > widest && low-up >= 14 {
				widest, s.At = part.Points[i][1], &place{min((from+ends(i))/2+2, g.Right-6), (low+up)/2 + 4}
			}
		}
		to := ends(count - 1)
		line.move(to, lastUp)
		for _, edge := range slices.Backward(under) {
			line.move(to, edge.Y)
			line.move(edge.X, edge.Y)
			to = edge.X
		}
		s.Path = line.String() + "Z"
		g.Stacked = append(g.Stacked, s)
	}
}

// flag marks an instant at which so much is live; nil without one.
func (g *plot) flag(at *poolAt, x, y scale) *flag {
	if at == nil {
		return nil
	}
	ms, err := civil.ParseInstant(at.At)
	if err != nil {
		return nil
	}
	f := &flag{place: place{x.at(ms), y.at(at.Live)}, poolAt: *at}
	f.End = f.X > (g.Left+g.Right)*3/5
	f.Label = place{f.X + 9, max(f.Y-8, 14)}
	if f.End {
		f.Label.X = f.X - 9
	}
	return f
}

// timeMarks are what is written along an axis of instants: the hours of a day, or else dates.
func (p *page) timeMarks(x scale, from, to civil.Date) (marks []mark) {
	if to == from+1 {
		for ms := x.from; ms < x.to; ms += 3600_000 {
			if at := p.Zone.Time(ms); at.Hour()%3 == 0 && at.Minute() == 0 {
				marks = append(marks, mark{x.at(ms), at.Format("15:04")})
			}
		}
		return marks
	}
	every := max(1, int(to-from)/10)
	for d := from; d < to; d = d.Add(every) {
		marks = append(marks, mark{x.at(p.Zone.Start(d)), d.Time().Format("2 Jan")})
	}
	return marks
}

// query writes parameters, names and values in turn.
func query(parameters ...string) string {
	values := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		values.Set(parameters[i], parameters[i+1])
	}
	return values.Encode()
}

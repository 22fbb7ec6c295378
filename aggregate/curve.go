package aggregate

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"apportion/schemas/civil"
)

// Curve is the concurrency over one date: of a tenant as a whole, or of one of its subscriptions (R13).
type Curve struct {
	Tenant string
	Date   civil.Date
	// Meter is a metered agent or IVR meter, and Subscription is empty for the tenant as a whole.
	Meter, Subscription string
	// Changes are when concurrency changes, in order: twice the milliseconds since the date began, and one more where it
	// rises by one; else it falls by one.
	Changes []uint32
}

// CurveOf returns the concurrency over a day (R13): who is live twice counts once.
func CurveOf(day Day, intervals []Interval) Curve {
	intervals = slices.Clone(intervals)
	slices.SortFunc(intervals, func(a, b Interval) int {
		return cmp.Or(strings.Compare(a.Who, b.Who), cmp.Compare(a.From, b.From))
	})
	c := Curve{Tenant: day.Tenant, Date: day.Date}
	for rest := intervals; len(rest) > 0; {
		from, to := max(rest[0].From, day.FromMS), rest[0].To
		n := 1
		for ; n < len(rest) && rest[n].Who == rest[0].Who && rest[n].From <= to; n++ {
			to = max(to, rest[n].To)
		}
		if to = min(to, day.ToMS); from < to {
			c.Changes = append(c.Changes, uint32(2*(from-day.FromMS)+1), uint32(2*(to-day.FromMS)))
		}
		rest = rest[n:]
	}
	slices.Sort(c.Changes)
	return c
}

// Until returns the curve without what changes after an instant of the day, in UTC epoch milliseconds.
func (c Curve) Until(day Day, ms int64) Curve {
	c.Changes = c.Changes[:countBefore(c.Changes, ms+1-day.FromMS)]
	return c
}

// countBefore counts the changes before so many milliseconds of the day.
func countBefore(changes []uint32, ms int64) int {
	return sort.Search(len(changes), func(i int) bool { return int64(changes[i]) >= 2*ms })
}

// Peak is the greatest concurrency, and the earliest instant that attains it; both are 0 where nobody is live.
func (c Curve) Peak(day Day) (peak ProfilePoint) {
	var live int64
	for i, change := range c.Changes {
		live += rise(change)
		if c.completes(i) && live > peak.Live {
			peak = ProfilePoint{day.FromMS + int64(change/2), live}
		}
	}
	return peak
}

// Steps gives the greatest concurrency in each step of a day, so many milliseconds long: what it is as the step begins,
// or becomes in it. The last is shorter where they do not fill the day.
func (c Curve) Steps(day Day, step int64) []ProfilePoint {
	var points []ProfilePoint
	var live int64
	lasts := day.ToMS - day.FromMS
	for from, at := int64(0), 0; from < lasts; from += step {
		most := int64(-1)
		end := countBefore(c.Changes, min(from+step, lasts))
		for ; at < end; at++ {
			if most < 0 && int64(c.Changes[at]) >= 2*(from+1) {
				most = live // before anything changes, but not before the changes of the first instant are complete
			}
			live += rise(c.Changes[at])
			if c.completes(at) {
				most = max(most, live)
			}
		}
		points = append(points, ProfilePoint{AtMS: day.FromMS + from, Live: max(most, live)})
	}
	return points
}

// completes reports whether a change is the last of its instant: concurrency is what it is after all of them.
func (c Curve) completes(at int) bool {
	return at == len(c.Changes)-1 || c.Changes[at+1]/2 != c.Changes[at]/2
}

func rise(change uint32) int64 { return 2*int64(change%2) - 1 }

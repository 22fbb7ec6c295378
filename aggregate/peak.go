package aggregate

import (
	"cmp"
	"slices"

	"apportion/schemas"
)

// Live returns when a session is live, `[from, to)` in UTC epoch milliseconds (R12): an open one ends at the
// earlier of now and its start and the longest that the rules let it last, and never before its start.
func (r Rules) Live(e *schemas.Event, now int64) (from, to int64) {
	if e.EndMS != schemas.Absent {
		return e.StartMS, e.EndMS
	}
	return e.StartMS, max(e.StartMS, min(now, e.StartMS+int64(r.OpenSessionHours)*3600_000))
}

// Interval is a stretch of time in which Who is live, `[From, To)` in UTC epoch milliseconds: an agent for the
// agent meters; for IVR every session is a Who of its own, so that each of them counts (R13).
type Interval struct {
	Who      string
	From, To int64
}

// LiveSession is a session that counts on a meter, and the subscription that it is attributed to (R10).
type LiveSession struct {
	Meter, Subscription string
	Interval
}

// Peak returns the greatest number of distinct Whos that are live at once, and the earliest instant that
// attains it (R13, R15). Who is live twice counts once, and an interval without length is never live. Where
// nobody is ever live both are 0.
func Peak(intervals []Interval) (peak, at int64) {
	type change struct {
		ms    int64
		who   string
		delta int
	}
	var changes []change
	for _, i := range intervals {
		if i.From < i.To {
			changes = append(changes, change{i.From, i.Who, +1}, change{i.To, i.Who, -1})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.ms, b.ms) })
	sessions := map[string]int{}
	for i, c := range changes {
		sessions[c.who] += c.delta
		if sessions[c.who] == 0 {
			delete(sessions, c.who)
		}
		// Concurrency is that of the instant, so it is read once all that happens at the instant has happened.
		last := i == len(changes)-1 || changes[i+1].ms != c.ms
		if live := int64(len(sessions)); last && live > peak {
			peak, at = live, c.ms
		}
	}
	return peak, at
}

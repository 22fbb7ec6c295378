package aggregate

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas"
)

func TestLive(t *testing.T) {
	const hour = 3600_000
	for _, c := range []struct {
		name     string
		end, now int64
		want     int64
	}{
		{"a session with an end", 15 * hour, 11 * hour, 15 * hour},
		{"an open one, now", schemas.Absent, 11 * hour, 11 * hour},
		{"an open one, 24 h after its start", schemas.Absent, 40 * hour, 34 * hour},
		{"an open one that starts after now", schemas.Absent, 9 * hour, 10 * hour},
		{"an open one of a past day", schemas.Absent, EndOfTime, 34 * hour},
	} {
		e := schemas.Event{Type: schemas.AgentSession, StartMS: 10 * hour, EndMS: c.end}
		if from, to := DefaultRules().Live(&e, c.now); from != 10*hour || to != c.want {
			t.Errorf("%s: live from hour %d to %d, want 10 to %d", c.name, from/hour, to/hour, c.want/hour)
		}
	}
}

// TestPeakIsThatOfEveryInstant holds Peak to R13 by its definition: count the distinct Whos at every instant.
func TestPeakIsThatOfEveryInstant(t *testing.T) {
	interval := rapid.Custom(func(t *rapid.T) Interval {
		from := rapid.Int64Range(0, 20).Draw(t, "from")
		return Interval{fmt.Sprintf("a%d", rapid.IntRange(1, 5).Draw(t, "who")), from, from + rapid.Int64Range(0, 8).Draw(t, "length")}
	})
	rapid.Check(t, func(t *rapid.T) {
		intervals := rapid.SliceOfN(interval, 0, 20).Draw(t, "intervals")
		var wantPeak, wantAt int64
		for ms := range int64(30) {
			live := map[string]bool{}
			for _, i := range intervals {
				if i.From <= ms && ms < i.To {
					live[i.Who] = true
				}
			}
			if n := int64(len(live)); n > wantPeak {
				wantPeak, wantAt = n, ms
			}
		}
		if peak, at := Peak(intervals); peak != wantPeak || at != wantAt {
			t.Fatalf("Peak is %d at %d, want %d at %d", peak, at, wantPeak, wantAt)
		}
		if peak := CurveOf(Day{ToMS: 30}, intervals).Peak(Day{ToMS: 30}); peak != (ProfilePoint{wantAt, wantPeak}) {
			t.Fatalf("the peak of the curve is %v, want %d at %d", peak, wantPeak, wantAt)
		}
	})
}

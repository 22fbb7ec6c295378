package aggregate

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// withPrimary are the timelines of acme, whose primary is Sub1 at all times.
var withPrimary = Timelines{"acme": Known(timeline.Tenant{
	Primary: timeline.Line[string]{{FromMS: timeline.Start, Value: "Sub1"}},
	Active:  map[string]timeline.Line[bool]{"Sub1": {{FromMS: timeline.Start, Value: true}}},
})}

// TestReferenceProfile: the greatest concurrency of each ten minutes of the date, of the tenant's agents and not of
// their sessions, those who come over midnight included.
func TestReferenceProfile(t *testing.T) {
	stockholm := zone(t, "Europe/Stockholm")
	date := civil.NewDate(2026, 10, 25) // 25 hours
	days := Days("acme", stockholm, date, date+1)
	from := days[0].FromMS
	const minute = 60_000
	session := func(id, agent string, start, end int64) schemas.Event {
		return schemas.Event{Tenant: "acme", Source: "s", ID: id, Type: schemas.AgentSession, Agent: agent,
			TimeMS: from + start*minute, StartMS: from + start*minute, EndMS: from + end*minute}
	}
	profiles := ReferenceProfile([]schemas.Event{
		session("over midnight", "a1", -30, 10),
		session("twice", "a2", 5, 15), session("twice again", "a2", 8, 12),
		session("one after another", "a3", 31, 33), session("the other", "a4", 33, 35),
		session("no length", "a5", 45, 45),
		session("to the end", "a6", 25*60-1, 26*60),
		session("another day", "a7", -90, -60),
	}, Inputs{Days: days, Timelines: withPrimary, Rules: DefaultRules(), NowMS: EndOfTime})
	if len(profiles) != 1 {
		t.Fatalf("%d profiles, want that of one meter: %v", len(profiles), profiles)
	}
	p := profiles[0]
	if p.Tenant != "acme" || p.Date != date || p.Meter != schemas.AgentStandard || len(p.Points) != 25*6 {
		t.Fatalf("%s %s %s: %d points, want 150", p.Tenant, p.Date, p.Meter, len(p.Points))
	}
	var got []string
	for i, point := range p.Points {
		if point.AtMS != from+int64(i)*ProfileStep {
			t.Fatalf("point %d is at %s", i, civil.FormatMillis(point.AtMS))
		}
		if point.Live > 0 {
			got = append(got, fmt.Sprintf("%d: %d", i, point.Live))
		}
	}
	if want := []string{"0: 2", "1: 1", "3: 1", "149: 1"}; !slices.Equal(got, want) {
		t.Errorf("live %v, want %v", got, want)
	}
}

// TestProfileHasThePeak: the greatest of the points is the peak of the date, first attained where the peak is.
func TestProfileHasThePeak(t *testing.T) {
	days := Days("acme", civil.UTC, 20000, 20002)
	rapid.Check(t, func(r *rapid.T) {
		var events []schemas.Event
		for i := range rapid.IntRange(1, 20).Draw(r, "sessions") {
			start := days[0].FromMS + rapid.Int64Range(-10, 2*24*60).Draw(r, "start")*60_000
			kind := rapid.SampledFrom([]schemas.Type{schemas.AgentSession, schemas.IVRSession}).Draw(r, "type")
			events = append(events, schemas.Event{Tenant: "acme", Source: "s", ID: fmt.Sprint(i), Type: kind, Agent: fmt.Sprint(i % 7), TimeMS: start, StartMS: start,
				EndMS: start + rapid.Int64Range(0, 3000_000).Draw(r, "length")})
		}
		profiles := ReferenceProfile(events, Inputs{Days: days, Timelines: withPrimary, Rules: DefaultRules(), NowMS: EndOfTime})
		usage, _ := Reference(events, Inputs{Days: days, Timelines: withPrimary, Rules: DefaultRules(), NowMS: EndOfTime})
		for _, u := range usage {
			if u.Subscription != "" || u.Peak == 0 {
				continue
			}
			at := slices.IndexFunc(profiles, func(p Profile) bool { return p.Date == u.Date && p.Meter == u.Meter })
			if at < 0 {
				r.Fatalf("%s %s has a peak of %d and no profile", u.Date, u.Meter, u.Peak)
			}
			points := profiles[at].Points
			most := slices.IndexFunc(points, func(p ProfilePoint) bool { return p.Live >= u.Peak })
			if most < 0 || points[most].Live > u.Peak || points[most].AtMS > u.PeakMS || points[most].AtMS+ProfileStep <= u.PeakMS {
				r.Fatalf("%s %s: peak %d at %s, the points %v", u.Date, u.Meter, u.Peak, civil.FormatMillis(u.PeakMS), points)
			}
		}
	})
}

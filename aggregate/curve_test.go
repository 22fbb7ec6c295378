package aggregate

import "testing"

// TestCurve: a curve is cut after an instant, whose own changes are complete, and its peak is the first there is.
func TestCurve(t *testing.T) {
	day := Day{Tenant: "acme", FromMS: 1_000_000, ToMS: 1_000_000 + 24*3600_000}
	rises, falls := func(ms uint32) uint32 { return 2*ms + 1 }, func(ms uint32) uint32 { return 2 * ms }
	c := Curve{Changes: []uint32{rises(0), rises(10), falls(20), rises(20), falls(30), rises(40), rises(40), falls(50)}}
	for _, want := range []struct{ untilMS, peak, at int64 }{
		{0, 1, 0}, {9, 1, 0}, {10, 2, 10}, {19, 2, 10}, {20, 2, 10}, {30, 2, 10}, {39, 2, 10}, {40, 3, 40}, {90, 3, 40},
	} {
		if peak := c.Until(day, day.FromMS+want.untilMS).Peak(day); peak != (ProfilePoint{day.FromMS + want.at, want.peak}) {
			t.Errorf("until %d the peak is %v", want.untilMS, peak)
		}
	}
	if peak := c.Until(day, day.FromMS-1).Peak(day); peak != (ProfilePoint{}) {
		t.Errorf("before the day the peak is %v", peak)
	}
}

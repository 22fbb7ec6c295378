package main

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// Readiness names a part that has been failing for longer than a minute, until it has run well.
func TestPartsThatGoOnFailing(t *testing.T) {
	start := time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var f failures
	is := func(seconds int, want ...string) {
		t.Helper()
		if got := f.trouble(at(seconds)); !slices.Equal(got, want) {
			t.Errorf("after %d s: %q, want %q", seconds, got, want)
		}
	}
	is(0)
	f.add("issue", at(0), at(1), errors.New("refused"))
	f.add("aggregate", at(0), at(30), errors.New("away"))
	is(60)
	f.add("issue", at(31), at(62), errors.New("still refused"))
	is(62, "issue has been failing for 1m1s: still refused")
	is(92, "aggregate has been failing for 1m2s: away", "issue has been failing for 1m31s: still refused")
	is(153) // neither has failed for so long that both have had a good run
	f.add("issue", at(92), at(160), errors.New("refused again"))
	is(160)
	is(221, "issue has been failing for 1m1s: refused again")
}

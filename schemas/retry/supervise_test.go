package retry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// Readiness names a part that has been failing for longer than a minute, until it has run well.
func TestPartsThatGoOnFailing(t *testing.T) {
	start := time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var s Supervisor
	is := func(seconds int, want ...string) {
		t.Helper()
		if got := s.Failing(at(seconds)); !slices.Equal(got, want) {
			t.Errorf("after %d s: %q, want %q", seconds, got, want)
		}
	}
	is(0)
	s.add("issue", at(0), at(1), errors.New("refused"))
	s.add("aggregate", at(0), at(30), errors.New("away"))
	is(60)
	s.add("issue", at(31), at(62), errors.New("still refused"))
	is(62, "issue has been failing for 1m1s: still refused")
	is(92, "aggregate has been failing for 1m2s: away", "issue has been failing for 1m31s: still refused")
	is(153) // neither has failed for so long that both have had a good run
	s.add("issue", at(92), at(160), errors.New("refused again"))
	is(160)
	is(221, "issue has been failing for 1m1s: refused again")
}

// A part that fails is run again, later and later, until it is interrupted or fails for good.
func TestSupervisorRun(t *testing.T) {
	var logged strings.Builder
	usage := errors.New("not so")
	s := Supervisor{
		Log:       slog.New(slog.NewTextHandler(&logged, nil)),
		Permanent: func(err error) bool { return errors.Is(err, usage) },
	}
	runs := 0
	err := s.Run(t.Context(), "part", func(context.Context) error {
		if runs++; runs < 3 {
			return errors.New("away")
		}
		return usage
	})
	if !errors.Is(err, usage) || err.Error() != "part: not so" || runs != 3 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	for _, want := range []string{`msg="part failed and will be tried again" error=away in=250ms`, `in=500ms`} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, logged.String())
		}
	}
	inUse := errors.New("address in use")
	if err := s.Run(t.Context(), "part", func(context.Context) error { return Permanent(inUse) }); !errors.Is(err, inUse) {
		t.Errorf("a permanent error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Run(ctx, "part", func(ctx context.Context) error { cancel(); return ctx.Err() }); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

package retry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Supervisor runs the long-running parts of a program. One that fails is run again.
type Supervisor struct {
	Log *slog.Logger
	// Permanent, which may be nil, recognises errors that trying again cannot fix, beside those marked by [Permanent].
	Permanent func(error) bool

	mu     sync.Mutex
	failed map[string]failure // by part
}

// failure is that a part goes on failing, without a good run between.
type failure struct {
	first, last time.Time
	err         error // the last
}

const (
	firstPause = 250 * time.Millisecond
	lastPause  = 30 * time.Second
	goodRun    = 2 * lastPause // after which a part has recovered
	unending   = time.Minute   // from when on a part that fails is reported
)

// Run runs a part until ctx is done. One that fails is run again after a pause, which doubles as long as it goes on
// failing. An error that trying again cannot fix is returned.
func (s *Supervisor) Run(ctx context.Context, part string, run func(context.Context) error) error {
	pause := firstPause
	for {
		began := time.Now()
		err := run(ctx)
		if ctx.Err() != nil || err == nil {
			return nil
		}
		if IsPermanent(err) || s.Permanent != nil && s.Permanent(err) {
			return fmt.Errorf("%s: %w", part, err)
		}
		s.add(part, began, time.Now(), err)
		if time.Since(began) > goodRun {
			pause = firstPause
		}
		s.Log.Error(part+" failed and will be tried again", "error", err, "in", pause)
		if !Sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// add notes that a run of a part failed.
func (s *Supervisor) add(part string, began, now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = map[string]failure{}
	}
	f, known := s.failed[part]
	if !known || now.Sub(began) > goodRun {
		f.first = now
	}
	s.failed[part] = failure{f.first, now, err}
}

// Failing names the parts that have been failing for longer than a minute, each with its last error.
func (s *Supervisor) Failing(now time.Time) (parts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range slices.Sorted(maps.Keys(s.failed)) {
		f := s.failed[part]
		if now.Sub(f.first) > unending && now.Sub(f.last) <= lastPause+goodRun {
			parts = append(parts,
				fmt.Sprintf("%s has been failing for %s: %v", part, now.Sub(f.first).Round(time.Second), f.err))
		}
	}
	return parts
}

// Package retry repeats what fails for a while: requests to a service that is away, and the long-running parts of
// the program. The errors come from who calls it, and go to the log or, when trying again cannot fix them, back to
// the caller. It lies below schemas because everything that runs for long needs it, and everyone may import what
// lies there.
package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error as one that trying again cannot fix.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether an error, or one that it wraps, was marked by [Permanent].
func IsPermanent(err error) bool { return errors.As(err, new(permanentError)) }

// unmarked returns an error without its mark: a caller may retry for longer, or for other reasons.
func unmarked(err error) error {
	if p, ok := err.(permanentError); ok { //nolint:errorlint // a mark within another error is not a mark of this one
		return p.error
	}
	return err
}

// Sleep reports whether the time passed before ctx was done.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Service is something on the network that may be away. Its methods can be called at once.
type Service struct {
	Name string
	Log  *slog.Logger
	// Refused, which may be nil, reports whether an error says that the service will never accept these credentials.
	Refused func(error) bool

	mu     sync.Mutex
	away   bool
	logged time.Time // when it was last said to be away
}

// The times of attempts.
const (
	// FirstDelay and LastDelay bound the delay between attempts, which doubles.
	FirstDelay = 20 * time.Millisecond
	LastDelay  = 2 * time.Second
	// LogEvery is how often a log says what is waited for.
	LogEvery = 5 * time.Second

	quiet = 300 * time.Millisecond // a shorter hiccup is not worth a line
)

// Do tries until it succeeds, until ctx is done, or until an error that was marked by [Permanent], which it returns
// without the mark.
func (s *Service) Do(ctx context.Context, try func(context.Context) error) error {
	began := time.Now()
	waited := false
	for delay := FirstDelay; ; delay = min(2*delay, LastDelay) {
		err := try(ctx)
		switch {
		case err == nil:
			if waited {
				s.answers()
			}
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case IsPermanent(err):
			return unmarked(err)
		case s.Refuses(err):
			return fmt.Errorf("%s and this program do not let each other in: %w; "+
				"check the credentials and certificates configured", s.Name, err)
		case time.Since(began) >= quiet:
			waited = true
			s.isAway(err)
		}
		// Callers that failed together should not all try again together.
		if !Sleep(ctx, delay/2+rand.N(delay/2)) {
			return context.Cause(ctx)
		}
	}
}

// Refuses reports whether an error says that the service will never accept these credentials or certificates.
func (s *Service) Refuses(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || s.Refused != nil && s.Refused(err)
}

func (s *Service) isAway(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.logged) >= LogEvery {
		s.away, s.logged = true, now
		s.Log.Warn("waiting for "+s.Name, "error", err)
	}
}

func (s *Service) answers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.away = false
		s.Log.Info(s.Name + " answers again")
	}
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// permanentError is one that waiting cannot mend.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func isPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}

// waiter repeats what fails while a service is away, and says so now and then.
type waiter struct {
	log      *slog.Logger
	mu       sync.Mutex
	services map[string]*service
}

// service is what has been said about a service.
type service struct {
	away bool
	said time.Time
}

func newWaiter(log *slog.Logger) *waiter {
	return &waiter{log: log, services: make(map[string]*service)}
}

const (
	firstDelay = 20 * time.Millisecond
	lastDelay  = 2 * time.Second
	quiet      = 300 * time.Millisecond // a hiccup this short is not worth a line
	sayEvery   = 5 * time.Second
)

// do tries until it succeeds, until ctx is done, or until an error that waiting
// cannot mend. The delay between attempts doubles up to lastDelay.
func (w *waiter) do(ctx context.Context, name string, try func(context.Context) error) error {
	began := time.Now()
	waited := false
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		err := try(ctx)
		switch {
		case err == nil:
			if waited {
				w.back(name)
			}
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isPermanent(err):
			return err
		case notLetIn(err):
			return permanentError{fmt.Errorf("%s and this program do not let each other in: %w; check the credentials and certificates configured", name, err)}
		case time.Since(began) >= quiet:
			waited = true
			w.away(name, err)
		}
		// Consumers that failed together should not all try again together.
		if !sleep(ctx, delay/2+rand.N(delay/2)) {
			return context.Cause(ctx)
		}
	}
}

func (w *waiter) away(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.services[name]
	if s == nil {
		s = new(service)
		w.services[name] = s
	}
	if now := time.Now(); now.Sub(s.said) >= sayEvery {
		s.away, s.said = true, now
		w.log.Warn("waiting for "+name, "error", err)
	}
}

func (w *waiter) back(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.services[name]; s.away {
		s.away = false
		w.log.Info(name + " answers again")
	}
}

// sleep reports whether the time passed before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

package ingest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// Waiting for others to catch up ends when they have, takes nothing in, and can be given up.
func TestAwaitCaughtUp(t *testing.T) {
	e := newEnv(t, 2)
	e.Publish(sessions(20)...)
	awaited := make(chan error, 1)
	go func() { awaited <- e.ledger().AwaitCaughtUp(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := e.ledger().AwaitCaughtUp(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
	select {
	case err := <-awaited:
		t.Fatalf("%v, though nothing is taken in: %s", err, strings.Join(e.rows("SELECT count() FROM ingest_batches"), ""))
	default:
	}
	e.ingest(e.config(), e.deps())
	if err := <-awaited; err != nil {
		t.Error(err)
	}
	if n := e.taken(); n != 20 {
		t.Errorf("%d are taken in, want 20", n)
	}
}

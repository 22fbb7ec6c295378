package aggregate

import (
	"context"
	"errors"
	"testing"
	"time"

	"apportion/schemas/civil"
)

// TestWorker: it makes a pass for the registry as it is, another when it is woken and something has changed, and ends
// with the error of one that fails.
func TestWorker(t *testing.T) {
	s := &fakeStore{positions: []Position{{"usage.agent.v1", 0, 41}}, dirty: map[string]map[civil.Date]int64{"acme": {date(2026, 10, 14): 1}}}
	passed, failed := make(chan Report), 0
	cfg := DefaultConfig()
	cfg.Interval = time.Hour
	w := New(cfg, Deps{
		Store: s,
		Follow: func(ctx context.Context, changed func(Snapshot)) error {
			changed(twoTenants(t))
			<-ctx.Done()
			return ctx.Err()
		},
		Passed: func(report Report, _ time.Duration) { passed <- report },
		Failed: func() { failed++ },
	})
	ended := make(chan error)
	go func() { ended <- w.Run(t.Context()) }()
	if report := <-passed; report.Pass != 2<<38+42 || report.Days != 2 {
		t.Errorf("the first pass is %+v", report)
	}
	w.Wake()
	if report := <-passed; report.Days != 0 {
		t.Errorf("%+v, and nothing has changed", report)
	}
	s.positions = []Position{{"usage.agent.v1", 0, 42}}
	s.failing = errors.New("the server is away")
	w.Wake()
	if err := <-ended; !errors.Is(err, s.failing) || failed != 1 {
		t.Errorf("it ended with %v, after %d failures", err, failed)
	}
}

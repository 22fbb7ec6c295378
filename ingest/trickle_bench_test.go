package ingest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
)

// BenchmarkTrickle measures how long a delivery takes to be visible when there
// are 50 a second: from when it is sent until usage_events has it.
func BenchmarkTrickle(b *testing.B) {
	e := newEnv(b, 8)
	cfg := e.config()
	cfg.UntilCaughtUp = false
	ctx, stop := context.WithCancel(b.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	e.Publish(session("t", "first", 0))
	servicetest.Until(b, "the first is in", func() bool { return e.rows("SELECT count() FROM usage_events")[0] == "(1)" })
	var sent []time.Time
	var longest time.Duration
	seen := 0
	look := func() {
		var n int
		fmt.Sscanf(e.rows("SELECT count() FROM usage_events")[0], "(%d)", &n)
		for ; seen < n-1; seen++ {
			longest = max(longest, time.Since(sent[seen]))
		}
	}
	for b.Loop() {
		sent = append(sent, time.Now())
		e.Produce(schemas.TopicAgent, len(sent)%8, messagesOf(session("t", fmt.Sprint(len(sent)), 0))...)
		look()
		time.Sleep(max(0, 20*time.Millisecond-time.Since(sent[len(sent)-1])))
	}
	for seen < len(sent) {
		look()
		time.Sleep(10 * time.Millisecond)
	}
	b.ReportMetric(float64(longest.Milliseconds()), "ms-longest")
	stop()
	if err := <-ran; err != nil {
		b.Error(err)
	}
}

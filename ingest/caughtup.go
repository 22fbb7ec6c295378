package ingest

import (
	"context"
	"time"
)

// AwaitCaughtUp waits until every partition has been taken in, by whichever
// consumer, to the end that it has when the call begins, and says so in the log
// while it waits. It consumes nothing itself. Its Ingester cannot be used again.
func (in *Ingester) AwaitCaughtUp(ctx context.Context) error {
	defer in.kafka.close()
	ends, err := in.start(ctx)
	if err != nil {
		return err
	}
	for said := time.Now(); ; {
		if done, err := in.caughtUp(ctx, ends); done || err != nil {
			return err
		}
		if now := time.Now(); now.Sub(said) >= sayEvery {
			said = now
			in.log.Warn("waiting for deliveries to be taken in")
		}
		if !sleep(ctx, 250*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

package ingest

import (
	"context"
	"errors"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// stuckInsert writes until it is aborted, and then falls over what is gone, as the driver does.
type stuckInsert struct {
	driver.Batch
	aborted, fallen chan struct{}
}

func (s stuckInsert) Abort() error {
	close(s.aborted)
	return nil
}

func (s stuckInsert) Flush() error {
	<-s.aborted
	defer close(s.fallen)
	var gone *stuckInsert
	return gone.Batch.Flush()
}

// TestFlushGivenUp: an insert that is given up while the driver writes takes nothing else with it.
func TestFlushGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	insert := stuckInsert{aborted: make(chan struct{}), fallen: make(chan struct{})}
	if err := flush(ctx, insert); !errors.Is(err, context.Canceled) {
		t.Errorf("flush returned %v", err)
	}
	<-insert.fallen
}

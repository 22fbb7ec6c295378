package ingest

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// errFenced means that a partition may belong to another consumer by now.
var errFenced = errors.New("the partitions may have gone to other consumers")

// refusedEntry is an entry that the ledger has passed.
type refusedEntry struct {
	ledgerRow
	next int64 // where the ledger goes on
}

func (r refusedEntry) Error() string {
	return fmt.Sprintf("the ledger ingest_batches has %s up to offset %d, and takes no entry of %s",
		r.TopicPartition, r.next-1, OffsetRange{r.first, r.last})
}

func (refusedEntry) Is(err error) bool { return err == errFenced }

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
	// mostRefused is how many entries in a row the ledger may refuse. One is the
	// rule when a partition has gone to another consumer; a consumer that has
	// since resumed where the ledger ends is not behind it.
	mostRefused = 10
)

// fences counts how often, since the last entry, a batch was given up to begin
// again where the ledger ends.
type fences struct {
	mu           sync.Mutex
	all, refused int
}

// entered says that a batch is in the ledger.
func (f *fences) entered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all, f.refused = 0, 0
}

// fenced says that one was given up. It returns how long to wait before another
// attempt, or, when waiting will not fix it, an error.
func (f *fences) fenced(err error) (pause time.Duration, permanent error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pause = min(firstPause<<min(f.all, 10), lastPause)
	f.all++
	var refused refusedEntry
	if errors.As(err, &refused) {
		f.refused++
	}
	if f.refused < mostRefused {
		return pause, nil
	}
	return 0, fmt.Errorf("%d times in a row the ledger was ahead of a consumer that had resumed where it ended: %w; "+
		"something else writes to it: find out what inserts into ingest_batches, such as an ingest with another "+
		"consumer group (kafka.group), stop it, and see whether the period still balances (R22)", f.refused, err)
}

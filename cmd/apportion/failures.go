package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// failures are the parts of this process that go on failing.
type failures struct {
	mu    sync.Mutex
	parts map[string]failure
}

type failure struct {
	first, last time.Time // of those with no good run between them
	err         error
}

const (
	goodRun  = 2 * lastPause // after which a part has recovered
	unending = time.Minute   // from when on a part that fails is trouble
)

// add notes that a run of a part failed.
func (f *failures) add(part string, began, now time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts == nil {
		f.parts = map[string]failure{}
	}
	was, known := f.parts[part]
	if !known || now.Sub(began) > goodRun {
		was.first = now
	}
	f.parts[part] = failure{was.first, now, err}
}

// trouble names the parts that have been failing for longer than a minute, each with its last error.
func (f *failures) trouble(now time.Time) (found []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, part := range slices.Sorted(maps.Keys(f.parts)) {
		of := f.parts[part]
		if now.Sub(of.first) > unending && now.Sub(of.last) <= lastPause+goodRun {
			found = append(found, fmt.Sprintf("%s has been failing for %s: %v", part, now.Sub(of.first).Round(time.Second), of.err))
		}
	}
	return found
}

package servicetest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// Patience is how long something may take on a machine that has much else to do.
const Patience = 5 * time.Minute

// Until waits for a condition. What takes long to ask is asked less often, or asking would keep the machine from what
// is waited for.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); ; {
		began := time.Now()
		if holds() {
			return
		}
		now := time.Now()
		if now.After(deadline) {
			t.Fatalf("%v went by before %s", Patience, what)
		}
		time.Sleep(min(max(10*time.Millisecond, 4*now.Sub(began)), 250*time.Millisecond))
	}
}

// Log is what a program writes. It can be read while more is written.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

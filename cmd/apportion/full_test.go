package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, bytes string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+bytes); err != nil {
		t.Skipf("mounting a small file system, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room that a file system has, until the function that it returns is called.
func fill(t *testing.T, dir string) (makeRoom func()) {
	t.Helper()
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := ballast.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	ballast.Close()
	return func() {
		if err := os.Remove(ballast.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// fails runs a command that cannot be done, and returns what it says.
func (s *scenario) fails(args ...string) (said string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), servicetest.Patience)
	defer cancel()
	var out servicetest.Log
	if code := run(ctx, append(args, "--config", s.config), os.Environ(), strings.NewReader(""), &out, &out); code != exitFailed || ctx.Err() != nil {
		s.t.Fatalf("apportion %s: exit code %d\n%s", strings.Join(args, " "), code, &out)
	}
	return out.String()
}

// TestFullDisk: while Kafka, ClickHouse or the files have no room, commands wait or say so; once there is, they go on
// as if nothing had been, and nothing that was acknowledged is lost.
func TestFullDisk(t *testing.T) {
	servicetest.Heavy(t, "it fills the disks of servers of its own")
	t.Parallel()
	dir := smallDisk(t, "600m")
	s := startServersIn(t, dir).scenario(t)
	document := filepath.Join(t.TempDir(), "registry.yaml")
	if err := os.WriteFile(document, []byte(priced(10)), 0o600); err != nil {
		t.Fatal(err)
	}
	events := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(events, []byte(`{"specversion":"1.0","id":"m1","source":"test","type":"connect.usage","time":"2026-10-14T08:00:00Z","tenantid":"issued","data":{"channel":"sms","quantity":"2"}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.apportion("registry", "apply", "-f", document)
	s.apportion("publish", events)
	s.take(100)
	s.apportion("aggregate", "--until-caught-up")
	s.produce(300)

	makeRoom := fill(t, dir)
	const advice = "the disk of ClickHouse is full: make room there, and run the same command again"
	if said := s.fails("aggregate", "--rebuild"); !strings.Contains(said, advice) {
		t.Errorf("aggregate says %s", said)
	}
	s.produce(300)
	waiting := s.ingest(orders{Rows: 1000})
	waiting.Says("not enough space")
	makeRoom()
	s.getsOn(100, waiting)
	waiting.Leaves()
	s.apportion("ingest", "--until-caught-up")

	makeRoom = fill(t, dir)
	out := smallDisk(t, "256k")
	issue := []string{"bill", "issue", "--period", "2026-10", "--tenant", "issued", "--as-of", "2026-11-20T00:00:00Z", "--allow-future", "--out", out}
	if said := s.fails(issue...); !strings.Contains(said, advice) {
		t.Errorf("bill issue says %s", said)
	}
	makeRoom()
	makeRoom = fill(t, out)
	if said := s.fails(issue...); !strings.Contains(said, "no space left on device; make room there, and run the same command again") {
		t.Errorf("bill issue says %s", said)
	}
	makeRoom()
	if said := s.apportion(issue...); !strings.Contains(said, "20.00") {
		t.Errorf("bill issue says %s", said)
	}
	if _, err := os.Stat(filepath.Join(out, "2026-10", "lines.csv")); err != nil {
		t.Error(err)
	}
	s.killBroker() // what it acknowledged has to be on the disk
	s.check()
}

// produce publishes deliveries, and remembers those that the broker takes.
func (s *scenario) produce(n int) {
	s.t.Helper()
	for _, r := range s.client.ProduceSync(s.t.Context(), s.deliveries(n)...) {
		if r.Err == nil {
			s.acked[place{r.Record.Topic, r.Record.Partition, r.Record.Offset}] = string(r.Record.Value)
		}
	}
}

package main

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"apportion/deploy/embedded/servicetest"
)

// leastKills is how many processes the test kills at the least: at each point, and at any instant.
var leastKills = servicetest.Draws(22, 100)

// TestKilled kills what can be killed, at every point and at any, while deliveries are published, and loses and
// doubles none (R22). In the long form it kills four times as often.
func TestKilled(t *testing.T) {
	servicetest.Heavy(t, "it kills programs for a minute")
	t.Parallel()
	s := startServers(t)
	// Most of their time passes while the broker waits for a consumer that is dead.
	t.Run("ingest", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T){
			"at every point":          s.atEveryPoint,
			"at any instant":          s.atAnyInstant,
			"members of a group":      s.members,
			"frozen past its session": s.frozen,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t)
			})
		}
	})
	t.Run("ClickHouse", s.clickHouseUnderIngest)
	t.Run("the broker", s.brokerUnderIngest)

	sum := 0
	for _, what := range slices.Sorted(maps.Keys(s.killed)) {
		t.Logf("killed %3d times: %s", s.killed[what], what)
		sum += s.killed[what]
	}
	t.Logf("killed %3d times in all", sum)
	if s.scenarios == 6 && sum < leastKills && !t.Failed() { // all of them, unless -run left some out
		t.Errorf("%d processes were killed, and not %d", sum, leastKills)
	}
}

// points returns every point that the loop of ingest names.
func points(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "ingest", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.failpoint\("([^"]+)"\)`).FindAllSubmatch(text, -1) {
			points = append(points, string(m[1]))
		}
	}
	for _, step := range []string{"fetch", "decode", "insert", "dead letters", "ledger"} {
		if !slices.Contains(points, "before "+step) || !slices.Contains(points, "after "+step) {
			t.Fatalf("ingest has no points around %s: %q", step, points)
		}
	}
	return points
}

func (k *servers) atEveryPoint(t *testing.T) {
	s := k.scenario(t)
	stop := s.publishing()
	passings := []int64{1, 2, 5, 3, 8, 13}
	for round := range servicetest.Draws(1, len(passings)) {
		for i, point := range points(t) {
			passing := passings[(round+i%2)%len(passings)] // those of a round differ, and each point has all in the long form
			s.ingest(orders{Point: point, Passing: passing, Signal: syscall.SIGKILL, Rows: 5}).Dies()
			s.count(point)
		}
	}
	stop()
	s.check()
}

func (k *servers) atAnyInstant(t *testing.T) {
	s := k.scenario(t)
	stop := s.publishing()
	for i := range servicetest.Draws(6, 24) {
		// Some are killed while they start, others at work.
		p := s.ingest(orders{Point: "before fetch", Passing: 1, Rows: 5})
		if i%4 > 0 {
			p.Says(at("before fetch"))
		}
		time.Sleep(rand.N(150 * time.Millisecond))
		p.Kill()
		s.count("any instant")
	}
	stop()
	s.check()
}

// members has three consumers share the partitions, of which one after the other leaves, is killed or hangs.
func (k *servers) members(t *testing.T) {
	s := k.scenario(t)
	stop := s.publishing()
	members := make([]*servicetest.Process, 3)
	for i := range members {
		members[i] = s.ingest(orders{Rows: 15 + i})
	}
	s.getsOn(50, members...)
	for i := range servicetest.Draws(4, 9) {
		m := &members[i%3]
		others := []*servicetest.Process{members[(i+1)%3], members[(i+2)%3]}
		switch i % 4 {
		case 0, 2:
			(*m).Leaves()
		case 1:
			(*m).Kill()
			s.count("any instant")
		case 3:
			(*m).Signal(syscall.SIGSTOP)
			s.getsOn(200, others...)
			(*m).Signal(syscall.SIGCONT)
			s.getsOn(50, members...)
			continue
		}
		s.getsOn(50, others...)
		*m = s.ingest(orders{Rows: 13 + i})
		s.getsOn(50, members...)
	}
	for _, m := range members {
		m.Leaves()
	}
	stop()
	s.check()
}

func (k *servers) clickHouseUnderIngest(t *testing.T) { k.under(t, k.killClickHouse) }

func (k *servers) brokerUnderIngest(t *testing.T) { k.under(t, k.killBroker) }

// under has two consumers outlive a server that is killed and comes back.
func (k *servers) under(t *testing.T, kill func()) {
	s := k.scenario(t)
	stop := s.publishing()
	members := []*servicetest.Process{s.ingest(orders{Rows: 15}), s.ingest(orders{Rows: 16})}
	for range servicetest.Draws(2, 3) {
		s.getsOn(50, members...)
		time.Sleep(rand.N(100 * time.Millisecond))
		kill()
		s.getsOn(50, members...)
	}
	for _, m := range members {
		m.Leaves()
	}
	stop()
	s.check()
}

// frozen stops a consumer at a point until another one has gone on with some of its partitions, and then lets it go
// on. It must not add to the ledger where the other one is further on; where both are as far, both may enter the same
// offsets at once.
func (k *servers) frozen(t *testing.T) {
	s := k.scenario(t)
	stop := s.publishing()
	points := []string{"before insert", "between dead letters", "before ledger", "after ledger", "before ledger", "before ledger"}
	for i, point := range points[:servicetest.Draws(4, len(points))] {
		frozen := s.ingest(orders{Point: point, Passing: int64(4 + i), Signal: syscall.SIGSTOP, Rows: 7})
		frozen.Says(at(point))
		other := s.ingest(orders{Rows: 4})
		s.getsOn(150, other)
		frozen.Signal(syscall.SIGCONT)
		s.getsOn(50, other)
		other.Kill()
		s.count("one that stood in for another")
		s.getsOn(50, frozen)
		frozen.Leaves()
	}
	stop()
	s.check()
}

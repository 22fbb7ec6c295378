package ingest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
)

// slow is a ClickHouse that looks at the ledger for an entry, and writes it only after something else.
type slow struct {
	driver.Conn
	enter func(write func() error) error
}

func (s slow) Exec(ctx context.Context, query string, args ...any) error {
	if !strings.HasPrefix(query, "INSERT INTO ingest_batches") {
		return s.Conn.Exec(ctx, query, args...)
	}
	write, look, found := strings.Cut(query, "WHERE next <= first_offset")
	if !found || look != "" {
		return fmt.Errorf("the entry does not end in a look at the ledger: %s", query)
	}
	return s.enter(func() error { return s.Conn.Exec(context.WithoutCancel(ctx), write, args...) })
}

// TestTwoConsumersEnterAtOnce has ClickHouse find for a consumer that nobody has entered its batch, another one take
// its partitions over and enter the same offsets in batches of its own, and the first one's entry written then.
func TestTwoConsumersEnterAtOnce(t *testing.T) { eachKafka(t, testTwoConsumersEnterAtOnce) }

func testTwoConsumersEnterAtOnce(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 1)
	cfg, deps := e.produceOneBatch(), e.deps()
	entries := 0
	deps.ClickHouse = slow{e.conn, func(write func() error) error {
		if entries++; entries == 1 {
			e.evict(cfg.Group)
			other := cfg
			other.BatchRows = 7
			e.ingest(other, e.deps())
			if accepted, rejected := e.balanced(); accepted != 120 || rejected != 20 {
				t.Errorf("one consumer accepted %d, and rejected %d", accepted, rejected)
			}
		}
		return write()
	}}
	e.ingest(cfg, deps)
	e.enteredTwice()
}

// TestAttemptsEnterAtOnce has ClickHouse go on with an entry that a consumer gave up waiting for, and tried again.
func TestAttemptsEnterAtOnce(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnv(t, 1)
	cfg, deps := e.produceOneBatch(), e.deps()
	var first func() error
	entries := 0
	deps.ClickHouse = slow{e.conn, func(write func() error) error {
		switch entries++; entries {
		case 1:
			first = write
			return errors.New("no answer")
		case 2:
			return errors.Join(write(), first())
		}
		return write()
	}}
	e.ingest(cfg, deps)
	e.enteredTwice()
}

// TestBatchesAroundARetriedEntry: what follows a batch that was entered only at its second attempt is in one run with it,
// and not with what was before it. Or merged rows would show a hole where there is none, once a partition has one.
func TestBatchesAroundARetriedEntry(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnv(t, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(30)...)...)
	cfg, deps := e.config(), e.deps()
	cfg.BatchRows, cfg.BatchAge = 10, servicetest.Patience
	entries := 0
	deps.ClickHouse = failing{e.conn, func(query string) error {
		if strings.HasPrefix(query, "INSERT INTO ingest_batches") {
			if entries++; entries == 2 {
				return errors.New("away")
			}
		}
		return nil
	}}
	e.exec("SYSTEM STOP MERGES ingest_batches")
	e.ingest(cfg, deps)
	topic := e.Prefix + schemas.TopicAgent
	got := e.rows(`SELECT first_offset, last_offset, dense_rank() OVER (ORDER BY run = first) FROM (
			SELECT *, first_value(run) OVER (ORDER BY first_offset) AS first FROM ingest_batches)
		ORDER BY first_offset`)
	if want := []string{"(0,9,2)", "(10,19,1)", "(20,29,1)"}; !slices.Equal(got, want) {
		t.Errorf("the batches and their runs are %v, want %v", got, want)
	}
	e.exec("INSERT INTO ingest_batches (topic, partition, first_offset, last_offset) VALUES ('" + topic + "', 0, 40, 40)")
	e.exec("SYSTEM START MERGES ingest_batches")
	hole := Hole{partition(topic, 0), OffsetRange{30, 39}}
	for _, merged := range []string{"as entered", "merged"} {
		balances, err := Balance(t.Context(), e.conn, nil, hole)
		if err != nil {
			t.Fatal(err)
		}
		if b := balances[0]; !b.Balanced() || b.Accepted != 30 || !slices.Equal(b.AcceptedHoles, []OffsetRange{{30, 39}}) {
			t.Errorf("%s: accepted %d, holes accepted %v, differences %q", merged, b.Accepted, b.AcceptedHoles, b.Differences)
		}
		e.exec("OPTIMIZE TABLE ingest_batches FINAL")
	}
}

// produceOneBatch produces 120 good deliveries and 20 bad ones, and returns a Config that takes them in at once.
func (e *env) produceOneBatch() Config {
	lines := append(sessions(120), slices.Repeat([]string{"{"}, 20)...)
	e.Produce(schemas.TopicAgent, 0, messagesOf(lines...)...)
	cfg := e.config()
	cfg.BatchAge = servicetest.Patience
	return cfg
}

// enteredTwice fails the test unless the ledger has the deliveries of produceOneBatch from two runs, and balances all
// the same, however it is merged; and unless it still shows what is lost of them, or doubled.
func (e *env) enteredTwice() {
	e.t.Helper()
	topic := e.Prefix + schemas.TopicAgent
	got := e.rows("SELECT read, accepted, rejected FROM v_ingest_partitions")
	if !slices.Equal(got, []string{"(280,240,40)"}) {
		e.t.Fatalf("not every delivery was entered twice: %s", got)
	}
	for _, merged := range []string{"as entered", "merged"} {
		if accepted, rejected := e.balanced(); accepted != 120 || rejected != 20 {
			e.t.Errorf("%s: accepted %d, rejected %d", merged, accepted, rejected)
		}
		e.exec("OPTIMIZE TABLE ingest_batches FINAL")
	}
	for _, fault := range []struct{ statement, shows string }{
		{`DELETE FROM usage_events WHERE topic = 'TOPIC' AND offset = 3`,
			`^the ledger says that 121 were accepted, but usage_events has 119
of the batch 0-\d+ neither usage_events nor rejected has the offsets 3
of the batch 0-\d+ neither usage_events nor rejected has the offsets 3$`},
		{`INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, run)
			SELECT topic, partition, first_offset, first_offset, run FROM ingest_batches
			WHERE topic = 'TOPIC' AND first_offset = 0 ORDER BY last_offset, run LIMIT 1`, // the run that a new minute has cut
			`^the ledger has the offsets 0 more than once\n`},
	} {
		e.exec(strings.ReplaceAll(fault.statement, "TOPIC", topic))
		balances, err := Balance(e.t.Context(), e.conn, nil)
		if err != nil {
			e.t.Fatal(err)
		}
		got := strings.ReplaceAll(strings.Join(balances[0].Differences, "\n"), topic+"/0: ", "")
		if len(balances) != 1 || !regexp.MustCompile(fault.shows).MatchString(got) {
			e.t.Errorf("after %s: %d partitions differ by\n%s\nand not by\n%s",
				fault.statement, len(balances), got, fault.shows)
		}
	}
}

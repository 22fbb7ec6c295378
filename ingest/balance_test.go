package ingest

import (
	"fmt"
	"slices"
	"testing"

	"apportion/ingest/kafka"
)

func TestBalanceOfNothing(t *testing.T) {
	if balances, err := Balance(t.Context(), newEnv(t, 1).conn, nil); err != nil || len(balances) > 0 {
		t.Errorf("the balance of empty tables is %+v, %v", balances, err)
	}
}

func TestBalanceNamesDifferences(t *testing.T) {
	e := newEnv(t, 1)
	e.exec(`INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) VALUES
		('fine', 0, 5, 6, 2, 1, 1),
		('hole', 0, 0, 4, 0, 0, 0), ('hole', 0, 7, 7, 0, 0, 0), ('hole', 0, 9, 9, 0, 0, 0),
		('overlap', 3, 0, 4, 0, 0, 0), ('overlap', 3, 2, 2, 0, 0, 0), ('overlap', 3, 4, 8, 0, 0, 0),
		('sum', 0, 0, 4, 5, 0, 0), ('empty', 0, 0, 4, 5, 5, 0), ('begins', 0, 3, 3, 1, 1, 0),
		('stored', 0, 0, 4, 5, 3, 2), ('twice', 1, 0, 3, 4, 3, 1), ('twice', 1, 4, 5, 2, 2, 0)`)
	e.exec("INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) SELECT 'many', 0, number, number, 1, 1, 0 FROM numbers(24)")
	e.exec(`INSERT INTO usage_events (tenant, type, id, topic, partition, offset) VALUES
		('t', 'agent.session', 'a', 'fine', 0, 5), ('t', 'agent.session', 'later', 'fine', 0, 7), ('t', 'agent.session', 'other', 'lost', 1, 5),
		('t', 'agent.session', 'a', 'stored', 0, 1), ('t', 'agent.session', 'a', 'many', 0, 0),
		('t', 'agent.session', 'a', 'twice', 1, 0), ('t', 'agent.session', 'a', 'twice', 1, 1), ('t', 'agent.session', 'a', 'twice', 1, 2),
		('t', 'agent.session', 'a', 'twice', 1, 4), ('t', 'agent.session', 'a', 'twice', 1, 5),
		('t', 'agent.session', 'a', 'begins', 0, 1), ('t', 'agent.session', 'b', 'begins', 0, 3)`)
	// The same offset under two keys is still one delivery.
	e.exec("INSERT INTO usage_events (tenant, type, id, topic, partition, offset) VALUES ('u', 'agent.session', 'a', 'stored', 0, 1)")
	e.exec("INSERT INTO rejected (topic, partition, offset) VALUES ('fine', 0, 6), ('fine', 0, 8), ('twice', 1, 1), ('twice', 1, 2), ('twice', 1, 3)")
	balances, err := Balance(t.Context(), e.conn, map[kafka.TopicPartition]kafka.Bounds{
		partition("fine", 0): bounds(7, 9), partition("hole", 0): bounds(12, 12), partition("deleted", 0): bounds(5, 5), partition("empty", 1): {},
	}, Hole{partition("fine", 0), OffsetRange{0, 4}}, Hole{partition("hole", 0), OffsetRange{10, 10}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"fine":    nil,
		"hole":    {"hole/0: no batch of the ledger has the offsets 5-6", "hole/0: no batch of the ledger has the offsets 8", "hole/0: no batch of the ledger has the offsets 11"},
		"deleted": {"deleted/0: no batch of the ledger has the offsets 0-4"},
		"overlap": {"overlap/3: the ledger has the offsets 2 more than once", "overlap/3: the ledger has the offsets 4 more than once"},
		"sum":     {"sum/0: the ledger says that 5 were read, but 0 accepted and 0 rejected"},
		"stored": {"stored/0: the ledger says that 3 were accepted, but usage_events has 1", "stored/0: the ledger says that 2 were rejected, but the table rejected has 0",
			"stored/0: of the batch 0-4 neither usage_events nor rejected has the offsets 0, 2-4"},
		"empty": {"empty/0: the ledger says that 5 were accepted, but usage_events has 0", "empty/0: neither usage_events nor rejected has any of the offsets 0-4"},
		"twice": {"twice/1: the ledger says that 1 were rejected, but the table rejected has 3",
			"twice/1: of the batch 0-3 usage_events and rejected both have the offsets 1-2"},
		// The ledger has lost its first batch, or all of them.
		"begins": {"begins/0: no batch of the ledger has the offsets 0-2", "begins/0: the ledger says that 1 were accepted, but usage_events has 2"},
		"lost":   {"lost/1: no batch of the ledger has the offsets 0-5", "lost/1: the ledger says that 0 were accepted, but usage_events has 1"},
	}
	want["many"] = []string{"many/0: the ledger says that 24 were accepted, but usage_events has 1"}
	for i := 1; i <= maxListed; i++ {
		want["many"] = append(want["many"], fmt.Sprintf("many/0: of the batch %[1]d neither usage_events nor rejected has the offsets %[1]d", i))
	}
	want["many"] = append(want["many"], "many/0: and 3 more batches of the ledger differ from the tables")
	if len(balances) != len(want) {
		t.Fatalf("%d partitions: %+v", len(balances), balances)
	}
	for _, b := range balances {
		if !slices.Equal(b.Differences, want[b.Topic]) || b.Balanced() != (b.Topic == "fine") {
			t.Errorf("%s: %q and not %q", b.Topic, b.Differences, want[b.Topic])
		}
	}
	if fine := balances[slices.IndexFunc(balances, func(b PartitionBalance) bool { return b.Topic == "fine" })]; fine.Offsets != (OffsetRange{5, 6}) || fine.Read != 2 || fine.StoredAccepted != 1 || fine.StoredRejected != 1 {
		t.Errorf("the balance is %+v", fine)
	}
}

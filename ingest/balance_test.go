package ingest

import (
	"slices"
	"testing"
)

func TestBalanceNamesDifferences(t *testing.T) {
	e := newEnv(t, 1)
	e.exec(`INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) VALUES
		('fine', 0, 5, 6, 2, 1, 1),
		('hole', 0, 0, 4, 0, 0, 0), ('hole', 0, 7, 7, 0, 0, 0), ('hole', 0, 9, 9, 0, 0, 0),
		('overlap', 3, 0, 4, 0, 0, 0), ('overlap', 3, 2, 2, 0, 0, 0), ('overlap', 3, 4, 8, 0, 0, 0),
		('sum', 0, 0, 4, 5, 0, 0),
		('stored', 0, 0, 4, 5, 3, 2)`)
	e.exec(`INSERT INTO usage_events (tenant, type, id, topic, partition, offset) VALUES
		('t', 'agent.session', 'a', 'fine', 0, 5), ('t', 'agent.session', 'later', 'fine', 0, 7), ('t', 'agent.session', 'other', 'fine', 1, 5),
		('t', 'agent.session', 'a', 'stored', 0, 1)`)
	// The same offset under two keys is still one delivery.
	e.exec("INSERT INTO usage_events (tenant, type, id, topic, partition, offset) VALUES ('u', 'agent.session', 'a', 'stored', 0, 1)")
	e.exec("INSERT INTO rejected (topic, partition, offset) VALUES ('fine', 0, 6), ('fine', 0, 8)")
	balances, err := Balance(t.Context(), e.conn)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"fine":    nil,
		"hole":    {"offsets 5-6 were never taken in", "offsets 8 were never taken in"},
		"overlap": {"offsets 2 are in the ledger more than once", "offsets 4 are in the ledger more than once"},
		"sum":     {"5 were read, but 0 accepted and 0 rejected"},
		"stored":  {"3 were accepted, but usage_events has 1", "2 were rejected, but the table rejected has 0"},
	}
	if len(balances) != len(want) {
		t.Fatalf("%d partitions: %+v", len(balances), balances)
	}
	for _, b := range balances {
		if !slices.Equal(b.Differences, want[b.Topic]) || b.Balanced() != (b.Topic == "fine") {
			t.Errorf("%s: %q and not %q", b.Topic, b.Differences, want[b.Topic])
		}
	}
	if fine := balances[0]; fine.Offsets != (OffsetRange{5, 6}) || fine.Read != 2 || fine.StoredAccepted != 1 || fine.StoredRejected != 1 {
		t.Errorf("the balance is %+v", fine)
	}
}

package service

import "testing"

// TestReplayAddsUp: the pages of a replay are counted together, each delivery as what became of it.
func TestReplayAddsUp(t *testing.T) {
	r := new(Replay)
	r.add([]Replayed{{Outcome: LetterReplayed}, {Outcome: LetterAccepted}})
	r.add([]Replayed{{Outcome: LetterRefused}, {Outcome: LetterReplayed}})
	if r.Replayed != 2 || r.Accepted != 1 || r.Refused != 1 || len(r.Deliveries) != 4 {
		t.Errorf("both pages together are %+v", r)
	}
}

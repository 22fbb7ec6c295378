package service

import (
	"context"
	"strings"
	"testing"

	"apportion/ingest"
	"apportion/schemas"
)

// TestReplayAddsUp: the pages of a replay are counted together, each delivery as what became of it.
func TestReplayAddsUp(t *testing.T) {
	r := new(Replay)
	r.add([]Replayed{{Outcome: LetterReplayed}, {Outcome: LetterAccepted}})
	r.add([]Replayed{{Outcome: LetterRefused}, {Outcome: LetterReplayed}})
	if r.Replayed != 2 || r.Accepted != 1 || r.Refused != 1 || len(r.Deliveries) != 4 {
		t.Errorf("both pages together are %+v", r)
	}
}

// oneLetter is a table of one dead letter, and what was accepted of its event.
type oneLetter struct {
	DeadLetters
	letter   ingest.DeadLetter
	accepted []ingest.Acceptance
}

func (o oneLetter) List(context.Context, ingest.RejectedFilter, int) ([]ingest.DeadLetter, error) {
	return []ingest.DeadLetter{{RecordID: o.letter.RecordID}}, nil
}

func (o oneLetter) Read(context.Context, []schemas.RecordID) ([]ingest.DeadLetter, error) {
	return []ingest.DeadLetter{o.letter}, nil
}

func (o oneLetter) Answers(_ context.Context, letters []ingest.DeadLetter) ([]*ingest.Acceptance, error) {
	if _, ok := letters[0].Identity(); !ok {
		return []*ingest.Acceptance{nil}, nil
	}
	return []*ingest.Acceptance{letters[0].Answer(o.accepted)}, nil
}

// TestReplayOfTooLarge: what was too large is answered by what was sent in its place, as in the list of what is open.
func TestReplayOfTooLarge(t *testing.T) {
	record := schemas.RecordID{Topic: schemas.TopicAgent, Offset: 7}
	value := `{"specversion":"1.0","id":"s-1","source":"/test","type":"agent.session","time":"2026-10-14T12:00:00Z",` +
		`"tenantid":"acme","data":{"agentId":"a","startTime":1791979200000,"revision":1,"x":"` +
		strings.Repeat("x", schemas.MaxValueBytes) + `"}}`
	for revision, outcome := range []string{LetterRefused, LetterAccepted} {
		letters := oneLetter{letter: ingest.DeadLetter{RecordID: record, Value: []byte(value)},
			accepted: []ingest.Acceptance{{Revision: int32(revision)}}}
		r := NewRejected(letters, map[string]schemas.Type{schemas.TopicAgent: schemas.AgentSession})
		got, err := r.Replay(t.Context(), ingest.RejectedFilter{Records: []schemas.RecordID{record}}, 0, true)
		if err != nil || got.Deliveries[0].Outcome != outcome || got.Deliveries[0].ID != "s-1" {
			t.Errorf("with revision %d accepted: %+v, %v; want %s", revision, got, err, outcome)
		}
	}
}

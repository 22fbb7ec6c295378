package ingest

import (
	"math"
	"testing"
)

// A refused delivery is reported when its event counts by another one, once, and in the period of that one.
func TestRefusedCorrections(t *testing.T) {
	e := newEnv(t, 1)
	e.exec(`INSERT INTO usage_events (tenant, type, source, id, at_ms, topic, partition, offset) VALUES
		('acme', 'agent.session', '/s', 'corrected', 1000, 'agent', 0, 0), ('acme', 'agent.session', '/s', 'fine', 1000, 'agent', 0, 1),
		('acme', 'agent.session', '/s', 'other month', 9000, 'agent', 0, 2)`)
	for range 2 { // a replay
		e.exec(`INSERT INTO rejected (tenant, source, id, code, field, topic, partition, offset) VALUES
			('acme', '/s', 'corrected', 'invalid_field', 'endTime', 'agent', 0, 7), ('acme', '/s', 'other month', 'too_large', '', 'agent', 0, 8),
			('acme', '/s', 'never accepted', 'too_large', '', 'agent', 0, 9), ('beta', '/s', 'corrected', 'too_large', '', 'agent', 0, 10),
			('', '', '', 'malformed_json', '', 'agent', 0, 11)`)
	}
	got, err := RefusedCorrections(t.Context(), e.conn, 1000, 9000)
	if err != nil {
		t.Fatal(err)
	}
	if want := (RefusedCorrection{"acme", "/s", "corrected", "invalid_field", "endTime", "agent", 0, 7}); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v alone", got, want)
	}
	if got, err := RefusedCorrections(t.Context(), e.conn, 0, math.MaxInt64); err != nil || len(got) != 2 {
		t.Errorf("of all time %+v, %v; want 2", got, err)
	}
}

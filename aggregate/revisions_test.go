package aggregate

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"apportion/schemas"
)

// delivery draws deliveries of few identities, revisions and contents, so that they meet.
var delivery = rapid.Custom(func(t *rapid.T) schemas.Event {
	start := rapid.Int64Range(0, 3).Draw(t, "start")
	e := schemas.Event{
		Tenant:   rapid.SampledFrom([]string{"acme", "beta"}).Draw(t, "tenant"),
		Source:   rapid.SampledFrom([]string{"one", "two"}).Draw(t, "source"),
		ID:       rapid.SampledFrom([]string{"x", "y"}).Draw(t, "id"),
		Type:     rapid.SampledFrom([]schemas.Type{schemas.AgentSession, schemas.ConnectUsage}).Draw(t, "type"),
		Revision: rapid.Int32Range(0, 2).Draw(t, "revision"),
		Voided:   rapid.Bool().Draw(t, "voided"),
		TimeMS:   rapid.Int64Range(5, 6).Draw(t, "time"),
	}
	if e.Type == schemas.AgentSession {
		e.Agent, e.StartMS, e.EndMS = "a1", start, start+1
	} else {
		e.Channel, e.Quantity, e.StartMS, e.EndMS = "sms", 1+start, schemas.Absent, schemas.Absent
	}
	return e
})

// TestResolveRevisionsFollowsR8 holds every identity's winner, its conflict and its counts to the words of R8.
func TestResolveRevisionsFollowsR8(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		deliveries := rapid.SliceOfN(delivery, 0, 30).Draw(t, "deliveries")
		contents := ResolveRevisions(deliveries)
		for _, d := range deliveries {
			same := func(e *schemas.Event) bool { return e.Tenant == d.Tenant && e.Source == d.Source && e.ID == d.ID }
			var winner *Content
			var total int64
			for i := range contents {
				if c := &contents[i]; same(&c.Event) {
					total += c.Deliveries
					if c.Wins && winner != nil {
						t.Fatal("two contents of one event win")
					} else if c.Wins {
						winner = c
					} else if c.Conflict {
						t.Fatal("a conflict is marked on a content that does not win")
					}
				}
			}
			if winner == nil {
				t.Fatal("no content of an event wins")
			}
			var there int64
			conflict := false
			for _, o := range deliveries {
				if !same(&o) {
					continue
				}
				there++
				a, b := winner.AppendCanonical(nil), o.AppendCanonical(nil)
				if cmp.Or(cmp.Compare(winner.Revision, o.Revision), cmp.Compare(winner.TimeMS, o.TimeMS), bytes.Compare(a, b)) < 0 {
					t.Fatalf("%s wins over %s", a, b)
				}
				conflict = conflict || winner.Revision == o.Revision && !bytes.Equal(a, b)
			}
			if total != there || winner.Conflict != conflict {
				t.Fatalf("%d deliveries, conflict %t; want %d, %t", total, winner.Conflict, there, conflict)
			}
		}
	})
}

// TestResolveRevisionsKnowsNoOrder: deliveries in another order give the same contents (R8, R23).
func TestResolveRevisionsKnowsNoOrder(t *testing.T) {
	sorted := func(contents []Content) []Content {
		return slices.SortedFunc(slices.Values(contents), func(a, b Content) int {
			return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Source, b.Source), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Revision, b.Revision),
				bytes.Compare(a.AppendCanonical(nil), b.AppendCanonical(nil)))
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		deliveries := rapid.SliceOfN(delivery, 0, 20).Draw(t, "deliveries")
		shuffled := rapid.Permutation(deliveries).Draw(t, "shuffled")
		if a, b := sorted(ResolveRevisions(deliveries)), sorted(ResolveRevisions(shuffled)); !slices.Equal(a, b) {
			t.Fatalf("%v\nin another order\n%v", a, b)
		}
	})
}

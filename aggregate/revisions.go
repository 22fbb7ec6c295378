package aggregate

import (
	"bytes"
	"cmp"
	"slices"

	"apportion/schemas"
)

// Content is one revision and content of an event, with the number of deliveries that brought it.
type Content struct {
	schemas.Event
	Deliveries int64
	// Wins marks the event's winner; exactly one content of an event does.
	Wins bool
	// Conflict marks the winner of an event whose highest revision has several contents.
	Conflict bool
}

// ResolveRevisions groups deliveries by identity, revision and content and marks the winner of each identity (R8). The
// order of the deliveries makes no difference, and neither does a delivery of which there is one already,
// beyond being counted.
func ResolveRevisions(deliveries []schemas.Event) []Content {
	if len(deliveries) == 1 { // as most events have, and there may be millions
		return []Content{{Event: deliveries[0], Deliveries: 1, Wins: true}}
	}
	type identity struct{ tenant, source, id string }
	type candidate struct {
		Content
		canonical []byte
	}
	events := map[identity][]candidate{}
	for _, d := range deliveries {
		key := identity{d.Tenant, d.Source, d.ID}
		canonical := d.AppendCanonical(nil)
		same := slices.IndexFunc(events[key], func(c candidate) bool {
			return c.Revision == d.Revision && bytes.Equal(c.canonical, canonical)
		})
		if same >= 0 {
			events[key][same].Deliveries++
			continue
		}
		events[key] = append(events[key], candidate{Content{Event: d, Deliveries: 1}, canonical})
	}
	var contents []Content
	for _, candidates := range events {
		slices.SortFunc(candidates, func(a, b candidate) int {
			return -cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.TimeMS, b.TimeMS),
				bytes.Compare(a.canonical, b.canonical))
		})
		candidates[0].Wins = true
		candidates[0].Conflict = len(candidates) > 1 && candidates[1].Revision == candidates[0].Revision
		for _, c := range candidates {
			contents = append(contents, c.Content)
		}
	}
	return contents
}

package aggregate

import (
	"bytes"
	"cmp"
	"slices"

	"apportion/schemas"
)

// Delivery is an accepted delivery and its record on Kafka.
type Delivery struct {
	schemas.Event
	schemas.RecordID
	// ArrivedMS is its Kafka timestamp, in UTC epoch milliseconds.
	ArrivedMS int64
}

// Span is `[FromMS, ToMS)` in UTC epoch milliseconds.
type Span struct{ FromMS, ToMS int64 }

// EventFilter says which events of a tenant are looked for: those of which any delivery is as follows. Others may come
// along, since it shows only when the winner is known what an event amounts to.
type EventFilter struct {
	Tenant string
	Types  []schemas.Type
	// FromMS and ToMS, `[from, to)` in UTC epoch milliseconds, hold when the usage happened (R22).
	FromMS, ToMS int64
	// LiveAt, if not nil, is an instant by which the delivery's session has not ended.
	LiveAt *int64
	// Channel, if not empty, is that of Connect.
	Channel string
	// Class, if not empty, is the one licence class that the session may name; it need not name one.
	Class string
	// Beyond, if not nil, leaves out events all of whose deliveries are within it: those that remain are new since, or
	// corrected. It is not for OneEach. BeyondIn, if not nil, holds when the usage of what is behind it happened.
	Beyond   *ReadBound
	BeyondIn *Span
	// Agents, if not nil, are those of the session; with OneEach one session of every agent is enough.
	Agents  []string
	OneEach bool
}

// EventLook says which events of a tenant are looked for: one, by source and id, or those of which a delivery is a
// session of an agent that happened in `[FromMS, ToMS)`, in UTC epoch milliseconds.
type EventLook struct {
	Tenant       string
	Source, ID   string
	Agent        string
	FromMS, ToMS int64
	// Sources, if not nil, are the only ones looked at.
	Sources []string
	// From leaves out those before this place, and Limit is how many there are at the most.
	From  EventPlace
	Limit int
}

// EventPlace is where an event is in a list: by when its usage first happened by any of the deliveries looked for, in
// UTC epoch milliseconds, then by source and id in byte order.
type EventPlace struct {
	FirstMS    int64
	Source, ID string
}

// The fates of a delivery within its event (R8).
const (
	Wins       = "winner"
	Duplicate  = "duplicate"
	Superseded = "superseded"
)

// What becomes of a winner that does not count, and of every delivery of a tenant that the registry does not have.
const (
	Voided        = "voided"
	Unallocated   = "unallocated"
	UnknownTenant = string(schemas.UnknownTenant)
)

// Outcome says what became of one of the deliveries of the event (R22): its fate or, where that is to win, why it does
// not count.
func (e *Evidence) Outcome(d Delivered) string {
	switch {
	case e.To.UnknownTenant:
		return UnknownTenant
	case d.Fate != Wins:
		return d.Fate
	case e.Winner.Voided:
		return Voided
	case e.To.Subscription == "":
		return Unallocated
	}
	return Wins
}

// Delivered is a delivery with what became of it.
type Delivered struct {
	Delivery
	Fate string
}

// Evidence is an event as it counts, and all of its deliveries.
type Evidence struct {
	Winner Content
	To     Attribution
	// FromMS and ToMS are when a session is live (R12), in UTC epoch milliseconds.
	FromMS, ToMS int64
	// Deliveries are in the order of their records. Of those that brought one content the first has its fate, and
	// the rest are duplicates.
	Deliveries []Delivered
}

// ResolveEvent finds the winner of one event, of which it is given all deliveries (R8), and attributes it (R9, R10,
// R11).
func (t Timelines) ResolveEvent(deliveries []Delivery, rules Rules, now int64) Evidence {
	deliveries = slices.SortedFunc(slices.Values(deliveries), func(a, b Delivery) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	var e Evidence
	for _, c := range ResolveRevisions(Events(deliveries)) {
		if c.Wins {
			e.Winner = c
		}
	}
	e.To = t.Attribute(&e.Winner.Event)
	if e.Winner.Type != schemas.ConnectUsage {
		e.FromMS, e.ToMS = rules.Live(&e.Winner.Event, now)
	}
	type content struct {
		revision  int32
		canonical string
	}
	won := e.Winner.AppendCanonical(nil)
	seen := map[content]bool{}
	for _, d := range deliveries {
		canonical := d.AppendCanonical(nil)
		c := content{d.Revision, string(canonical)}
		fate := Superseded
		if seen[c] {
			fate = Duplicate
		} else if d.Revision == e.Winner.Revision && bytes.Equal(canonical, won) {
			fate = Wins
		}
		seen[c] = true
		e.Deliveries = append(e.Deliveries, Delivered{d, fate})
	}
	return e
}

// Counts reports whether the event counts as usage.
func (e *Evidence) Counts() bool { return e.Winner.Counts(e.To) }

// Events returns deliveries without their records.
func Events(deliveries []Delivery) []schemas.Event {
	events := make([]schemas.Event, len(deliveries))
	for i, d := range deliveries {
		events[i] = d.Event
	}
	return events
}

package aggregate

import (
	"cmp"
	"slices"

	"apportion/schemas"
)

// MostNames is how many events, or agents, are named of those that one thing is noted of.
const MostNames = 10

// EventName is the identity of an event of a known tenant (R8).
type EventName struct{ Source, ID string }

// Compare orders names by the bytes of source and id.
func (n EventName) Compare(o EventName) int {
	return cmp.Or(cmp.Compare(n.Source, o.Source), cmp.Compare(n.ID, o.ID))
}

// Noted are the events of a tenant of which one thing is to be said.
type Noted struct {
	Tenant string
	Code   schemas.Code
	Count  int64
	// Events are the first of them, in the order of source and id.
	Events []EventName
}

// PeakAt is an instant at which a tenant's usage of a meter is at its peak, in UTC epoch milliseconds.
type PeakAt struct {
	Tenant, Meter string
	AtMS          int64
}

// AtPeak is what is live at a peak that somebody should look at.
type AtPeak struct {
	PeakAt
	// Agents are the live ones whose ids may differ from another's only in case or outer spaces.
	Agents []string
	// Open counts the live sessions that have no end (R12), and OpenEvents are the first of them.
	Open       int64
	OpenEvents []EventName
}

// Refused is a delivery that was refused, of an event that has an accepted one.
type Refused struct {
	Tenant string
	EventName
	// Revision is the highest that was accepted, TimeMS the latest time, in UTC epoch milliseconds, and TimeRevision the
	// highest revision that was accepted with that time.
	Revision     int32
	TimeMS       int64
	TimeRevision int32
	Headers      []schemas.Header
	Value        []byte
	schemas.RecordID
	Code  schemas.Code
	Field string
}

// notes are the codes of what is to be said of a content.
func notes(c Content, a Attribution, nowMS int64) (codes []schemas.Code) {
	if !c.Wins || a.UnknownTenant {
		return nil
	}
	add := func(is bool, code schemas.Code) {
		if is {
			codes = append(codes, code)
		}
	}
	add(c.Conflict, schemas.Conflict)
	isUsage := !c.Voided
	add(isUsage && a.Subscription == "", schemas.NeverBilled)
	add(isUsage && c.OccurredMS() > nowMS, schemas.Ahead)
	add(isUsage && c.Type != schemas.ConnectUsage && c.EndMS == schemas.Absent, schemas.OpenSession)
	add(isUsage && a.Unmapped, schemas.Unmapped)
	add(isUsage && a.UnknownSubscription, schemas.UnknownSubscription)
	return codes
}

// ReferenceNotes finds what is noted in deliveries of one tenant, all of which are behind what is noted, as the SQL
// does and far more slowly: in the order of codes.
func ReferenceNotes(deliveries []schemas.Event, in Inputs) []Noted {
	found := map[schemas.Code]*Noted{}
	for _, c := range ResolveRevisions(deliveries) {
		if !slices.ContainsFunc(in.Days, func(d Day) bool {
			return d.Tenant == c.Tenant && d.FromMS <= c.OccurredMS() && c.OccurredMS() < d.ToMS
		}) {
			continue
		}
		for _, code := range notes(c, in.Timelines.Attribute(&c.Event), in.NowMS) {
			if found[code] == nil {
				found[code] = &Noted{Tenant: c.Tenant, Code: code}
			}
			n := found[code]
			n.Count++
			n.Events = append(n.Events, EventName{c.Source, c.ID})
		}
	}
	var all []Noted
	for _, n := range found {
		slices.SortFunc(n.Events, EventName.Compare)
		n.Events = n.Events[:min(len(n.Events), MostNames)]
		all = append(all, *n)
	}
	slices.SortFunc(all, func(x, y Noted) int { return cmp.Compare(x.Code, y.Code) })
	return all
}

package registry

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"apportion/schemas"
	"apportion/schemas/strict"
)

// Hole is a run of offsets of a usage topic that are gone: they will never be read, and were never taken in.
type Hole struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first"` // the first offset that is gone
	Last      int64  `json:"last"`  // the last one
}

// AcceptedHole is a hole that somebody has accepted: billing goes on without what was in it, and every balance
// shows it from then on (R22). It is of no tenant, since nobody knows whose deliveries were lost.
type AcceptedHole struct {
	Hole
	Reason string `json:"reason"`
	// Offset is that of the command that accepts it.
	Offset int64 `json:"offset"`
}

// AcceptedHoles returns the holes that have been accepted, by topic, partition, first offset and the order in which
// they were.
func (s State) AcceptedHoles() []AcceptedHole {
	return slices.SortedStableFunc(slices.Values(s.holes), func(x, y AcceptedHole) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.First, y.First))
	})
}

// decideHole returns every reason to refuse that a hole is accepted. Whether there is one is for whoever gives the
// command to see: the log knows no topic but itself.
func decideHole(s State, c Command) []Refusal {
	var check checker
	check.reason("data.reason", c.Reason)
	check.missing("data.topic", c.Hole.Topic == "", "the topic that has the hole")
	if c.Hole.First > c.Hole.Last {
		check.refuse(schemas.InvalidField, "data.last", strconv.FormatInt(c.Hole.Last, 10),
			"before the first offset, %d; give the first and the last offset that are gone", c.Hole.First)
	}
	for _, h := range s.holes {
		if h.Topic == c.Hole.Topic && h.Partition == c.Hole.Partition && h.First <= c.Hole.First && c.Hole.Last <= h.Last {
			check.refuse(schemas.AlreadyAccepted, "data.first", strconv.FormatInt(c.Hole.First, 10),
				"the offsets %d-%d are accepted already (%s); there is nothing left to do", h.First, h.Last, h.Reason)
			break
		}
	}
	return check.refusals
}

// number reads a whole number from 0 to most.
func (r reader) number(most int64, set func(int64)) strict.Field {
	return func(path string, n *strict.Node) {
		text, plain, ok := r.Scalar(path, n, "a whole number")
		if !ok {
			return
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !plain || v < 0 || v > most {
			r.Refuse(n, schemas.InvalidField, path, text, "not a whole number from 0 to %d", most)
			return
		}
		set(v)
	}
}

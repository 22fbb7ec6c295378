package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/strict"
)

// The tables that deliveries are removed from.
const (
	UsageEvents = "usage_events" // accepted deliveries, of sealed periods alone (R25)
	DeadLetters = "rejected"     // refused deliveries, by their age
)

// Removal says which deliveries are removed from a table for good. It is given before they are, and names them so that
// whoever was killed in between goes on with the same: every balance counts them as removed from then on, whether they
// still are there or not (R22).
type Removal struct {
	Table string `json:"table"`
	// Through is the last period that had deliveries among them, of UsageEvents; what it was billed from is no longer
	// whole from then on.
	Through *civil.Month `json:"through,omitempty"`
	// Parts are the partitions of the table whose rows are removed, of UsageEvents.
	Parts []string `json:"parts,omitempty"`
	// BeforeMS has those removed that arrived on Kafka before it, UTC epoch milliseconds, of DeadLetters.
	BeforeMS int64 `json:"beforeMs,omitempty"`
	// Counts say how many, by topic and partition, and up to which offset: what came later stays.
	Counts []RemovedCount `json:"counts"`
	// Evidence is where the files are that were written before, of UsageEvents.
	Evidence *RemovedEvidence `json:"evidence,omitempty"`
}

// RemovedCount is how many deliveries of a partition are removed.
type RemovedCount struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	LastOffset int64  `json:"lastOffset"`
	Count      int64  `json:"count"`
}

// RemovedEvidence are the files that were written of the issued invoices before their deliveries were removed.
type RemovedEvidence struct {
	Directory string `json:"directory"`
	Invoices  int    `json:"invoices"`
	// SHA256 is that of the list of the files' own, in hex.
	SHA256 string `json:"sha256"`
}

// Deliveries is how many deliveries are removed.
func (r Removal) Deliveries() (n int64) {
	for _, c := range r.Counts {
		n += c.Count
	}
	return n
}

// Removed is a removal that stands on the log.
type Removed struct {
	Removal
	By     Actor `json:"by"`
	AtMS   int64 `json:"-"` // when it was given, UTC epoch milliseconds
	Offset int64 `json:"offset"`
}

// Removals returns what was removed, in the order in which it was.
func (s State) Removals() []Removed { return s.removals[:len(s.removals):len(s.removals)] }

// RemovedThrough returns the last period that deliveries have been removed of, 0 for none. It and those before can no
// longer be computed.
func (s State) RemovedThrough() (through civil.Month) {
	for _, r := range s.removals {
		if r.Through != nil {
			through = max(through, *r.Through)
		}
	}
	return through
}

// RemovedOf returns the first removal that had deliveries of a period or of a later one, nil for none.
func (s State) RemovedOf(period civil.Month) *Removed {
	for i := range s.removals {
		if r := &s.removals[i]; r.Through != nil && *r.Through >= period {
			return r
		}
	}
	return nil
}

// decideRemoval returns every reason to refuse that deliveries are removed.
func decideRemoval(s State, c Command) []Refusal {
	var check checker
	r := c.Removal
	if check.missing("data.removal", r == nil, "what is removed") {
		return check.refusals
	}
	check.oneOf("data.removal.table", r.Table, UsageEvents, DeadLetters)
	check.missing("data.removal.counts", len(r.Counts) == 0, "how many are removed of each partition")
	if r.Table == UsageEvents {
		check.missing("data.removal.through", r.Through == nil, "the last period that has deliveries among them")
		check.missing("data.removal.parts", len(r.Parts) == 0, "the partitions of the table")
		check.missing("data.removal.evidence", r.Evidence == nil, "the files that were written before")
		if r.Through != nil && !s.Sealed(*r.Through) {
			check.refuse(schemas.NotSealed, "data.removal.through", r.Through.String(),
				"the period is not sealed, so its deliveries can still change what is billed (R25)")
		}
	}
	return check.refusals
}

// removal reads what is removed from the text of a record.
func (r reader) removal(dst **Removal) strict.Field {
	return func(path string, n *strict.Node) {
		if !r.IsObject(n) {
			r.Refuse(n, schemas.InvalidField, path, n.Value, "write fields with names here")
			return
		}
		*dst = new(Removal) // filled in by removalOf
	}
}

// removalOf returns data.removal of a record that has been read.
func removalOf(value []byte) (*Removal, error) {
	var record struct {
		Data struct {
			Removal *Removal `json:"removal"`
		} `json:"data"`
	}
	err := json.Unmarshal(value, &record)
	return record.Data.Removal, err
}

// describeRemoval says what a removal takes away.
func describeRemoval(r *Removal) string {
	what := "deliveries of " + strings.Join(r.Parts, ", ")
	if r.Table == DeadLetters {
		what = "dead letters of before " + civil.FormatMillis(r.BeforeMS)
	}
	return fmt.Sprintf("- %d %s", r.Deliveries(), what)
}

// withRemoval returns the removals after one more.
func withRemoval(all []Removed, c Command, offset int64) []Removed {
	return append(slices.Clip(all), Removed{*c.Removal, c.By, c.TimeMS, offset})
}

package registry

import "sort"

// Decided is a record of the command topic with what was decided on it.
type Decided struct {
	Offset    int64 // of this record; the verdict's is that of the command's first delivery
	ArrivedMS int64 // its Kafka timestamp, UTC epoch milliseconds
	Payload   []byte
	Command   Command
	Verdict   Verdict
	// Issued is the period that it issued, nil for none.
	Issued *Issued
}

// Take returns the state after a record of the command topic, and what was decided on it.
func (s State) Take(offset, arrivedMS int64, payload []byte) (State, Decided) {
	d := Decided{Offset: offset, ArrivedMS: arrivedMS, Payload: payload, Command: DecodeCommand(payload)}
	s, d.Verdict = s.Apply(offset, d.Command)
	if d.Command.Command == ClaimIssue && d.Verdict.Accepted && d.Verdict.Offset == offset {
		issues := s.Issues(d.Command.TenantID)
		d.Issued = &issues[len(issues)-1]
	}
	return s, d
}

// History is the registry now and as it stood after each command, from one reading of the command topic. The zero
// History is that of an empty topic.
type History struct {
	now   State
	steps []step // in the order of offsets
}

// step is a command and the state after it; states share all that a command leaves alone, so keeping each is cheap.
type step struct {
	offset, arrivedMS int64
	command           Command
	after             State
}

// Take adds the next record of the command topic, and returns what was decided on it.
func (h *History) Take(offset, arrivedMS int64, payload []byte) Decided {
	var d Decided
	h.now, d = h.now.Take(offset, arrivedMS, payload)
	h.steps = append(h.steps, step{offset, arrivedMS, d.Command, h.now})
	return d
}

// Now returns the registry as it stands.
func (h *History) Now() State { return h.now }

// Len returns how many commands there were.
func (h *History) Len() int { return len(h.steps) }

// At returns the registry as it stood before the command at an offset.
func (h *History) At(offset int64) State {
	return h.after(sort.Search(len(h.steps), func(i int) bool { return h.steps[i].offset >= offset }))
}

// after returns the registry after the first n commands.
func (h *History) after(n int) State {
	if n == 0 {
		return State{}
	}
	return h.steps[n-1].after
}

// KnownAt returns what the commands amount to that had arrived on Kafka by an instant, in UTC epoch milliseconds. Kafka's
// timestamps need not rise with the offsets.
func (h *History) KnownAt(instantMS int64) State {
	n := 0
	for n < len(h.steps) && h.steps[n].arrivedMS <= instantMS {
		n++
	}
	state := h.after(n)
	for _, s := range h.steps[n:] {
		if s.arrivedMS <= instantMS {
			state, _ = state.Apply(s.offset, s.command)
		}
	}
	return state
}

// LastArrivedMS is when the last command arrived on Kafka, in UTC epoch milliseconds; 0 where there is none.
func (h *History) LastArrivedMS() int64 {
	if len(h.steps) == 0 {
		return 0
	}
	return h.steps[len(h.steps)-1].arrivedMS
}

// Kept is a command as it was kept beside the topic.
type Kept struct {
	Offset  int64
	Tenant  string
	Payload []byte
}

// IssuedHash is an issue as it was kept beside the topic: its number in the tenant's chain, and its hash.
type IssuedHash struct {
	Tenant       string
	Seq          int
	Period, Hash string
}

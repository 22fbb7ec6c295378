package registry

import (
	"runtime"
	"sort"
	"sync"

	"apportion/schemas/civil"
)

// Record is a record of the command topic.
type Record struct {
	Offset    int64
	ArrivedMS int64 // its Kafka timestamp, UTC epoch milliseconds
	Payload   []byte
}

// Decided is a record of the command topic with what was decided on it.
type Decided struct {
	Record
	Command Command
	Verdict Verdict // its offset is that of the command's first delivery
	// Issued is the period that it issued, nil for none.
	Issued *Issued
	// Changed says that the command changed its tenant's document.
	Changed bool

	standing *standing // of the command's tenant after it, nil where there is none
}

// Tenant returns the command's tenant as it stands after it, nil where there is none.
func (d Decided) Tenant() *Tenant {
	if d.standing == nil {
		return nil
	}
	return d.standing.tenant()
}

// Take returns the state after a record of the command topic, and what was decided on it.
func (s State) Take(r Record) (State, Decided) { return s.take(r, DecodeCommand(r.Payload)) }

func (s State) take(r Record, c Command) (State, Decided) {
	d := Decided{Record: r, Command: c}
	s, d.Verdict = s.Apply(r.Offset, c)
	if c.Command == ClaimIssue && d.Verdict.Accepted && d.Verdict.Offset == r.Offset {
		issues := s.Issues(c.TenantID)
		d.Issued = &issues[len(issues)-1]
	}
	if st, ok := s.tenants.get(c.TenantID); ok {
		d.standing, d.Changed = st.standing, st.base == r.Offset
	}
	return s, d
}

// decode decodes the commands of records on all processors: it takes longer than deciding on them.
func decode(records []Record) []Command {
	commands := make([]Command, len(records))
	var group sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for first := range workers {
		group.Go(func() {
			for i := first; i < len(records); i += workers {
				commands[i] = DecodeCommand(records[i].Payload)
			}
		})
	}
	group.Wait()
	return commands
}

// History is the registry now and as it stood after each command, from one reading of the command topic. The zero
// History is that of an empty topic.
type History struct {
	now   State
	steps []step // in the order of offsets
	// The states share these, nil before the first command.
	tenants *index[string, *tenantState]
	decided *index[commandKey, decision]
}

// step is a command and the state after it; states share all that a command leaves alone, so keeping each is cheap.
type step struct {
	offset, arrivedMS int64
	command           Command
	after             State
}

// Take adds the next records of the command topic, and returns what was decided on them.
func (h *History) Take(records ...Record) []Decided {
	if h.tenants == nil {
		h.tenants, h.decided = new(index[string, *tenantState]), new(index[commandKey, decision])
	}
	decided := make([]Decided, len(records))
	for i, c := range decode(records) {
		h.now, decided[i] = h.now.take(records[i], c)
		h.now.tenants = h.tenants.take(h.now.tenants, h.now.Offset())
		h.now.decided = h.decided.take(h.now.decided, h.now.Offset())
		h.steps = append(h.steps, step{records[i].Offset, records[i].ArrivedMS, c, h.now})
	}
	return decided
}

// Now returns the registry as it is now.
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

// KnownAt returns what the commands amount to that had arrived on Kafka by an instant, in UTC epoch milliseconds.
// Kafka's timestamps need not rise with the offsets.
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

// Change is a command that changed a tenant's document.
type Change struct {
	Offset    int64  `json:"offset"`
	ArrivedAt string `json:"arrivedAt"`
	By        Actor  `json:"by"`
	Command   string `json:"command"`
	// Changes are a line each, for people.
	Changes []string `json:"changes"`
}

// Changes returns, by tenant, the commands chosen that changed the tenant's document. They are chosen by tenant, offset
// and Kafka timestamp in UTC epoch milliseconds.
func (h *History) Changes(chosen func(tenant string, offset, arrivedMS int64) bool) map[string][]Change {
	changes := map[string][]Change{}
	before := State{}
	for _, s := range h.steps {
		tenant := s.command.TenantID
		if chosen(tenant, s.offset, s.arrivedMS) && s.after.Base(tenant) == s.offset && before.Base(tenant) != s.offset {
			changes[tenant] = append(changes[tenant], Change{s.offset, civil.FormatMillis(s.arrivedMS), s.command.By,
				s.command.Command, DescribeCommand(before, s.after, s.command)})
		}
		before = s.after
	}
	return changes
}

// Logged is a command as the log has it, with what became of it.
type Logged struct {
	Offset    int64
	ArrivedMS int64 // its Kafka timestamp, UTC epoch milliseconds
	Command   Command

	before, after State
}

// Tenant is the tenant whose command it is; "" for one of no tenant, or whose tenant could not be read.
func (l Logged) Tenant() string { return l.Command.TenantID }

// Accepted reports whether it was accepted, or repeats one that was.
func (l Logged) Accepted() bool {
	before, known := l.after.decided.get(l.Command.key())
	return known && before.content == l.Command.contentOf() && len(before.refusals) == 0
}

// Verdict is what was decided on it. It is decided again, on what stood before it: a history keeps no verdicts.
func (l Logged) Verdict() Verdict {
	_, verdict := l.before.Apply(l.Offset, l.Command)
	return verdict
}

// Changes are what it changed, a line each, for people; none where it was refused or is a repeat.
func (l Logged) Changes() []string {
	if v := l.Verdict(); !v.Accepted || v.Offset != l.Offset {
		return []string{}
	}
	return append([]string{}, DescribeCommand(l.before, l.after, l.Command)...)
}

// Log returns the last commands before an offset that are chosen, at the most so many, the last one first.
func (h *History) Log(before int64, limit int, chosen func(Logged) bool) []Logged {
	var all []Logged
	n := sort.Search(len(h.steps), func(i int) bool { return h.steps[i].offset >= before })
	for n--; n >= 0 && len(all) < limit; n-- {
		s := &h.steps[n]
		if l := (Logged{s.offset, s.arrivedMS, s.command, h.after(n), s.after}); chosen(l) {
			all = append(all, l)
		}
	}
	return all
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

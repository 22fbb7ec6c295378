// Package service has what people and programs ask of Apportion, one call each: change and read the registry, preview,
// issue and explain invoices, reconcile, replay what was refused, and issue on schedule. It takes usage, lines and
// verdicts from the stores that it is given, commands from their topic and what ingest knows from its ledger, and
// returns values: how these are shown, on a terminal, in JSON or on a page, is the caller's.
package service

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas/civil"
	"apportion/schemas/traces"
)

// CommandLog is the topic of registry commands, one partition in one order.
type CommandLog interface {
	// Read hands over the records from an offset on, to the end that the topic has when the call begins: their offset,
	// Kafka timestamp in UTC epoch milliseconds, and value. It returns the offset to read on from.
	Read(ctx context.Context, from int64, visit kafka.LogVisitor) (next int64, err error)
	// Tail is Read that goes on with what is added, until ctx is done, which is no error.
	Tail(ctx context.Context, from int64, visit kafka.LogVisitor) (next int64, err error)
	// Append adds records in order, each keyed by its tenant, and returns the offset of the last. When an answer of Kafka
	// is lost, some may be there twice.
	Append(ctx context.Context, records ...kafka.LogRecord) (last int64, err error)
	// Same makes sure that the topic still has a value at an offset.
	Same(ctx context.Context, offset int64, value []byte) error
}

// Verdicts keeps what was decided on commands where people and programs can query it; billing/clickhouse has it.
type Verdicts interface {
	// Last returns the last command kept as it came, by its offset; -1 for none.
	Last(ctx context.Context) (offset int64, payload []byte, err error)
	// Append keeps commands, which are all that follow the last one kept; those that are there already stay.
	Append(ctx context.Context, commands []registry.Decided) error
	// CompleteTenants keeps the tenants of a state, or those named, as they stand, where it has not kept them so by the
	// time zone data in use. A tenant is kept as a whole, so it is not for every command to wait for.
	CompleteTenants(ctx context.Context, state registry.State, only ...string) error
	// Rebuild keeps these commands, which are all, with the state after them, and no others.
	Rebuild(ctx context.Context, state registry.State, commands []registry.Decided) error
	// Commands returns every command kept, by offset.
	Commands(ctx context.Context) ([]registry.Kept, error)
	// IssuedHashes returns what is kept of issues, in the order of tenant and number.
	IssuedHashes(ctx context.Context) ([]registry.IssuedHash, error)
}

// Registry reads the command topic, once, and gives commands. It is safe for several goroutines.
type Registry struct {
	// Failpoint, nil but in tests, is told of every step of giving commands. Tests find the steps in the source.
	Failpoint func(step string)
	// VerdictWithin is how long Give waits for the verdicts of commands that the log has acknowledged; as long as its
	// context lasts where it is 0.
	VerdictWithin time.Duration

	log      CommandLog
	verdicts Verdicts
	clock    Clock

	// turn is for one at a time: whoever waits for it does so no longer than their context lasts, since the one before may
	// wait for a server.
	turn    *semaphore.Weighted
	history registry.History
	next    int64 // the offset to read on from
	// unrecorded are commands that verdicts does not have yet; what it has at first is known once begun.
	unrecorded []registry.Decided
	recorded   int64
	begun      bool
}

// NewRegistry returns the registry on its log. Verdicts may be nil for those who only read: then nobody can tell
// whether the topic was recreated.
func NewRegistry(log CommandLog, verdicts Verdicts, clock Clock) *Registry {
	return &Registry{log: log, verdicts: verdicts, clock: clock, turn: semaphore.NewWeighted(1)}
}

// CatchUp returns the registry as it stands by now.
func (r *Registry) CatchUp(ctx context.Context) (registry.State, error) {
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return registry.State{}, err
	}
	defer r.turn.Release(1)
	return r.catchUp(ctx)
}

func (r *Registry) catchUp(ctx context.Context) (registry.State, error) {
	if r.verdicts != nil {
		last, err := checkSame(ctx, r.log, r.verdicts)
		if err != nil {
			return registry.State{}, err
		}
		if !r.begun {
			r.recorded, r.begun = last, true
		}
	}
	var page []registry.Record
	take := func() {
		for _, d := range r.history.Take(page...) {
			r.next = d.Offset + 1
			if r.verdicts != nil && d.Offset > r.recorded {
				r.unrecorded = append(r.unrecorded, d)
			}
		}
		page = page[:0]
	}
	next, err := r.log.Read(ctx, r.next, func(offset, arrivedMS int64, value []byte) error {
		page = append(page, registry.Record{Offset: offset, ArrivedMS: arrivedMS, Payload: value})
		if len(page) == pageRecords {
			take()
		}
		return nil
	})
	take()
	if err != nil {
		return registry.State{}, err
	}
	r.next = next
	return r.history.Now(), nil
}

// pageRecords is how many commands are decoded at a time.
const pageRecords = 1000

// checkSame makes sure that the topic is the one that the verdicts were recorded from, by the last of them, and returns
// its offset.
func checkSame(ctx context.Context, log CommandLog, verdicts Verdicts) (last int64, err error) {
	last, payload, err := verdicts.Last(ctx)
	if err != nil || last < 0 {
		return last, err
	}
	return last, log.Same(ctx, last, payload)
}

// At returns the registry as it stood before the command at an offset, which has been read.
func (r *Registry) At(offset int64) (registry.State, error) {
	r.turn.Acquire(context.Background(), 1)
	defer r.turn.Release(1)
	return r.history.At(offset), nil
}

// KnownAt returns what the commands amount to that had arrived by an instant, in UTC epoch milliseconds.
func (r *Registry) KnownAt(ctx context.Context, instantMS int64) (registry.State, error) {
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return registry.State{}, err
	}
	defer r.turn.Release(1)
	_, err := r.catchUp(ctx)
	return r.history.KnownAt(instantMS), err
}

// Changes returns, by tenant, the commands chosen, of those that have been read, that changed the tenant's document.
func (r *Registry) Changes(chosen func(tenant string, offset, arrivedMS int64) bool) map[string][]registry.Change {
	r.turn.Acquire(context.Background(), 1)
	defer r.turn.Release(1)
	return r.history.Changes(chosen)
}

// changedPrices returns what reports whether somebody has changed a tenant's prices of a period, by what has been read
// when it is asked.
func (r *Registry) changedPrices(by registry.Actor) func(tenant string, period civil.Month) bool {
	changes, read := map[string][]registry.PriceChange{}, 0
	return func(tenant string, period civil.Month) bool {
		r.turn.Acquire(context.Background(), 1)
		defer r.turn.Release(1)
		var more []registry.PriceChange
		more, read = r.history.PriceChanges(by.ID, read)
		for _, c := range more {
			changes[c.Tenant] = append(changes[c.Tenant], c)
		}
		return slices.ContainsFunc(changes[tenant], func(c registry.PriceChange) bool { return c.In(period) })
	}
}

// Log returns the last commands before an offset that are chosen, of all by now, at the most so many, the last one
// first.
func (r *Registry) Log(
	ctx context.Context, before int64, limit int, chosen func(registry.Logged) bool,
) ([]registry.Logged, error) {
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer r.turn.Release(1)
	if _, err := r.catchUp(ctx); err != nil {
		return nil, err
	}
	return r.history.Log(before, limit, chosen), nil
}

// LastArrivedMS is when the last command that has been read arrived, in UTC epoch milliseconds; 0 where there is none.
func (r *Registry) LastArrivedMS() int64 {
	r.turn.Acquire(context.Background(), 1)
	defer r.turn.Release(1)
	return r.history.LastArrivedMS()
}

// Record records the verdicts on commands that nobody has recorded yet: whoever was killed after giving one has not.
func (r *Registry) Record(ctx context.Context) error {
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.turn.Release(1)
	return r.record(ctx)
}

func (r *Registry) record(ctx context.Context) error {
	err := record(ctx, r.verdicts, r.unrecorded)
	if err == nil {
		r.unrecorded = nil
	}
	return err
}

// RecordTenants keeps the tenants as they stand for people to query, those among them that whoever was killed after a
// verdict has left. A process that gives commands and ends calls it at its end: there may be no [Recorder] to do it.
func (r *Registry) RecordTenants(ctx context.Context) error {
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.turn.Release(1)
	return r.verdicts.CompleteTenants(ctx, r.history.Now())
}

// record records those of the commands that nobody has recorded yet.
func record(ctx context.Context, verdicts Verdicts, decided []registry.Decided) error {
	if len(decided) == 0 {
		return nil
	}
	last, _, err := verdicts.Last(ctx)
	if err != nil {
		return err
	}
	for i, d := range decided {
		if d.Offset > last {
			return verdicts.Append(ctx, decided[i:])
		}
	}
	return nil
}

// Outcome is what became of a command, or would.
type Outcome struct {
	Tenant   string             `json:"tenantId"`
	Command  string             `json:"command"`
	Accepted bool               `json:"accepted"`
	Offset   *int64             `json:"offset,omitempty"`  // on the command topic, once it is there
	Changes  []string           `json:"changes,omitempty"` // a line each, for people
	Refusals []registry.Refusal `json:"refusals,omitempty"`
	Event    *registry.Command  `json:"event,omitempty"` // the command itself, where it was not given
	// Warnings are what to say of what it changes.
	Warnings []registry.Warning `json:"-"`

	command registry.Command
}

// Given is the command itself.
func (o *Outcome) Given() registry.Command { return o.command }

// DryRun returns what would stand after a command, and what would become of it. One that was decided before has its
// offset.
func DryRun(state registry.State, c registry.Command) (registry.State, *Outcome) {
	c = c.WithContent()
	next, verdict := state.Apply(state.Offset()+1, c)
	o := &Outcome{
		Tenant: c.TenantID, Command: c.Command, command: c,
		Accepted: verdict.Accepted, Refusals: verdict.Refusals,
	}
	if verdict.Offset <= state.Offset() {
		o.Offset = &verdict.Offset
		return next, o
	}
	if !o.Accepted {
		return next, o
	}
	o.Event = &o.command
	o.Changes = registry.DescribeCommand(state, next, c)
	if c.Command == registry.PutTenant {
		o.Warnings = registry.ChangeWarnings(state.Tenant(c.TenantID), next.Tenant(c.TenantID))
	}
	return next, o
}

// Plan returns the commands that are to be given where a state stands.
type Plan func(state registry.State) []*Outcome

// Single is the plan of one command, whose id whoever gives it chooses: given again it is answered as it was.
func Single(c registry.Command) Plan {
	return func(state registry.State) []*Outcome {
		_, o := DryRun(state, c)
		return []*Outcome{o}
	}
}

// Apply gives the commands that get to a document, in somebody's name.
func (r *Registry) Apply(ctx context.Context, by registry.Actor, doc *registry.Document) ([]*Outcome, error) {
	return r.Give(ctx, by, Document(doc, r.clock().UnixMilli()))
}

// Hold keeps a tenant's period from being issued until it is released, or releases it, in somebody's name (R20).
// Command is [registry.HoldPeriod] or [registry.ReleasePeriod].
func (r *Registry) Hold(
	ctx context.Context, by registry.Actor, command string, hold registry.Hold,
) ([]*Outcome, error) {
	return r.Give(ctx, by, Single(registry.Command{
		ID: uuid.NewString(), Source: "apportion/billing", TenantID: hold.Tenant,
		Command: command, Period: hold.Period, Reason: hold.Reason,
	}))
}

// ChangeTelephony changes the telephony option of all of a tenant's subscriptions at once, in somebody's name (R6).
func (r *Registry) ChangeTelephony(
	ctx context.Context, by registry.Actor, tenant, option, reason string,
) ([]*Outcome, error) {
	return r.Give(ctx, by, Single(registry.Command{
		ID: uuid.NewString(), Source: "apportion/registry", TenantID: tenant,
		Command: registry.ChangeTelephony, Telephony: option, Reason: reason,
	}))
}

// Give gives the commands of a plan, on what stands now, in somebody's name, and returns what became of them. Those
// that would be refused are not given: a verdict is for good, and the same command may be right once something else is.
// Nor are those that were given before.
func (r *Registry) Give(ctx context.Context, by registry.Actor, plan Plan) ([]*Outcome, error) {
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer r.turn.Release(1)
	state, err := r.catchUp(ctx)
	if err != nil {
		return nil, err
	}
	outcomes := plan(state)
	given := map[string]*Outcome{} // by the command's id, which is unique
	var commands []registry.Command
	for _, o := range outcomes {
		if o.Accepted && o.Offset == nil {
			o.command.By, o.Event = by, nil
			commands = append(commands, o.command)
			given[o.command.ID] = o
		}
	}
	decided, err := r.submit(ctx, r.VerdictWithin, commands)
	if err != nil {
		return nil, err
	}
	for _, d := range decided {
		// Somebody else's command may have come in between, so the verdict need not be that of the dry run.
		// With its id it may have said something else.
		if o := given[d.Command.ID]; o != nil && o.command.Same(d.Command) {
			o.Offset, o.Accepted, o.Refusals = &d.Verdict.Offset, d.Verdict.Accepted, d.Verdict.Refusals
		}
	}
	return outcomes, nil
}

// Undecided says that commands are on the log, and that their verdicts were not known and recorded in time.
type Undecided struct {
	Offset int64 // of the last of them
	Err    error // why
}

// Error says so.
func (u *Undecided) Error() string {
	return fmt.Sprintf("the command is at offset %d of the log, and its verdict is not known and recorded yet: %v",
		u.Offset, u.Err)
}

// Unwrap is why.
func (u *Undecided) Unwrap() error { return u.Err }

// submit appends commands to the log, reads on to what was decided on them, and records it, within a time if that is
// not 0.
func (r *Registry) submit(
	ctx context.Context, within time.Duration, commands []registry.Command,
) (decided []registry.Decided, err error) {
	if len(commands) == 0 {
		return nil, r.record(ctx)
	}
	ctx, span := traces.Begin(ctx, "command")
	span.Say("command", commands[0].Command)
	span.Count("commands", len(commands))
	defer func() { span.End(err) }()
	records := make([]kafka.LogRecord, len(commands))
	now := r.clock().UnixMilli()
	for i, c := range commands {
		c.TimeMS = now
		value, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		records[i] = kafka.LogRecord{Key: c.TenantID, Value: value}
	}
	r.failpoint("before commands")
	last, err := r.log.Append(ctx, records...)
	if err != nil {
		return nil, err
	}
	r.failpoint("after commands")
	waiting := ctx
	if within > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	waiting, verdict := traces.Begin(waiting, "verdict")
	_, err = r.catchUp(waiting)
	decided = r.unrecorded
	if err == nil {
		err = r.record(waiting)
	}
	verdict.End(err)
	if err != nil && waiting.Err() != nil {
		return nil, &Undecided{Offset: last, Err: err}
	}
	return decided, err
}

func (r *Registry) failpoint(step string) {
	if r.Failpoint != nil {
		r.Failpoint(step)
	}
}

// claims is the [billing.Log] on which somebody issues.
type claims struct {
	*Registry
	by registry.Actor
}

// Claim gives the commands, and returns the registry as it stands after them.
func (c claims) Claim(ctx context.Context, commands []registry.Command) (registry.State, error) {
	if err := c.turn.Acquire(ctx, 1); err != nil {
		return registry.State{}, err
	}
	defer c.turn.Release(1)
	for i := range commands {
		commands[i].By = c.by
	}
	_, err := c.submit(ctx, 0, commands)
	return c.history.Now(), err
}

var _ billing.Log = claims{}

// Rebuild writes the verdicts again from the topic, deletes those that it lacks, and returns how many there are.
func (r *Registry) Rebuild(ctx context.Context) (commands int, err error) {
	if _, err := checkSame(ctx, r.log, r.verdicts); err != nil {
		return 0, err
	}
	var state registry.State
	var all []registry.Decided
	if _, err := r.log.Read(ctx, 0, func(offset, arrivedMS int64, value []byte) error {
		var d registry.Decided
		state, d = state.Take(registry.Record{Offset: offset, ArrivedMS: arrivedMS, Payload: value})
		all = append(all, d)
		return nil
	}); err != nil {
		return 0, err
	}
	return len(all), r.verdicts.Rebuild(ctx, state, all)
}

// Restore appends to the topic the commands that only the verdicts have: its end, or all of it where it was recreated.
// Each gets the offset that it had, and with it everything that was decided by it. Nobody else may write meanwhile.
func (r *Registry) Restore(ctx context.Context) (written int, err error) {
	kept, err := r.verdicts.Commands(ctx)
	if err != nil {
		return 0, err
	}
	for n, c := range kept {
		if c.Offset != int64(n) {
			return 0, fmt.Errorf("registry_log has no command %d, so none after it would get its offset; "+
				"restore the table from a backup first", n)
		}
	}
	next, err := r.log.Read(ctx, 0, func(offset, _ int64, value []byte) error {
		if offset < int64(len(kept)) && !bytes.Equal(kept[offset].Payload, value) {
			return fmt.Errorf("the registry's topic has another command at offset %d than registry_log, so it is another log: "+
				"if it has nothing that is needed, delete the topic, create it again, and restore once more", offset)
		}
		return nil
	})
	if err != nil || next >= int64(len(kept)) {
		return 0, err
	}
	var records []kafka.LogRecord
	for _, c := range kept[next:] {
		records = append(records, kafka.LogRecord{Key: c.Tenant, Value: c.Payload})
	}
	last, err := r.log.Append(ctx, records...)
	if err == nil && last != int64(len(kept))-1 {
		err = fmt.Errorf("somebody else wrote to the registry's topic meanwhile: its end is at %d and not at %d; "+
			"delete the topic, create it again, and restore once more", last, len(kept)-1)
	}
	return len(records), err
}

// Follow catches up and then goes on with what is added to the topic, until ctx is done. Each is called once it has
// caught up, and from then on whenever there are commands that it was not called for, with the registry after all that
// have come by then. With it come those commands that nobody had recorded when Follow began. It keeps no history.
func Follow(
	ctx context.Context, log CommandLog, verdicts Verdicts, each func(registry.State, []registry.Decided) error,
) error {
	last, err := checkSame(ctx, log, verdicts)
	if err != nil {
		return err
	}
	var state registry.State
	var decided []registry.Decided
	take := func(r registry.Record) {
		var d registry.Decided
		if state, d = state.Take(r); d.Record.Offset > last {
			decided = append(decided, d)
		}
	}
	next, err := log.Read(ctx, 0, func(offset, arrivedMS int64, value []byte) error {
		take(registry.Record{Offset: offset, ArrivedMS: arrivedMS, Payload: value})
		return nil
	})
	if err != nil {
		return err
	}
	if err := each(state, decided); err != nil {
		return err
	}
	group, following := errgroup.WithContext(ctx)
	added := make(chan registry.Record, pageRecords)
	group.Go(func() error { return tail(following, log, next, added) })
	group.Go(func() error {
		for r := range added {
			decided = nil
			take(r)
			for range len(added) { // what has come meanwhile
				take(<-added)
			}
			if err := each(state, decided); err != nil {
				return err
			}
		}
		return nil
	})
	err = group.Wait()
	return cmp.Or(ctx.Err(), err)
}

// tail sends what is added to the log from an offset on, until ctx is done, and closes the channel.
func tail(ctx context.Context, log CommandLog, from int64, added chan<- registry.Record) error {
	defer close(added)
	_, err := log.Tail(ctx, from, func(offset, arrivedMS int64, value []byte) error {
		select {
		case added <- registry.Record{Offset: offset, ArrivedMS: arrivedMS, Payload: value}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return err
}

// Recorder records verdicts as commands come, those that came while nobody did among them, and then the tenants that
// the commands have changed: once for all commands that have come meanwhile.
type Recorder struct {
	// Observe is told of the commands whose verdicts it has recorded.
	Observe func([]registry.Decided)

	log      CommandLog
	verdicts Verdicts
}

// NewRecorder returns a recorder of what is decided on a log.
func NewRecorder(log CommandLog, verdicts Verdicts) *Recorder {
	return &Recorder{func([]registry.Decided) {}, log, verdicts}
}

// Run records until ctx is done.
func (r *Recorder) Run(ctx context.Context) error {
	complete := false
	return Follow(ctx, r.log, r.verdicts, func(state registry.State, decided []registry.Decided) error {
		if err := record(ctx, r.verdicts, decided); err != nil {
			return err
		}
		r.Observe(decided)
		if !complete {
			complete = true
			return r.verdicts.CompleteTenants(ctx, state)
		}
		changed := map[string]bool{}
		for _, d := range decided {
			if d.Changed {
				changed[d.Command.TenantID] = true
			}
		}
		if len(changed) == 0 {
			return nil
		}
		return r.verdicts.CompleteTenants(ctx, state, slices.Sorted(maps.Keys(changed))...)
	})
}

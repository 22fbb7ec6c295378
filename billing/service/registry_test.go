package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// raceLog is a command log on which somebody else is a moment faster.
type raceLog struct {
	memoryLog
	first [][]byte // what stands before the next append
}

func (l *raceLog) Append(_ context.Context, records ...kafka.LogRecord) (int64, error) {
	l.values = append(l.values, l.first...)
	l.first = nil
	for _, r := range records {
		l.values = append(l.values, r.Value)
	}
	return int64(len(l.values)) - 1, nil
}

func (l *raceLog) Same(context.Context, int64, []byte) error { return nil }

// kept are verdicts in memory.
type kept struct {
	service.Verdicts
	decided   []registry.Decided
	completed []string // the tenants asked for, and the versions by then
}

func (k *kept) Last(context.Context) (int64, []byte, error) {
	if len(k.decided) == 0 {
		return -1, nil, nil
	}
	last := k.decided[len(k.decided)-1]
	return last.Offset, last.Payload, nil
}

func (k *kept) Append(_ context.Context, decided []registry.Decided) error {
	k.decided = append(k.decided, decided...)
	return nil
}

func (k *kept) CompleteTenants(_ context.Context, state registry.State, only ...string) error {
	k.completed = append(k.completed, fmt.Sprint(only, " ", state.Versions()))
	return nil
}

const document = `tenants: [{id: acme, name: Acme, timeZone: UTC, telephony: vpop, subscriptions: [
	{id: Sub1, name: x, licenceModel: concurrent, plan: flex, deployment: cloud, currency: SEK, billing: prepaid,
	 terms: [{from: 2024-01-01, to: 2029-01-01}], versions: [{from: 2024-01-01}]}]}]`

// TestGive: commands are given in somebody's name and recorded once; those that would be refused are not given, and one
// that somebody else was faster with says so.
func TestGive(t *testing.T) {
	log, verdicts := &raceLog{}, &kept{}
	now := time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC)
	r := service.NewRegistry(log, verdicts, func() time.Time { return now })
	anna := registry.Actor{Type: "user", ID: "anna"}
	doc, problems := registry.Parse("", []byte(document))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	outcomes, err := r.Apply(t.Context(), anna, doc)
	if err != nil || len(outcomes) != 1 || !outcomes[0].Accepted || *outcomes[0].Offset != 0 || outcomes[0].Changes[0] != "+ tenant acme" {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	if c := verdicts.decided[0].Command; c.By != anna || c.TimeMS != now.UnixMilli() {
		t.Errorf("the command is %+v's, given at %d", c.By, c.TimeMS)
	}
	if outcomes, err := r.Apply(t.Context(), anna, doc); err != nil || len(outcomes) != 0 || len(log.values) != 1 {
		t.Errorf("the same document again: %+v, %v, %d commands", outcomes, err, len(log.values))
	}

	// Refused at once: nothing is given.
	if outcomes, err := r.ChangeTelephony(t.Context(), anna, "nobody", "vpop", "why"); err != nil || outcomes[0].Accepted ||
		outcomes[0].Refusals[0].Code != schemas.UnknownTenant || len(log.values) != 1 {
		t.Errorf("%+v, %v", outcomes, err)
	}

	// Somebody holds the period between the look and the command.
	october := civil.NewMonth(2026, 10)
	hold := registry.Command{ID: "h", Source: "other", TenantID: "acme", Command: registry.HoldPeriod, Period: october, Reason: "mine"}
	faster, err := json.Marshal(hold)
	if err != nil {
		t.Fatal(err)
	}
	log.first = [][]byte{faster}
	outcomes, err = r.Hold(t.Context(), anna, registry.HoldPeriod, registry.Hold{Tenant: "acme", Period: october, Reason: "hers"})
	if err != nil || outcomes[0].Accepted || outcomes[0].Refusals[0].Code != schemas.AlreadyHeld || *outcomes[0].Offset != 2 {
		t.Errorf("%+v, %v", outcomes[0], err)
	}
	offsets := []int64{}
	for _, d := range verdicts.decided {
		offsets = append(offsets, d.Offset)
	}
	if !slices.Equal(offsets, []int64{0, 1, 2}) {
		t.Errorf("recorded are the verdicts at %v", offsets)
	}
	state, err := r.CatchUp(t.Context())
	if err != nil || state.Holds()[0].Reason != "mine" {
		t.Errorf("%+v, %v", state.Holds(), err)
	}
}

// TestGiveAgain: a command that was given before is answered as it was, and is not given again; another content under its
// id is refused, also where somebody else was a moment faster with the id.
func TestGiveAgain(t *testing.T) {
	log, verdicts := &raceLog{}, &kept{}
	r := service.NewRegistry(log, verdicts, time.Now)
	doc, problems := registry.Parse("", []byte(document))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := r.Apply(t.Context(), registry.Actor{}, doc); err != nil {
		t.Fatal(err)
	}
	from := civil.NewMonth(2026, 11).First()
	mapping := func(id string, users ...string) registry.Command {
		return registry.Command{ID: id, Source: "console", TenantID: "acme", Command: registry.SetLicences,
			Mappings: &registry.SetMappings{Names: users, Role: "agent", From: from,
				Subscriptions: []registry.Mapped{{Subscription: "Sub1", To: civil.NoDate}}}}
	}
	give := func(by string, c registry.Command) *service.Outcome {
		t.Helper()
		outcomes, err := r.Give(t.Context(), registry.Actor{Type: "user", ID: by}, service.Single(c))
		if err != nil || len(outcomes) != 1 {
			t.Fatalf("%v, %v", outcomes, err)
		}
		return outcomes[0]
	}
	first := give("anna", mapping("key", "agent-1"))
	if !first.Accepted || *first.Offset != 1 || !slices.Equal(first.Changes, []string{"+ licence agent-1 agent standard on Sub1 from 2026-11-01"}) {
		t.Errorf("%+v", first)
	}
	if again := give("bert", mapping("key", "agent-1")); !again.Accepted || *again.Offset != 1 || len(log.values) != 2 {
		t.Errorf("again: %+v, and %d commands", again, len(log.values))
	}
	if other := give("anna", mapping("key", "agent-2")); other.Accepted || other.Refusals[0].Code != schemas.ReusedID || len(log.values) != 2 {
		t.Errorf("another content: %+v, and %d commands", other, len(log.values))
	}

	faster, err := json.Marshal(mapping("other", "agent-3"))
	if err != nil {
		t.Fatal(err)
	}
	log.first = [][]byte{faster}
	if late := give("anna", mapping("other", "agent-4")); late.Accepted || late.Refusals[0].Code != schemas.ReusedID || *late.Offset != 3 {
		t.Errorf("late: %+v", late)
	}
	if faster, err = json.Marshal(mapping("third", "agent-5")); err != nil {
		t.Fatal(err)
	}
	log.first = [][]byte{faster}
	if same := give("anna", mapping("third", "agent-5")); !same.Accepted || *same.Offset != 4 || len(log.values) != 6 {
		t.Errorf("the same: %+v, and %d commands", same, len(log.values))
	}
	state, err := r.CatchUp(t.Context())
	if err != nil || len(state.Tenant("acme").Licences) != 3 {
		t.Errorf("%v, %v", state.Tenant("acme").Licences, err)
	}
	changes := r.Changes(func(string, int64, int64) bool { return true })["acme"]
	if len(changes) != 4 || changes[1].By != (registry.Actor{Type: "user", ID: "anna"}) || changes[2].By != (registry.Actor{}) ||
		changes[2].Command != registry.SetLicences || changes[2].Changes[0] != "+ licence agent-3 agent standard on Sub1 from 2026-11-01" {
		t.Errorf("changes: %+v", changes)
	}
}

// TestRecordsWhatOthersLeft: commands whose verdicts nobody recorded, because whoever gave them was killed, are
// recorded by whoever comes next, and no other.
func TestRecordsWhatOthersLeft(t *testing.T) {
	log, verdicts := &raceLog{}, &kept{}
	first := service.NewRegistry(log, verdicts, time.Now)
	doc, _ := registry.Parse("", []byte(document))
	if _, err := first.Apply(t.Context(), registry.Actor{}, doc); err != nil {
		t.Fatal(err)
	}
	hold, err := json.Marshal(registry.Command{ID: "h", Source: "killed", TenantID: "acme", Command: registry.HoldPeriod,
		Period: civil.NewMonth(2026, 10), Reason: "why"})
	if err != nil {
		t.Fatal(err)
	}
	log.values = append(log.values, hold)
	second := service.NewRegistry(log, verdicts, time.Now)
	for range 2 {
		if _, err := second.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second.Record(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(verdicts.decided) != 2 || verdicts.decided[1].Offset != 1 || !verdicts.decided[1].Verdict.Accepted {
		t.Errorf("recorded: %+v", verdicts.decided)
	}
}

// TestTenantsAreNotWaitedFor: whoever gives a command is answered without its tenant being written, which comes at the
// end, also of what somebody else has left.
func TestTenantsAreNotWaitedFor(t *testing.T) {
	log, verdicts := &raceLog{}, &kept{}
	doc, _ := registry.Parse("", []byte(document))
	r := service.NewRegistry(log, verdicts, time.Now)
	for range 2 {
		if _, err := r.Apply(t.Context(), registry.Actor{}, doc); err != nil || len(verdicts.completed) != 0 {
			t.Fatal(verdicts.completed, err)
		}
	}
	killed, again := r, service.NewRegistry(log, verdicts, time.Now)
	if outcomes, err := again.Apply(t.Context(), registry.Actor{}, doc); err != nil || len(outcomes) != 0 {
		t.Fatal(outcomes, err)
	}
	for _, r := range []*service.Registry{killed, again} {
		if err := r.RecordTenants(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"[] map[acme:0]", "[] map[acme:0]"}; !slices.Equal(verdicts.completed, want) {
		t.Errorf("%q, want %q", verdicts.completed, want)
	}
}

// slowVerdicts takes its second batch of commands when end is closed, and no sooner.
type slowVerdicts struct {
	kept
	batches    []int
	begun, end chan struct{}
	done       context.CancelFunc
}

func (v *slowVerdicts) Append(ctx context.Context, decided []registry.Decided) error {
	if v.batches = append(v.batches, len(decided)); len(v.batches) == 2 {
		close(v.begun)
		<-v.end
	}
	return v.kept.Append(ctx, decided)
}

func (v *slowVerdicts) CompleteTenants(ctx context.Context, state registry.State, only ...string) error {
	err := v.kept.CompleteTenants(ctx, state, only...)
	if state.Offset() == 6 {
		v.done()
	}
	return err
}

// busyLog gets five commands while the verdict on one before them is recorded.
type busyLog struct {
	raceLog
	verdicts *slowVerdicts
	added    [][]byte
}

func (l *busyLog) Tail(ctx context.Context, from int64, visit kafka.LogVisitor) (int64, error) {
	for i, value := range l.added {
		if i == 1 {
			<-l.verdicts.begun
		}
		if err := visit(from+int64(i), 0, value); err != nil {
			return 0, err
		}
	}
	close(l.verdicts.end)
	<-ctx.Done()
	return 0, nil
}

// TestRecorder records what was there when it began, with all tenants, and then what comes: each tenant once for all
// commands that came while others were recorded.
func TestRecorder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verdicts := &slowVerdicts{begun: make(chan struct{}), end: make(chan struct{}), done: cancel}
	log := &busyLog{verdicts: verdicts}
	doc, _ := registry.Parse("", []byte(document))
	value := func(c registry.Command) []byte {
		t.Helper()
		c.Source, c.TenantID = "test", "acme"
		value, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	log.values = [][]byte{value(registry.Plan(registry.State{}, doc, 0)[0])}
	for i := range 6 {
		log.added = append(log.added, value(registry.Command{ID: fmt.Sprint(i), Command: registry.SetLicences, Mappings: &registry.SetMappings{
			Names: []string{fmt.Sprint("agent-", i)}, Role: "agent", From: civil.NewDate(2026, 11, 1),
			Subscriptions: []registry.Mapped{{Subscription: "Sub1", To: civil.NoDate}}}}))
	}
	if err := service.NewRecorder(log, verdicts).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if want := []int{1, 1, 5}; !slices.Equal(verdicts.batches, want) {
		t.Errorf("recorded are %v commands at a time, want %v", verdicts.batches, want)
	}
	want := []string{"[] map[acme:0]", "[acme] map[acme:1]", "[acme] map[acme:6]"}
	if !slices.Equal(verdicts.completed, want) {
		t.Errorf("tenants: %q, want %q", verdicts.completed, want)
	}
}

// TestWaitsNoLongerThanAsked: while one call waits for a server that does not answer, another ends when its context does.
func TestWaitsNoLongerThanAsked(t *testing.T) {
	verdicts := &slowVerdicts{begun: make(chan struct{}), end: make(chan struct{}), batches: []int{0}}
	r := service.NewRegistry(&raceLog{}, verdicts, time.Now)
	doc, _ := registry.Parse("", []byte(document))
	answered := make(chan error)
	go func() {
		_, err := r.Apply(context.Background(), registry.Actor{}, doc)
		answered <- err
	}()
	<-verdicts.begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.CatchUp(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("while another waits: %v", err)
	}
	close(verdicts.end)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if state, err := r.CatchUp(t.Context()); err != nil || state.Tenant("acme") == nil {
		t.Errorf("after it: %v", err)
	}
}

// deafVerdicts never answer.
type deafVerdicts struct{ kept }

func (*deafVerdicts) Append(ctx context.Context, _ []registry.Decided) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestUndecidedSaysWhere: a command whose verdict nobody can record in time is on the log, and whoever gave it is told
// at which offset.
func TestUndecidedSaysWhere(t *testing.T) {
	log := &raceLog{}
	r := service.NewRegistry(log, &deafVerdicts{}, time.Now)
	r.VerdictWithin = time.Nanosecond
	doc, _ := registry.Parse("", []byte(document))
	_, err := r.Apply(t.Context(), registry.Actor{}, doc)
	var undecided *service.Undecided
	if !errors.As(err, &undecided) || undecided.Offset != 0 || len(log.values) != 1 {
		t.Errorf("%v, and %d commands on the log", err, len(log.values))
	}
}

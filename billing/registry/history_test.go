package registry

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"weak"

	"apportion/schemas/civil"
)

// TestHistory: the registry is known as it stood before every offset, and as it was known at every instant, also where
// Kafka's timestamps do not rise with the offsets.
func TestHistory(t *testing.T) {
	var h History
	hold := func(offset, arrivedMS int64, period string) Record {
		payload := fmt.Sprintf(`{"specversion":"1.0","id":"c%d","source":"s","type":"registry.command","time":"2026-10-14T08:00:00Z",`+
			`"tenantid":"acme","data":{"command":"hold_period","period":%q,"reason":"why"}}`, offset, period)
		return Record{offset, arrivedMS, []byte(payload)}
	}
	tenant := Tenant{ID: "acme", Name: "A", TimeZone: "UTC", Telephony: "vpop", Subscriptions: []Subscription{sub("Sub1", "2024-01-01/2027-01-01")}}
	put := Command{ID: "p", Source: "s", TenantID: "acme", Command: PutTenant, Base: NoBase, Tenant: &tenant}
	// Offset 1 is a marker of Kafka's own.
	h.Take(Record{0, 100, asJSON(t, put)}, hold(2, 300, "2026-01"))
	decided := h.Take(hold(3, 200, "2026-02"), hold(4, 400, "2026-02"))
	if len(decided) != 2 || !decided[0].Verdict.Accepted || decided[1].Verdict.Accepted || decided[1].Offset != 4 {
		t.Errorf("decided %+v", decided)
	}
	holds := func(s State) (periods string) {
		for _, hold := range s.Holds() {
			periods += hold.Period.String() + " "
		}
		return fmt.Sprint(s.Tenant("acme") != nil, " ", periods)
	}
	for offset, want := range []string{"false ", "true ", "true ", "true 2026-01 ", "true 2026-01 2026-02 "} {
		if got := holds(h.At(int64(offset))); got != want {
			t.Errorf("at offset %d: %q, want %q", offset, got, want)
		}
	}
	for instant, want := range map[int64]string{99: "false ", 100: "true ", 200: "true 2026-02 ", 299: "true 2026-02 ", 300: "true 2026-01 2026-02 "} {
		if got := holds(h.KnownAt(instant)); got != want {
			t.Errorf("known at %d: %q, want %q", instant, got, want)
		}
	}
	if h.Len() != 4 || h.LastArrivedMS() != 400 || holds(h.Now()) != "true 2026-01 2026-02 " {
		t.Errorf("%d commands, the last at %d: %q", h.Len(), h.LastArrivedMS(), holds(h.Now()))
	}
}

// TestHistoryRemembersByOffset: a state of a history has what the commands before it and no others made of it, as one
// folded by itself has, also after what was decided on it beside the log; what is remembered is there once for all states.
func TestHistoryRemembersByOffset(t *testing.T) {
	named := func(id, reason string) Command {
		c := holding(HoldPeriod, october, reason)
		c.ID = id
		return c
	}
	commands := []Command{Plan(State{}, parse(t, acme), 0)[0], named("a", "one"), named("b", "two"), named("a", "one"), named("a", "three"),
		holding(ReleasePeriod, october, "done"), named("c", "four"),
		{ID: "t", Source: "s", TenantID: "acme", Command: ChangeTelephony, Telephony: "vpop", Reason: "moved"},
		{ID: "l", Source: "s", TenantID: "acme", Command: SetLicences, Mappings: &SetMappings{Names: []string{"agent-17"}, All: true, From: day("2026-01-01")}}}
	other := Tenant{ID: "other", Name: "O", TimeZone: "UTC", Telephony: "vpop", Subscriptions: []Subscription{sub("Other1", "2024-01-01/2027-01-01")}}
	commands = append(commands, Command{ID: "o", Source: "s", TenantID: "other", Command: PutTenant, Base: NoBase, Tenant: &other})
	var h History
	for i, c := range commands {
		h.Take(Record{int64(i), 0, asJSON(t, c)})
	}
	// The log has of each command what was decided on it.
	log := h.Log(int64(len(commands)), 100, func(l Logged) bool { return l.Tenant() == "acme" })
	if len(log) != len(commands)-1 || log[0].Offset != int64(len(commands))-2 {
		t.Fatalf("the log of acme has %d commands, the last at %d", len(log), log[0].Offset)
	}
	for _, l := range log {
		before := h.At(l.Offset)
		if _, want := before.Apply(l.Offset, commands[l.Offset]); fmt.Sprint(l.Verdict()) != fmt.Sprint(want) || l.Accepted() != want.Accepted {
			t.Errorf("command %d: %+v, accepted %t; want %+v", l.Offset, l.Verdict(), l.Accepted(), want)
		}
	}
	if got := h.Log(2, 1, func(l Logged) bool { return l.Accepted() }); len(got) != 1 || got[0].Offset != 1 ||
		fmt.Sprint(got[0].Changes()) != "[+ held 2026-10]" {
		t.Errorf("the last command before 2: %+v", got)
	}
	if got := h.Log(4, 1, func(Logged) bool { return true }); got[0].Offset != 3 || !got[0].Accepted() || len(got[0].Changes()) > 0 {
		t.Errorf("a repeat changed %v", got[0].Changes())
	}
	var folded State
	compare := func(what string, of, want State) {
		t.Helper()
		if got, want := string(asJSON(t, of.Tenants())), string(asJSON(t, want.Tenants())); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		if got, want := fmt.Sprint(of.Versions(), of.Holds()), fmt.Sprint(want.Versions(), want.Holds()); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		for i, c := range commands {
			_, got := of.Apply(50, c)
			if _, want := want.Apply(50, c); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, command %d: %+v, want %+v", what, i, got, want)
			}
		}
	}
	for n := range len(commands) + 1 {
		of := h.At(int64(n))
		compare(fmt.Sprint("before ", n), of, folded)
		for i, c := range commands {
			beside, _ := of.Apply(int64(n), c)
			want, _ := folded.Apply(int64(n), c)
			compare(fmt.Sprint("before ", n, ", after command ", i, " beside the log"), beside, want)
		}
		if of.decided.beside.root != nil || of.tenants.beside.root != nil {
			t.Errorf("the state before %d has a memory of its own", n)
		}
		if n < len(commands) {
			folded, _ = folded.Apply(int64(n), commands[n])
		}
	}
	if decided, versions := len(h.decided.set), len(h.tenants.set["acme"]); decided != 8 || versions != 6 {
		t.Errorf("%d commands are remembered, and %d versions of the tenant; want 8 and 6", decided, versions)
	}
}

// TestHistoryKeepsNoTenantWhole: the tenant put together after a small command is gone with whoever asked for it, and is
// the same when it is asked for again; as long as it is used, it is put together once.
func TestHistoryKeepsNoTenantWhole(t *testing.T) {
	var h History
	tenant := Tenant{ID: "acme", Name: "A", TimeZone: "UTC", Telephony: "vpop", Subscriptions: []Subscription{sub("Sub1", "2024-01-01/2027-01-01")}}
	decided := h.Take(Record{0, 0, asJSON(t, Command{ID: "p", Source: "s", TenantID: "acme", Command: PutTenant, Base: NoBase, Tenant: &tenant})})
	const commands = 10
	for i := range commands {
		decided = append(decided, h.Take(Record{int64(i + 1), 0, asJSON(t, Command{ID: fmt.Sprint(i), Source: "s", TenantID: "acme",
			Command: SetLicences, Mappings: &SetMappings{Names: []string{fmt.Sprint("agent-", i)}, Role: "agent", From: day("2026-01-01"),
				Subscriptions: []Mapped{{Subscription: "Sub1", To: civil.NoDate}}}})})...)
	}
	var asked []weak.Pointer[Tenant]
	for i, d := range decided {
		whole := d.Tenant()
		if len(whole.Licences) != i || h.At(d.Offset+1).Tenant("acme") != whole {
			t.Errorf("after command %d: %v", i, whole.Licences)
		}
		asked = append(asked, weak.Make(whole))
		runtime.KeepAlive(whole)
	}
	runtime.GC()
	for i, whole := range asked[1:] { // the first is the document
		if whole.Value() != nil {
			t.Errorf("the tenant after command %d is kept", i+1)
		}
	}
	if got := h.Now().Tenant("acme"); len(got.Licences) != commands || len(decided[3].Tenant().Licences) != 3 {
		t.Errorf("asked for again: %v", got.Licences)
	}
}

// TestDecidedKeepsItsTenantAlone: commands that wait to be recorded keep what each said of its tenant, and no registry.
func TestDecidedKeepsItsTenantAlone(t *testing.T) {
	state, d := State{}.Take(Record{0, 0, asJSON(t, Plan(State{}, parse(t, acme), 0)[0])})
	tenants := weak.Make(state.tenants.beside.root)
	if state.Tenant("acme") == nil {
		t.Fatal(d.Verdict.Refusals)
	}
	runtime.GC()
	if tenants.Value() != nil {
		t.Error("the whole registry is kept")
	}
	if d.Tenant().Name != "Acme AB" || !d.Changed {
		t.Errorf("changed %t: %+v", d.Changed, d.Tenant())
	}
	if _, nobody := (State{}).Take(Record{0, 0, asJSON(t, holding(HoldPeriod, october, "why"))}); nobody.Tenant() != nil || nobody.Changed {
		t.Errorf("of no tenant: %+v", nobody)
	}
}

// BenchmarkFold takes ten thousand tenants of ten subscriptions, with a million licences, then one command more, and then
// a hundred thousand commands that each map a user to another subscription. It says how much memory the history takes.
func BenchmarkFold(b *testing.B) {
	const tenants, users = 10_000, 100
	records := make([]Record, tenants)
	for i := range records {
		tenant := Tenant{ID: fmt.Sprint("t", i), Name: "T", TimeZone: "UTC", Telephony: "vpop"}
		for j := range 10 {
			tenant.Subscriptions = append(tenant.Subscriptions, sub(fmt.Sprint("t", i, "-", j), "2024-01-01/2027-01-01"))
		}
		for j := range users {
			tenant.Licences = append(tenant.Licences, licence(b, fmt.Sprint("agent-", j, " standard ", tenant.Subscriptions[j%10].ID, " 2024-01-01")))
		}
		records[i] = Record{int64(i), 0, asJSON(b, Command{ID: "c", Source: "s", TenantID: tenant.ID, Command: PutTenant, Base: NoBase, Tenant: &tenant})}
	}
	var h History
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			h = History{}
			for page := range slices.Chunk(records, 1000) {
				for _, d := range h.Take(page...) {
					if !d.Verdict.Accepted {
						b.Fatal(d.Verdict.Refusals)
					}
				}
			}
		}
		reportMemory(b)
	})
	b.Run("next", func(b *testing.B) {
		changed := *h.Now().Tenant("t77")
		changed.Name = "U"
		value := asJSON(b, Command{ID: "d", Source: "s", TenantID: "t77", Command: PutTenant, Base: 77, Tenant: &changed})
		for b.Loop() {
			if _, d := h.Now().Take(Record{tenants, 0, value}); !d.Verdict.Accepted {
				b.Fatal(d.Verdict.Refusals)
			}
		}
	})
	b.Run("small", func(b *testing.B) {
		const commands = 100_000
		for b.Loop() {
			for first := int64(tenants); first < tenants+commands; first += 1000 {
				page := make([]Record, 1000)
				for i := range page {
					offset := first + int64(i)
					tenant := fmt.Sprint("t", offset*7919%tenants)
					page[i] = Record{offset, 0, asJSON(b, Command{ID: fmt.Sprint("c", offset), Source: "s", TenantID: tenant, Command: SetLicences,
						Mappings: &SetMappings{Names: []string{fmt.Sprint("agent-", offset%users)}, All: true, From: day("2025-01-01").Add(int(offset % 365)),
							Subscriptions: []Mapped{{fmt.Sprint(tenant, "-", offset%10), Standard, civil.NoDate}}}})}
				}
				for _, d := range h.Take(page...) {
					if !d.Verdict.Accepted {
						b.Fatal(d.Verdict.Refusals)
					}
				}
			}
		}
		reportMemory(b)
	})
}

func reportMemory(b *testing.B) {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "MiB")
}

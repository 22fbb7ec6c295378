package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// commandsInMemory is a command log that is read only.
type commandsInMemory struct {
	CommandLog
	values [][]byte
}

func (l *commandsInMemory) Read(_ context.Context, from int64, visit kafka.LogVisitor) (int64, error) {
	for n := from; n < int64(len(l.values)); n++ {
		if err := visit(n, 0, l.values[n]); err != nil {
			return n, err
		}
	}
	return int64(len(l.values)), nil
}

func (l *commandsInMemory) give(t *testing.T, c registry.Command) {
	t.Helper()
	value, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	l.values = append(l.values, value)
}

// register gives what registers tenants with a subscription each.
func (l *commandsInMemory) register(t *testing.T, tenants ...string) {
	t.Helper()
	document := "tenants: ["
	for n, tenant := range tenants {
		document += fmt.Sprintf(`
  {id: %s, name: x, timeZone: UTC, telephony: vpop, subscriptions: [
    {id: Sub%d, name: x, licenceModel: concurrent, plan: flex, deployment: cloud, currency: SEK, billing: prepaid,
     terms: [{from: 2024-01-01, to: 2029-01-01}], versions: [{from: 2024-01-01}]}]},`, tenant, n+1)
	}
	doc, problems := registry.Parse("", []byte(document+"]"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, c := range registry.Plan(registry.State{}, doc, 0) {
		l.give(t, c)
	}
}

// issuesInMemory is the table of what is issued.
type issuesInMemory struct {
	Verdicts
	rows []registry.IssuedHash
	read func() // what else happens before it is read
}

func (v *issuesInMemory) Last(context.Context) (int64, []byte, error) { return -1, nil, nil }

func (v *issuesInMemory) Append(_ context.Context, commands []registry.Decided) error {
	for _, c := range commands {
		if i := c.Issued; i != nil {
			row := registry.IssuedHash{Tenant: i.Tenant, Seq: i.Seq, Period: i.Period.String(), Hash: i.Hash}
			v.rows = append(v.rows, row)
		}
	}
	return nil
}

func (v *issuesInMemory) IssuedHashes(context.Context) ([]registry.IssuedHash, error) {
	if v.read != nil {
		v.read()
	}
	return v.rows, nil
}

// TestOthersIssueWhileIssuesAreCompared: what another process issues and records after the registry was read is no
// difference of issued_periods; a row that is on no log is one, and a row that is not there.
func TestOthersIssueWhileIssuesAreCompared(t *testing.T) {
	log, table := &commandsInMemory{}, &issuesInMemory{}
	s := NewInvoices(InvoiceDeps{Registry: NewRegistry(log, table, time.Now)})
	log.register(t, "acme")
	for _, step := range []struct {
		what   string
		read   func()
		issued int
		want   string
	}{
		{"another issues", func() {
			log.give(t, registry.Command{ID: uuid.NewString(), Source: "other", TenantID: "acme", Command: registry.ClaimIssue,
				Period: civil.NewMonth(2026, 9),
				Claim:  registry.Claim{Seq: 1, Lines: 1, LinesHash: strings.Repeat("ab", 32), Basis: []byte(`{"issueDate":"2026-10-06"}`)}})
			other := NewRegistry(log, table, time.Now)
			if _, err := other.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := other.Record(t.Context()); err != nil || len(table.rows) != 1 {
				t.Fatal(err, table.rows)
			}
		}, 0, ""},
		{"nothing", nil, 1, ""},
		{"a row is added", func() {
			table.rows = append(table.rows, registry.IssuedHash{Tenant: "acme", Seq: 2, Period: "2026-10", Hash: "x"})
		}, 1, "issued_periods has 2026-10 as issue 2, which the registry's log has not"},
		{"the rows are lost", func() { table.rows = nil }, 1, "issued_periods lacks 2026-09, issue 1 on the registry's log"},
	} {
		state, err := s.Registry.CatchUp(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		table.read = step.read
		r := newPeriodBalance()
		chains, err := s.issuesKept(t.Context(), &r, state)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, tenant := range r.Tenants {
			got = append(got, tenant.Differences...)
		}
		want := slices.DeleteFunc([]string{step.want}, func(w string) bool { return w == "" })
		if !slices.Equal(got, want) || r.TableDiffers != (len(want) > 0) || len(chains["acme"]) != step.issued {
			t.Errorf("%s: %d issues, differing by %q; want %d and %q", step.what, len(chains["acme"]), got, step.issued, want)
		}
	}
}

// TestDryRunComputesContentOnce: what a command says is written out once, however often it is compared afterwards.
func TestDryRunComputesContentOnce(t *testing.T) {
	c := registry.Command{ID: "c", Source: "test", TenantID: "acme", Command: registry.HoldPeriod, Period: civil.NewMonth(2026, 10),
		Reason: "why"}
	_, o := DryRun(registry.State{}, c)
	record, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	given, same := registry.DecodeCommand(record), true
	if n := testing.AllocsPerRun(10, func() { same = same && o.command.Same(given) }); n > 0 || !same {
		t.Errorf("compared with %v allocations, the same: %v", n, same)
	}
	c.Reason = "another"
	if o.command.Same(c) {
		t.Error("another reason is the same command")
	}
}

// TestLooksLeaveWhatIsIssued as it was found at the issue, with the instant of that.
func TestLooksLeaveWhatIsIssued(t *testing.T) {
	october := civil.NewMonth(2026, 10)
	log := &commandsInMemory{}
	log.register(t, "acme", "beta")
	log.give(t, registry.Command{ID: uuid.NewString(), Source: "test", TenantID: "acme", Command: registry.ClaimIssue,
		Period: october,
		Claim: registry.Claim{Seq: 1, Lines: 1, LinesHash: strings.Repeat("ab", 32),
			Basis: []byte(`{"issueDate":"2026-11-04"}`)}})
	state, err := NewRegistry(log, &issuesInMemory{}, time.Now).CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := []billing.Finding{{Tenant: "acme", Code: schemas.Ahead}, {Tenant: "beta", Code: schemas.Unmapped}}
	for period, want := range map[civil.Month]string{
		october:     "[ 0 by 3 at 5  beta 1 by 3 at 5]",
		october + 1: "[ 0 by 3 at 5  acme 1 by 3 at 5  beta 1 by 3 at 5]",
	} {
		var got []string
		for _, l := range looks(state, period, found, aggregate.Pass{Basis: aggregate.Basis{Pass: 3}}, 5) {
			got = append(got, fmt.Sprintf("%s %d by %d at %d", l.Tenant, len(l.Findings), l.Pass, l.AtMS))
		}
		if of := "[" + strings.Join(got, "  ") + "]"; of != want {
			t.Errorf("%s: looks %s; want %s", period, of, want)
		}
	}
}

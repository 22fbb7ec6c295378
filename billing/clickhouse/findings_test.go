package clickhouse_test

import (
	"reflect"
	"strings"
	"testing"

	"apportion/billing"
	"apportion/billing/clickhouse"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// v_findings has what was found last, by the pass that knows most; what is no longer found is gone. What was found at an
// issue stays, also for who has looked by a later pass without knowing of it.
func TestFindings(t *testing.T) {
	conn := tablestest.Open(t)
	store := clickhouse.NewFindings(conn)
	october := civil.NewMonth(2026, 10)
	unmapped := billing.Finding{Code: schemas.Unmapped, Rule: "R10", Count: 12, Names: []string{"/acd 1", "/acd 2"}, Advice: "map them"}
	ahead := billing.Finding{Code: schemas.Ahead, Rule: "R24", Count: 1, Names: []string{"/acd 9"}, Advice: "look"}
	look := func(tenant string, pass uint64, found ...billing.Finding) billing.Look {
		return billing.Look{Tenant: tenant, Period: october, Findings: found, Pass: pass, RegistryOffset: 4, AtMS: 1_790_000_000_000}
	}
	issue := func(l billing.Look) billing.Look {
		l.Issued = true
		return l
	}
	const ofAcme = "acme|2026-10|unmapped|R10|12|['/acd 1','/acd 2']|map them|2026-09-21 14:13:20.000|"
	const ofOther = "other|2026-10|ahead|R24|1|['/acd 9']|look|2026-09-21 14:13:20.000|"
	for _, c := range []struct {
		looks []billing.Look
		want  []string
	}{
		{nil, nil},
		{[]billing.Look{look("acme", 3, unmapped), look("other", 3, ahead), look("", 3)}, []string{ofAcme + "3|4", ofOther + "3|4"}},
		{[]billing.Look{look("acme", 2, ahead)}, []string{ofAcme + "3|4", ofOther + "3|4"}}, // by who knew less
		{[]billing.Look{look("acme", 5)}, []string{ofOther + "3|4"}},
		{[]billing.Look{look("acme", 5, unmapped), look("other", 6)}, []string{ofAcme + "5|4"}}, // as time goes on
		{[]billing.Look{issue(look("acme", 4)), issue(look("other", 7, ahead))}, []string{ofOther + "7|4"}},
		{[]billing.Look{look("acme", 8, unmapped), look("other", 8)}, []string{ofOther + "7|4"}},
	} {
		if err := store.Keep(t.Context(), c.looks); err != nil {
			t.Fatal(err)
		}
		if got := table(t, conn, "SELECT * FROM v_findings ORDER BY tenant, code"); !reflect.DeepEqual(got, c.want) {
			t.Errorf("after %v:\n%s\nwant\n%s", c.looks, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

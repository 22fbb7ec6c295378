package main

import (
	"strings"
	"testing"

	"apportion/billing"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// TestPreviewOfAnIssuedMonthThatIsStopped: an issue that would be stopped is not said to adjust nothing.
func TestPreviewOfAnIssuedMonthThatIsStopped(t *testing.T) {
	october := civil.NewMonth(2026, 10)
	already := billing.AlreadyIssued{Tenant: "acme", IssueDate: october.Next().First().Add(3)}
	const issued = "2026-10 of acme is issued, as of 2026-11-04; below is what a first issue would give now\n"
	for _, c := range []struct {
		stop *billing.Stop
		want string
	}{
		{nil, issued + "the next issue would adjust nothing of it\n\n"},
		{&billing.Stop{Tenant: "acme", Period: october + 1, Code: schemas.MissingPrice, Rule: "R19", Message: "no price",
			Advice: "price it"}, issued + "the next issue would be stopped: acme 2026-11: missing_price (R19): no price; "},
	} {
		already.Stop = c.stop
		var w strings.Builder
		writeAlreadyIssued(&w, &billing.Run{Period: october, Already: []billing.AlreadyIssued{already}})
		if got := w.String(); !strings.HasPrefix(got, c.want) || c.stop != nil && strings.Contains(got, "adjust") {
			t.Errorf("%q; want %q", got, c.want)
		}
	}
}

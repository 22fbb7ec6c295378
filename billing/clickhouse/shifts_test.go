package clickhouse

import (
	"testing"

	"apportion/schemas/civil"
)

// TestDateShiftsOnce: a zone's dates are walked once, and not with each tenant that is written.
func TestDateShiftsOnce(t *testing.T) {
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		t.Fatal(err)
	}
	if first, again := dateShifts(zone), dateShifts(zone); &first[0] != &again[0] {
		t.Error("the dates were walked twice")
	}
	if shift := dateShifts(civil.UTC).At(0); shift != 0 {
		t.Errorf("UTC is %d ms from itself", shift)
	}
}

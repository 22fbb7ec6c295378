package web

import "testing"

// The statuses that the framework answers by itself are those that the page of codes has.
func TestStatusesAreThoseOfTheCodes(t *testing.T) {
	for status, code := range codeOfStatus {
		if code.Status() != status {
			t.Errorf("%s has the status %d, and is given for %d", code, code.Status(), status)
		}
	}
	if len(codeOfStatus) < 11 {
		t.Errorf("there are only %d", len(codeOfStatus))
	}
}

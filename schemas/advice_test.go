package schemas

import "testing"

func TestEveryCodeHasAdvice(t *testing.T) {
	for _, c := range Codes {
		if c.Advice() == "" {
			t.Errorf("%s has no advice", c)
		}
	}
	if len(advice) != len(Codes) {
		t.Errorf("there is advice for %d codes, and there are %d", len(advice), len(Codes))
	}
	if got := Code("no_such_code").Advice(); got != "" {
		t.Errorf("advice for no code: %q", got)
	}
}

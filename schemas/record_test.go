package schemas

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRecordID(t *testing.T) {
	const last = "eu.usage.ivr.v1/2147483647/9223372036854775807"
	if p, err := ParseRecordID(last); err != nil || p != (RecordID{"eu.usage.ivr.v1", math.MaxInt32, math.MaxInt64}) {
		t.Errorf("%q was read as %v: %v", last, p, err)
	}
	for _, s := range []string{"", "/0/17", "usage.agent.v1", "usage.agent.v1/0", "usage.agent.v1/0/-1",
		"usage.agent.v1/-1/0",
		"usage.agent.v1/0/17/1", "usage.agent.v1/2147483648/0", "usage.agent.v1/0/9223372036854775808", "usage.agent.v1/+0/1",
		"usage.agent.v1/a/1"} {
		if p, err := ParseRecordID(s); err == nil || !strings.Contains(err.Error(), "TOPIC/PARTITION/OFFSET") {
			t.Errorf("%q was read as %v: %v", s, p, err)
		}
	}
}

func TestRecordIDsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := RecordID{rapid.StringMatching(`[a-z0-9._-]+`).Draw(t, "topic"),
			rapid.Int32Min(0).Draw(t, "partition"), rapid.Int64Min(0).Draw(t, "offset")}
		if got, err := ParseRecordID(want.String()); got != want || err != nil {
			t.Fatalf("%v was read as %v: %v", want, got, err)
		}
	})
}

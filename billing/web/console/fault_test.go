package console

import (
	"strings"
	"testing"

	"apportion/schemas"
)

// What a delivery was refused for is marked in it, wherever the event has it.
func TestMarkFault(t *testing.T) {
	const event = `{"id":"1","time":"noon","data":{"time":1,"endTime":"x","licence_class":"premium"}}`
	for _, c := range []struct {
		payload            string
		code               schemas.Code
		field, value, want string
	}{
		{event, schemas.InvalidField, "time", `"noon"`, `"time": "noon"`},
		{event, schemas.EndBeforeStart, "endTime", `"x"`, `"endTime": "x"`},
		{event, schemas.MisspeltField, "licenceClass", "licence_class", `"licence_class": "premium"`},
		{event, schemas.MissingField, "agentId", "", ""},
		{`{"endTime":"x","id":7}`, schemas.EndBeforeStart, "endTime", `"x"`, `"endTime": "x"`}, // binary mode
		{`{"endTime":"x","id":7}`, schemas.InvalidField, "time", "", ""},
		{`{"id":"1","id":"2"}`, schemas.MalformedJSON, "", "", `"id"`},
		{`{"id":"1",}`, schemas.MalformedJSON, "", "", `,`},
		{`{"id":nil}`, schemas.MalformedJSON, "", "", `nil`},
		{`{"id":"1"`, schemas.MalformedJSON, "", "", ""},
		{"{\"id\":\"\xff\"}", schemas.MalformedJSON, "", "", "\uFFFD\""},
		{``, schemas.MalformedJSON, "", "", ""},
		{`[1]`, schemas.InvalidField, "id", "", ""},
	} {
		m := markFault([]byte(c.payload), c.code, c.field, c.value)
		if m.Mark != c.want || m.Before || m.After {
			t.Errorf("%s of %s: marked is %q in %q %q", c.code, c.payload, m.Mark, m.Head, m.Tail)
		}
		if text := m.Head + m.Mark + m.Tail; !m.Indented && text != strings.ToValidUTF8(c.payload, "\uFFFD") {
			t.Errorf("%q is shown as %q", c.payload, text)
		}
	}
	long := markFault([]byte(`{"x":"`+strings.Repeat("x", 100_000)+`","id":5,"y":"`+strings.Repeat("y", 100_000)+`"}`),
		schemas.InvalidField, "id", "5")
	if long.Mark != `"id": 5` || !long.Before || !long.After || len(long.Head)+len(long.Tail) > mostShown {
		t.Errorf("of a long payload %q is marked, after %d bytes and before %d", long.Mark, len(long.Head), len(long.Tail))
	}
}

// What the API says begins as a sentence does, unless it begins with a name of code.
func TestSentence(t *testing.T) {
	for words, want := range map[string]string{
		"": "", "issue what is due first": "Issue what is due first.", "endTime is before startTime": "endTime is before startTime.",
		"type is not one of the contract": "type is not one of the contract.", "Sub1 has no price.": "Sub1 has no price.",
		"élan": "Élan.", "is 5": "Is 5.",
	} {
		if got := sentence(words); got != want {
			t.Errorf("%q is %q, want %q", words, got, want)
		}
	}
}

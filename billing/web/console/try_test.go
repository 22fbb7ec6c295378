package console

import (
	"fmt"
	"strings"
	"testing"
)

// What is pasted is an array, values one after the other, or else lines of which each is an event.
func TestEventsIn(t *testing.T) {
	const batch, lines = "application/cloudevents-batch+json", "application/x-ndjson"
	for _, c := range []struct{ text, body, contentType, lines string }{
		{`[{"a":1},{"a":1,"a":2}]`, `[{"a":1},{"a":1,"a":2}]`, batch, "[1 1]"},
		{"[\n {},\n\n {}\n]\n", "[{},{}]", batch, "[2 4]"},
		{"\uFEFF{}\n\n{\n \"a\": 1\n}\n{}", "[{},{\n \"a\": 1\n},{}]", batch, "[1 3 6]"},
		{"", "[]", batch, "[]"},
		{"[]", "[]", batch, "[]"},
		{"{}\r\n\r\n{\r\n{}", "{}\r\n\r\n{\r\n{}", lines, "[1 3 4]"},
		{"[{}] {}", "[{}] {}", lines, "[1]"},
		{"[{}", "[{}", lines, "[1]"},
		{"{'a':1}", "{'a':1}", lines, "[1]"},
	} {
		body, contentType, at := eventsIn(c.text)
		if string(body) != c.body || contentType != c.contentType || fmt.Sprint(at) != c.lines {
			t.Errorf("%q is %q as %s, lines %v", c.text, body, contentType, at)
		}
	}
	if values, err := valuesOf(strings.Repeat("{}\n", 1000)); err != nil || len(values) != 1000 || values[999].at != 2997 {
		t.Errorf("of a thousand lines there are %d events: %v", len(values), err)
	}
}

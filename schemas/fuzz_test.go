package schemas

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// loneSurrogate finds what may be one; the oracle cannot tell them apart.
var loneSurrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)

// FuzzDecode holds the decoder to a well-known JSON reader on what is
// malformed, and to itself: an event decodes the same from its canonical form.
func FuzzDecode(f *testing.F) {
	for _, fixture := range fixtures(f) {
		f.Add(fixture.value)
	}
	f.Add([]byte(ordinaryEvent))
	f.Add([]byte(`{"\ud83d\ude00":1e-7,"x":[{},[],"\b\f\n\r\t\/\"\\"]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		kind, _, ok := SniffType(value)
		if !ok {
			kind = AgentSession
		}
		var d Decoder
		var e Event
		r := d.Decode(kind, nil, value, &e)
		if !bytes.Equal(value, before) {
			t.Fatal("the value was modified")
		}
		all := slices.Concat(value, oracleData(value))
		switch {
		case len(value) > MaxValueBytes || bytes.Count(all, []byte("["))+bytes.Count(all, []byte("{")) > maxDepth:
			return
		case r != nil && r.Code == TooLarge:
			t.Fatal(r)
		case !loneSurrogate.Match(all):
			if malformed := r != nil && r.Code == MalformedJSON; malformed != oracleMalformed(value) {
				t.Fatalf("%q: %v", value, r)
			}
		}
		if r != nil {
			if !utf8.ValidString(r.Value) || utf8.RuneCountInString(r.Value) > 100 || strings.ContainsAny(r.Error(), "\n\x1b") {
				t.Fatalf("not safe to print: %q", r.Error())
			}
			return
		}
		var again Event
		if r := d.Decode(kind, nil, rewrap(t, &e), &again); r != nil || again != e {
			t.Fatalf("%q: again %v\n%+v\n%+v", value, r, e, again)
		}
	})
}

// oracleMalformed reports whether a value is malformed, by a reader of tokens.
func oracleMalformed(value []byte) bool {
	if !utf8.Valid(value) || !json.Valid(value) || bytes.TrimLeft(value, " \t\r\n")[0] != '{' {
		return true
	}
	data := oracleData(value)
	return oracleRepeats(value, true) || bytes.HasPrefix(data, []byte("{")) && oracleRepeats(data, false)
}

// oracleData returns the JSON that data_base64 says in place of the data, or
// nil.
func oracleData(value []byte) []byte {
	var event map[string]json.RawMessage
	var encoded string
	if json.Unmarshal(value, &event) != nil || json.Unmarshal(event["data_base64"], &encoded) != nil ||
		event["data"] != nil && string(event["data"]) != "null" || strings.ContainsAny(encoded, "\r\n") {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !utf8.Valid(data) || !json.Valid(data) {
		return nil
	}
	return bytes.TrimSpace(data)
}

// oracleRepeats reports whether a name is repeated in an object or, where it
// is the event, in its data.
func oracleRepeats(object []byte, event bool) bool {
	tokens := json.NewDecoder(bytes.NewReader(object))
	tokens.Token() // the opening brace
	seen := map[string]bool{}
	for tokens.More() {
		token, _ := tokens.Token()
		name := token.(string)
		var value json.RawMessage
		tokens.Decode(&value)
		if seen[name] || event && name == "data" && value[0] == '{' && oracleRepeats(value, false) {
			return true
		}
		seen[name] = true
	}
	return false
}

// FuzzParseTime holds the times to a plainer reading of them.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{
		"2026-10-14T16:02:11.000Z", "1970-01-01T00:00:00+00:00", "9999-12-31T23:59:59.9999-00:00",
		"1969-12-31T23:00:00-01:00", "2024-02-29T23:59:60Z", "2026-10-14T08:00:03.123456789+05:45", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, ok := parseTime(s)
		want, wantOK := oracleTime(s)
		if ok != wantOK || ok && ms != want {
			t.Errorf("%q: %d %v, want %d %v", s, ms, ok, want, wantOK)
		}
	})
}

var timeShape = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// oracleTime reads a time with the standard library, which is more lenient in
// its shape and keeps nine digits of a fraction at most.
func oracleTime(s string) (ms int64, ok bool) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !timeShape.MatchString(s) || t.UTC().Year() < 1970 || t.UTC().Year() > 9999 {
		return 0, false
	}
	return t.UnixMilli(), true
}

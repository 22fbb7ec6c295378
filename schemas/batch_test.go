package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSplitBatch(t *testing.T) {
	deep := strings.Repeat("[", 3000) + strings.Repeat("]", 3000)
	for _, c := range []struct {
		name, batch string
		want        []string // nil for an error
	}{
		{"none", " [ ] \n", []string{}},
		{"white space is nobody's", "[ {\"a\" : 1} ,\n\t{}]", []string{`{"a" : 1}`, `{}`}},
		{"escapes and numbers stay as they were written", `[{"n":1.50e0,"s":"\u0041\/","n":1}]`, []string{`{"n":1.50e0,"s":"\u0041\/","n":1}`}},
		{"no objects", `[null,1,"x",[2],true]`, []string{"null", "1", `"x"`, "[2]", "true"}},
		{"not UTF-8 within a string", "[\"\xff\",{}]", []string{"\"\xff\"", "{}"}},
		{"a lone surrogate", `[{"id":"\ud800"}]`, []string{`{"id":"\ud800"}`}},
		{"deeper than an event may be", "[" + deep + ",{}]", []string{deep, "{}"}},
		{"empty", "", nil},
		{"an object", `{"a":1}`, nil},
		{"a byte order mark", "\ufeff[]", nil},
		{"a byte order mark before an element", "[\ufeff{}]", nil},
		{"cut off", `[{"a":1},{"b"`, nil},
		{"without its end", `[{}`, nil},
		{"a comma too many", `[{},]`, nil},
		{"no comma", `[{} {}]`, nil},
		{"text after it", `[{}] x`, nil},
		{"a second array", `[{}][{}]`, nil},
		{"lines", "{}\n{}\n", nil},
	} {
		got, err := SplitBatch([]byte(c.batch), 10)
		if c.want == nil {
			if err == nil || got != nil {
				t.Errorf("%s: %q, %v, want an error", c.name, got, err)
			}
			continue
		}
		texts := []string{}
		for _, e := range got {
			texts = append(texts, string(e))
		}
		if err != nil || !slices.Equal(texts, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, texts, err, c.want)
		}
	}
	if _, err := SplitBatch([]byte(`[1,2,3]`), 2); !errors.Is(err, ErrTooMany) {
		t.Errorf("three of two: %v", err)
	}
	if got, err := SplitBatch([]byte(`[1,2,3]`), 3); len(got) != 3 || err != nil {
		t.Errorf("three of three: %q, %v", got, err)
	}
}

// A batch is split just where Go's own decoder says that it is one array, into the bytes that this says.
func FuzzSplitBatch(f *testing.F) {
	for _, seed := range []string{"", "[]", `[{"a":"\ud800"},{"a":1,"a":2}]`, "[\"\xff\"]", " [1 ,2] ", "[1,]", "[[[]]] x",
		"\ufeff[]", `[{"specversion":"1.0","data":{"agentId":"é"}},null]`, `["\u00e9\/"]`, "[0.0e+1,-0]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, batch []byte) {
		before := bytes.Clone(batch)
		got, err := SplitBatch(batch, len(batch))
		if !bytes.Equal(batch, before) {
			t.Fatal("the batch was modified")
		}
		var want []json.RawMessage
		is := json.Unmarshal(batch, &want) == nil && want != nil
		if is != (err == nil) {
			t.Fatalf("%q: %v, and encoding/json says %t", batch, err, is)
		}
		if !slices.EqualFunc(got, want, func(a []byte, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q: %q, want %q", batch, got, want)
		}
	})
}

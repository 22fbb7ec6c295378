package kafka

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct {
		name, in string
		want     []string // "!" for a line that is too long
	}{
		{"nothing", "", nil},
		{"one", "a", []string{"a"}},
		{"ended", "a\n", []string{"a"}},
		{"empty lines", "\n\na\n\n", []string{"", "", "a", ""}},
		{"only line feeds part", "a\r\nb\rc\u2028d\x00\n", []string{"a\r", "b\rc\u2028d\x00"}},
		{"as long as may be", "a\n" + long + "\nb", []string{"a", long, "b"}},
		{"too long", "a\n" + long + "y\nb", []string{"a", "!", "b"}},
		{"far too long, at the end", "a\n" + long + long, []string{"a", "!"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := split(t, strings.NewReader(test.in)); !slices.Equal(got, test.want) {
				t.Errorf("%d lines, not %d", len(got), len(test.want))
			}
		})
	}
}

// TestLinesAnyhow splits as strings.Split does, however the bytes come in.
func TestLinesAnyhow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`[ab\r\n]{0,40}`).Draw(t, "in")
		want := strings.Split(in, "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		if got := split(t, iotest.OneByteReader(strings.NewReader(in))); !slices.Equal(got, want) {
			t.Fatalf("%q became %q", in, got)
		}
	})
}

func split(t interface{ Fatal(...any) }, r io.Reader) (all []string) {
	for lines := newLines(r); ; {
		line, err := lines.next([]byte("before"))
		switch {
		case errors.Is(err, errLineTooLong):
			all = append(all, "!")
		case errors.Is(err, io.EOF):
			if int(lines.number) != len(all) {
				t.Fatal("counted", lines.number)
			}
			return all
		case err != nil:
			t.Fatal(err)
		default:
			all = append(all, strings.TrimPrefix(string(line), "before"))
		}
	}
}

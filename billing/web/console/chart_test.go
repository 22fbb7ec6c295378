package console

import (
	"slices"
	"testing"
)

func TestTicks(t *testing.T) {
	for greatest, want := range map[int64][]int64{
		0: {0, 1}, 1: {0, 1}, 5: {0, 1, 2, 3, 4, 5}, 8: {0, 2, 4, 6, 8}, 26: {0, 10, 20, 30}, 1100: {0, 500, 1000, 1500},
	} {
		if got := ticks(greatest); !slices.Equal(got, want) {
			t.Errorf("ticks of %d: %v, want %v", greatest, got, want)
		}
	}
}

func TestScale(t *testing.T) {
	s := scale{from: 0, to: 30, low: 200, high: 20}
	for v, want := range map[int64]int{0: 200, 15: 110, 30: 20, 31: 20, -1: 200} {
		if got := s.at(v); got != want {
			t.Errorf("%d is at %d, want %d", v, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]string{
		"1234567.80": "1\u202f234\u202f567.80", "-1100.00": "−1\u202f100.00", "999": "999", "INV-1": "INV-1", "": "",
	} {
		if got := number(text); got != want {
			t.Errorf("number(%q) = %q, want %q", text, got, want)
		}
	}
}

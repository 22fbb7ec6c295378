package civil

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *Zone {
	t.Helper()
	z, err := LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func date(t testing.TB, s string) Date {
	t.Helper()
	d, err := ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestStartOfDate holds 00:00 of a date to the preamble of the rules, with the clock changes that make it odd.
func TestStartOfDate(t *testing.T) {
	for _, c := range []struct{ zone, date, start, why string }{
		{"UTC", "2026-10-14", "2026-10-14T00:00:00.000Z", "nothing odd"},
		{"UTC", "1969-12-31", "1969-12-31T00:00:00.000Z", "before the epoch"},
		{"Europe/Stockholm", "2026-10-25", "2026-10-24T22:00:00.000Z", "the clock changes later in the day"},
		{"Europe/Stockholm", "2026-10-26", "2026-10-25T23:00:00.000Z", "a day of 25 hours before it"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00.000Z", "midnight is skipped: the end of the gap, 01:00"},
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00.000Z", "the hour before midnight is repeated"},
		{"America/Havana", "2026-03-08", "2026-03-08T05:00:00.000Z", "midnight is skipped"},
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00.000Z", "midnight is repeated: the first"},
		{"America/St_Johns", "2006-10-29", "2006-10-29T02:30:00.000Z", "put back at 00:01: the first midnight"},
		{"America/St_Johns", "2006-04-02", "2006-04-02T03:30:00.000Z", "put forward at 00:01: midnight is there"},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00.000Z", "the date is skipped: it is empty"},
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00.000Z", "the date after the skipped one"},
		{"Pacific/Kwajalein", "1993-08-21", "1993-08-21T12:00:00.000Z", "the date is skipped"},
		{"Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15:00.000Z", "a quarter of an hour"},
		{"Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00.000Z", "half an hour of summer time"},
		{"Europe/Stockholm", "2024-12-31", "2024-12-30T23:00:00.000Z", "the last day of a leap year"},
		{"Europe/Stockholm", "2025-01-01", "2024-12-31T23:00:00.000Z", "the day after"},
		{"America/Havana", "2053-01-01", "2053-01-01T05:00:00.000Z", "the day after one, from the west"},
		{"Europe/Stockholm", "9999-12-31", "9999-12-30T23:00:00.000Z", "far beyond the table of transitions"},
	} {
		if got := FormatMillis(zone(t, c.zone).Start(date(t, c.date))); got != c.start {
			t.Errorf("%s %s: starts at %s, want %s (%s)", c.zone, c.date, got, c.start, c.why)
		}
	}
}

// TestDateOf gives instants around odd midnights the date that has begun, whatever the clock on the wall reads.
func TestDateOf(t *testing.T) {
	for _, c := range []struct{ zone, at, date string }{
		{"America/Havana", "2026-11-01T03:59:59.999Z", "2026-10-31"},
		{"America/Havana", "2026-11-01T04:00:00.000Z", "2026-11-01"},
		{"America/St_Johns", "2006-10-29T02:30:00.000Z", "2006-10-29"},
		{"America/St_Johns", "2006-10-29T02:45:00.000Z", "2006-10-29"}, // the wall reads 23:15 of the 28th again
		{"Pacific/Apia", "2011-12-30T09:59:59.999Z", "2011-12-29"},
		{"Pacific/Apia", "2011-12-30T10:00:00.000Z", "2011-12-31"},
		{"UTC", "1969-12-31T23:59:59.999Z", "1969-12-31"},
	} {
		at, err := ParseInstant(c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := zone(t, c.zone).DateOf(at).String(); got != c.date {
			t.Errorf("%s %s: %s, want %s", c.zone, c.at, got, c.date)
		}
	}
}

// TestDatesPartitionTime checks, on random zones and instants, that every instant lies in exactly one date,
// and that the start of a date is the earliest instant that reads that midnight or later.
func TestDatesPartitionTime(t *testing.T) {
	names := InUse().Names()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "zone")
		z, err := LoadZone(name)
		if err != nil {
			t.Fatal(err)
		}
		ms := rapid.Int64Range(-40*365*86400_000, 120*365*86400_000).Draw(t, "ms")
		d := z.DateOf(ms)
		if z.Start(d) > ms || z.Start(d+1) <= ms {
			t.Fatalf("%s: %d is not within %s", name, ms, d)
		}
		reading := func(ms int64) int64 {
			local := time.UnixMilli(ms).In(z.location)
			_, offset := local.Zone()
			return ms + int64(offset)*1000
		}
		start, midnight := z.Start(d), int64(d)*86400_000
		if reading(start) < midnight {
			t.Fatalf("%s: the start of %s reads earlier than its midnight", name, d)
		}
		for back := int64(1); back < 26*3600_000; back = back*2 + 1 {
			if reading(start-back) >= midnight {
				t.Fatalf("%s: %d ms before the start of %s the reading is already past its midnight", name, back, d)
			}
		}
	})
}

func TestLoadZoneRefuses(t *testing.T) {
	for _, name := range []string{"", "Local", "europe/stockholm", "Europe", "Mars/Olympus", "../UTC"} {
		if _, err := LoadZone(name); !errors.Is(err, ErrUnknownZone) {
			t.Errorf("LoadZone(%q) = %v, want ErrUnknownZone", name, err)
		}
	}
}

func TestDatesAndMonths(t *testing.T) {
	for in, want := range map[string]int{"1999-02": 28, "2000-02": 29, "1900-02": 28, "2026-12": 31, "1969-12": 31} {
		m, err := ParseMonth(in)
		if err != nil || m.String() != in || m.Days() != want || m.First().Month() != m || m.First().Add(want) != m.Next().First() {
			t.Errorf("%s: %v, %v with %d days, want %d", in, m, err, m.Days(), want)
		}
	}
	for _, bad := range []string{"", "2026-2-1", "2026-02-30", "26-02-01", "2026-02-01T00:00:00Z", "0000-01-01"} {
		if d, err := ParseDate(bad); err == nil {
			t.Errorf("ParseDate(%q) = %s, want an error", bad, d)
		}
	}
	for _, bad := range []string{"", "2026-13", "2026-1", "2026-10-01"} {
		if m, err := ParseMonth(bad); err == nil {
			t.Errorf("ParseMonth(%q) = %s, want an error", bad, m)
		}
	}
	var term struct{ From, To Date }
	if err := json.Unmarshal([]byte(`{"From":"1931-05-06","To":""}`), &term); err != nil || term.From.String() != "1931-05-06" || term.To != NoDate {
		t.Errorf("a term came out as %v, %v", term, err)
	}
}

// Package civil has the calendar that the billing rules are written in: dates, months, and the instants at
// which they begin in a tenant's time zone (R1, R3, R17).
//
// Its zones come from the IANA data that is embedded here or that a process was started with, never from what the
// machine happens to have, so that the same events give the same lines everywhere (R23); [Edition] names it. Everything
// above this package asks it for instants and never does calendar arithmetic of its own.
package civil

import (
	"fmt"
	"math"
	"time"
)

// Date is a calendar date, as the number of days since 1970-01-01. The zero value is 1970-01-01; a date that
// is absent is [NoDate].
type Date int32

// NoDate stands for a date that is absent, such as the end of an open mapping. It sorts before every date.
const NoDate Date = math.MinInt32

// NewDate returns the date of a year, month and day; values out of range are carried over, as in [time.Date].
func NewDate(year, month, day int) Date {
	return Date(time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// ParseDate reads a date written as 2026-10-14.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() == 0 {
		return NoDate, fmt.Errorf("%q is not a date; write it as YYYY-MM-DD, such as 2026-10-14", s)
	}
	// Years before 1970 have negative seconds that are whole days, so the division is exact.
	return Date(t.Unix() / 86400), nil
}

// Time returns 00:00 UTC of the date, which is how libraries without dates want one.
func (d Date) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// DateOfTime returns the date that a time reads in its own location.
func DateOfTime(t time.Time) Date { return NewDate(t.Year(), int(t.Month()), t.Day()) }

// String returns the date as 2026-10-14, and nothing for NoDate.
func (d Date) String() string {
	if d == NoDate {
		return ""
	}
	return d.Time().Format(time.DateOnly)
}

// Add returns the date a number of days later.
func (d Date) Add(days int) Date { return d + Date(days) }

// Month returns the month that the date lies in.
func (d Date) Month() Month {
	y, m, _ := d.Time().Date()
	return NewMonth(y, int(m))
}

// IsZero reports whether the date is absent, for encoding/json to leave it out: a Date of 0 is a real date.
func (d Date) IsZero() bool { return d == NoDate }

// MarshalText writes the date as 2026-10-14.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a date written as 2026-10-14; nothing is NoDate.
func (d *Date) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = NoDate
		return nil
	}
	v, err := ParseDate(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Month is a calendar month, as the number of months since January 1970. A billing period is one month of
// one tenant's zone (R17).
type Month int32

// NewMonth returns the month of a year and a month number.
func NewMonth(year, month int) Month { return Month((year-1970)*12 + month - 1) }

// ParseMonth reads a month written as 2026-10.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil || t.Year() == 0 {
		return 0, fmt.Errorf("%q is not a period; write it as YYYY-MM, such as 2026-10", s)
	}
	return NewMonth(t.Year(), int(t.Month())), nil
}

// First returns the month's first date.
func (m Month) First() Date { return NewDate(1970, int(m)+1, 1) }

// Next returns the month after.
func (m Month) Next() Month { return m + 1 }

// Days returns the number of dates in the month, a date that the zone skips included (R18).
func (m Month) Days() int { return int(m.Next().First() - m.First()) }

// String returns the month as 2026-10.
func (m Month) String() string { return m.First().Time().Format("2006-01") }

// MarshalText writes the month as 2026-10.
func (m Month) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a month written as 2026-10.
func (m *Month) UnmarshalText(text []byte) error {
	v, err := ParseMonth(string(text))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// Millis is an instant in UTC epoch milliseconds whose text is 2026-10-14T08:31:07.000Z.
type Millis int64

// String returns the instant as 2026-10-14T08:31:07.000Z.
func (m Millis) String() string { return FormatMillis(int64(m)) }

// MarshalText writes the instant as 2026-10-14T08:31:07.000Z.
func (m Millis) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// FormatMillis writes an instant, in epoch milliseconds, as 2026-10-14T08:31:07.000Z.
func FormatMillis(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// ParseInstant reads an instant that a person typed, RFC 3339 with a zone, into epoch milliseconds; what is
// finer is cut off.
func ParseInstant(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not an instant; write it as RFC 3339 with a zone, such as 2026-10-14T08:31:07Z", s)
	}
	return t.UnixMilli(), nil
}

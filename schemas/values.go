package schemas

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of single values in the event contract.
const (
	maxNameBytes         = 200
	maxRevision    int64 = 1<<31 - 1
	minNumberMS    int64 = 100_000_000_000     // a smaller number is taken for seconds
	maxInstantMS   int64 = 253_402_300_799_999 // 9999-12-31T23:59:59.999Z
	quantityWhole        = 12                  // digits before the point
	quantityDigits       = 6                   // digits after the point
	maxChannel           = 63
)

// validName reports whether s can be an identifier: 1 to 200 bytes of UTF-8
// without control characters.
func validName(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
		}
	}
	return true
}

// validChannel reports whether s can be a Connect channel, which is also a
// word in the name of its meter (R9).
func validChannel(s string) bool {
	if s == "" || len(s) > maxChannel || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && !isDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// parseWhole reads decimal digits alone, up to limit.
func parseWhole(s string, limit int64) (n int64, ok bool) {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		if n = n*10 + int64(s[i]-'0'); n > limit {
			return 0, false
		}
	}
	return n, s != ""
}

// parseQuantity reads a positive JSON number without sign or exponent, in
// millionths. Zeros at its end do not count as digits.
func parseQuantity(s string) (millionths int64, ok bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if len(whole) > quantityWhole || len(whole) > 1 && whole[0] == '0' || point && fraction == "" {
		return 0, false
	}
	n, ok := parseWhole(whole, 1e12)
	if !ok {
		return 0, false
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > quantityDigits {
		return 0, false
	}
	for i := range quantityDigits {
		n *= 10
		if i < len(fraction) {
			if !isDigit(fraction[i]) {
				return 0, false
			}
			n += int64(fraction[i] - '0')
		}
	}
	return n, n > 0
}

// parseBase64 reads base64 with padding (RFC 4648) into memory of its own. The
// library passes over line ends, which the contract does not allow.
func parseBase64(s string) (text []byte, ok bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	text, err := base64.StdEncoding.DecodeString(s)
	return text, err == nil
}

// parseTime reads RFC 3339 with a zone, T and Z in capitals, as UTC epoch
// milliseconds. Digits finer than a millisecond are cut off. The instant must
// lie in the years 1970 to 9999, and a second of 60 is refused.
func parseTime(s string) (ms int64, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	year := 100*twoDigits(s[0:]) + twoDigits(s[2:])
	month, day := twoDigits(s[5:]), twoDigits(s[8:])
	hour, minute, second := twoDigits(s[11:]), twoDigits(s[14:]), twoDigits(s[17:])
	if month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	rest := s[19:]
	var milli int64
	if rest[0] == '.' {
		n := 1
		for unit := int64(100); n < len(rest) && isDigit(rest[n]); unit /= 10 {
			milli += unit * int64(rest[n]-'0')
			n++
		}
		if n == 1 {
			return 0, false
		}
		rest = rest[n:]
	}
	var offset int64 // minutes east of UTC
	switch {
	case rest == "Z":
	case len(rest) == len("+00:00") && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		h, m := twoDigits(rest[1:]), twoDigits(rest[4:])
		if h > 23 || m > 59 {
			return 0, false
		}
		if offset = int64(h*60 + m); rest[0] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}
	if day < 1 || day > monthDays(year, month) || year > 9999 {
		return 0, false
	}
	ms = (daysBefore(year, month)+int64(day)-1)*86_400_000 +
		int64(hour)*3_600_000 + int64(minute)*60_000 + int64(second)*1000 + milli - offset*60_000
	return ms, 0 <= ms && ms <= maxInstantMS
}

// monthDays returns how many days a month has.
func monthDays(year, month int) int {
	switch {
	case month != 2:
		return 30 + (month+month>>3)&1
	case year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	}
	return 28
}

// daysBefore returns how many days lie between 1970-01-01 and the first of a
// month. It counts years from March on, so that a leap day is the last of its
// year.
func daysBefore(year, month int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return int64(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 - 719_468)
}

// notDigits is what twoDigits returns for anything else: more than any part
// of a date or time can be.
const notDigits = 1_000_000

// twoDigits reads the two decimal digits that s begins with.
func twoDigits(s string) int {
	if !isDigit(s[0]) || !isDigit(s[1]) {
		return notDigits
	}
	return int(s[0]-'0')*10 + int(s[1]-'0')
}

// printable returns at most 98 characters of a value, which leaves room for
// quotes, and nothing that a terminal would act upon.
func printable(raw []byte) string {
	const most = 98
	var b strings.Builder
	for n := 0; len(raw) > 0; n++ {
		r, size := utf8.DecodeRune(raw)
		raw = raw[size:]
		switch {
		case n == most-1 && len(raw) > 0:
			b.WriteRune('…')
			return b.String()
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}

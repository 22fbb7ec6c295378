package schemas

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// maxDepth is the deepest nesting accepted, counting the event itself as one
// level. The contract asks for 300.
const maxDepth = 1000

// A field is a member of the event or of its data that the contract names, in
// the order of its tables.
type field uint8

const (
	noField field = iota
	fieldSpecversion
	fieldID
	fieldSource
	fieldType
	fieldTime
	fieldTenantID
	fieldData
	fieldDataBase64
	fieldRevision
	fieldVoided
	fieldSubscriptionID
	fieldAgentID
	fieldEntryPointID
	fieldStartTime
	fieldEndTime
	fieldLicenceClass
	fieldChannel
	fieldQuantity
	numFields
)

// attribute returns the field of a member of the event, or noField.
func attribute(name []byte) field {
	switch string(name) {
	case "specversion":
		return fieldSpecversion
	case "id":
		return fieldID
	case "source":
		return fieldSource
	case "type":
		return fieldType
	case "time":
		return fieldTime
	case "tenantid":
		return fieldTenantID
	case "data":
		return fieldData
	case "data_base64":
		return fieldDataBase64
	}
	return noField
}

// dataField returns the field of a member of data, or noField.
func dataField(name []byte) field {
	switch string(name) {
	case "revision":
		return fieldRevision
	case "voided":
		return fieldVoided
	case "subscriptionId":
		return fieldSubscriptionID
	case "agentId":
		return fieldAgentID
	case "entryPointId":
		return fieldEntryPointID
	case "startTime":
		return fieldStartTime
	case "endTime":
		return fieldEndTime
	case "licenceClass":
		return fieldLicenceClass
	case "channel":
		return fieldChannel
	case "quantity":
		return fieldQuantity
	}
	return noField
}

// A kind is the JSON type of a value, or why there is none.
type kind uint8

const (
	kindNone kind = iota // no such member
	kindNull
	kindFalse
	kindTrue
	kindNumber
	kindString
	kindObject
	kindArray
	kindRepeated // the member's name was repeated, so it has no one value
)

// A rawValue is a value as it was written; a string's is without its quotes.
type rawValue struct {
	raw     []byte
	kind    kind
	escaped bool // a string with at least one escape
}

// absent reports whether the value counts as absent: null does.
func (v *rawValue) absent() bool { return v.kind <= kindNull }

// missing reports whether the value of a needed member counts as missing:
// also when it is "".
func (v *rawValue) missing() bool {
	return v.absent() || v.kind == kindString && len(v.raw) == 0
}

// text returns what a string says, or a number as it was written. It shares
// the memory of the value unless there was something to unescape.
func (v *rawValue) text() string {
	raw := v.raw
	if v.escaped {
		raw = unescape(nil, raw)
	}
	return unsafe.String(unsafe.SliceData(raw), len(raw))
}

// A scope says whose members an object has.
type scope uint8

const (
	ofOther scope = iota // nobody's business but the grammar's
	ofEvent
	ofData
)

// A scanner reads one JSON text, once, and keeps the members that the contract
// names. It is written by hand because the ready-made decoders take the last
// of two equal names or refuse them at every level, turn a lone surrogate into
// U+FFFD, or allocate for each event; and this is the hot path.
type scanner struct {
	src    []byte // must be valid UTF-8 for the scan to imply it
	pos    int
	fault  string // the first offence against the grammar, at pos
	fields [numFields]rawValue
	// repeated is the first name, unescaped, found twice in one object of the
	// event's or the data's.
	repeated []byte
	// names are those in the objects being scanned that are not fields, and
	// scratch holds the ones that needed unescaping.
	names   [][]byte
	scratch []byte
	// unknown are the names of the data's members that are not fields and not
	// null.
	unknown [][]byte
}

// reset prepares for a new text.
func (s *scanner) reset(src []byte) {
	*s = scanner{src: src, names: s.names[:0], scratch: s.scratch[:0], unknown: s.unknown[:0]}
}

// scan reads the whole text as one JSON value, whose members, if it is an
// object, are those of the scope. It reports whether the grammar was kept;
// repeated names do not break it.
func (s *scanner) scan(in scope) (v rawValue, ok bool) {
	s.space()
	if v, ok = s.value(in, 1); !ok {
		return v, false
	}
	s.space()
	if s.pos < len(s.src) {
		return v, s.fail("unexpected text after the JSON value")
	}
	return v, true
}

// fail notes what is wrong at the current position, and returns false.
func (s *scanner) fail(fault string) bool {
	s.fault = fault
	return false
}

// faultText describes what fail noted.
func (s *scanner) faultText() string {
	return fmt.Sprintf("%s at byte %d", s.fault, s.pos)
}

// peek returns the next byte, or 0 at the end: a NUL is never valid between
// the bytes of the grammar.
func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// space skips JSON white space, of which there is seldom any.
func (s *scanner) space() {
	if s.pos < len(s.src) && s.src[s.pos] <= ' ' {
		s.spaces()
	}
}

func (s *scanner) spaces() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value scans the value at the current position.
func (s *scanner) value(in scope, depth int) (v rawValue, ok bool) {
	start := s.pos
	switch c := s.peek(); c {
	case '"':
		return s.str()
	case '{':
		v.kind, ok = kindObject, s.object(in, depth)
	case '[':
		v.kind, ok = kindArray, s.array(depth)
	case 't':
		v.kind, ok = kindTrue, s.literal("true")
	case 'f':
		v.kind, ok = kindFalse, s.literal("false")
	case 'n':
		v.kind, ok = kindNull, s.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		v.kind, ok = kindNumber, s.number()
	default:
		ok = s.fail("expected a JSON value")
	}
	v.raw = s.src[start:s.pos]
	return v, ok
}

// object scans the object at the current position and notes its fields.
func (s *scanner) object(in scope, depth int) bool {
	if depth > maxDepth {
		return s.fail("nested too deeply")
	}
	s.pos++
	s.space()
	if s.peek() == '}' {
		s.pos++
		return true
	}
	outer := len(s.names)
	for {
		if s.peek() != '"' {
			return s.fail("expected a member name in double quotes")
		}
		name, ok := s.str()
		if !ok {
			return false
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("expected a colon after the member name")
		}
		s.pos++
		s.space()
		f := noField
		if in != ofOther {
			f = s.member(in, name)
		}
		inner := ofOther
		if f == fieldData {
			inner = ofData
		}
		v, ok := s.value(inner, depth+1)
		if !ok {
			return false
		}
		switch {
		case f != noField:
			if s.fields[f].kind != kindNone {
				v.kind = kindRepeated
			}
			s.fields[f] = v
		case in == ofData && v.kind != kindNull:
			s.unknown = append(s.unknown, s.names[len(s.names)-1])
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			s.others(outer)
			return true
		default:
			return s.fail("expected a comma or a closing brace")
		}
	}
}

// member returns the field of that name, and notes the name if it is none.
func (s *scanner) member(in scope, v rawValue) field {
	name := v.raw
	if v.escaped {
		from := len(s.scratch)
		s.scratch = unescape(s.scratch, name)
		name = s.scratch[from:]
	}
	f := noField
	if in == ofData {
		f = dataField(name)
	} else {
		f = attribute(name)
	}
	switch {
	case f == noField:
		s.names = append(s.names, name)
	case s.fields[f].kind != kindNone && s.repeated == nil:
		s.repeated = name
	}
	return f
}

// others looks for repetitions among the names noted since, and drops them.
// It sorts them, so that no value can make the work more than n log n.
func (s *scanner) others(since int) {
	names := s.names[since:]
	slices.SortFunc(names, bytes.Compare)
	for i := 1; i < len(names); i++ {
		if s.repeated == nil && bytes.Equal(names[i-1], names[i]) {
			s.repeated = names[i]
		}
	}
	s.names = s.names[:since]
}

// array scans the array at the current position.
func (s *scanner) array(depth int) bool {
	if depth > maxDepth {
		return s.fail("nested too deeply")
	}
	s.pos++
	s.space()
	if s.peek() == ']' {
		s.pos++
		return true
	}
	for {
		if _, ok := s.value(ofOther, depth+1); !ok {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return true
		default:
			return s.fail("expected a comma or a closing bracket")
		}
	}
}

// literal scans that word.
func (s *scanner) literal(word string) bool {
	if !bytes.HasPrefix(s.src[s.pos:], []byte(word)) {
		return s.fail("expected a JSON value")
	}
	s.pos += len(word)
	return true
}

// number scans a number.
func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++ // nothing but a point or an exponent may follow
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return true
}

// digits scans one or more decimal digits.
func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	if s.pos == start {
		return s.fail("expected a digit")
	}
	return true
}

// str scans the string whose opening quote is at the current position.
//
// Most of an event is the inside of strings, so it looks at eight bytes at once
// for a quote, a backslash or a control character: subtracting sets the top bit
// of a byte that is too small, and the lowest one so set is exact.
func (s *scanner) str() (v rawValue, ok bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	v.kind = kindString
	src := s.src
	start := s.pos + 1
	for pos := start; ; {
		for pos+8 <= len(src) {
			word := binary.LittleEndian.Uint64(src[pos:])
			quote, slash := word^'"'*ones, word^'\\'*ones
			if stop := ((quote-ones)&^quote | (slash-ones)&^slash | (word-' '*ones)&^word) & tops; stop != 0 {
				pos += bits.TrailingZeros64(stop) / 8
				break
			}
			pos += 8
		}
		for pos < len(src) && src[pos] >= ' ' && src[pos] != '"' && src[pos] != '\\' {
			pos++
		}
		s.pos = pos
		if pos == len(src) {
			return v, s.fail("a string without an end")
		}
		switch src[pos] {
		case '"':
			v.raw = src[start:pos]
			s.pos++
			return v, true
		case '\\':
			v.escaped = true
			n := escapeLen(src[pos:])
			if n == 0 {
				return v, s.fail("bad escape in a string")
			}
			pos += n
		default:
			return v, s.fail("unescaped control character in a string")
		}
	}
}

// escapeLen returns the length of the escape that the text begins with, or 0
// when it is none.
func escapeLen(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if hexValue(c) < 0 {
				return 0
			}
		}
		return 6
	}
	return 0
}

// unescape appends to dst what the inside of a scanned string says. A lone
// surrogate becomes the three bytes that UTF-8 would have for it, so that it
// stays apart from everything else and is not valid UTF-8.
func unescape(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		if c != 'u' {
			dst = append(dst, unescaped(c))
			raw = raw[i+2:]
			continue
		}
		r := hexRune(raw[i+2:])
		raw = raw[i+6:]
		if utf16.IsSurrogate(r) && bytes.HasPrefix(raw, []byte(`\u`)) {
			if pair := utf16.DecodeRune(r, hexRune(raw[2:])); pair != utf8.RuneError {
				r, raw = pair, raw[6:]
			}
		}
		if utf16.IsSurrogate(r) {
			dst = append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
}

// unescaped returns what a letter after a backslash stands for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// hexRune reads the four hexadecimal digits that the text begins with.
func hexRune(text []byte) (r rune) {
	for _, c := range text[:4] {
		r = r<<4 | rune(hexValue(c))
	}
	return r
}

// hexValue returns what a hexadecimal digit stands for, or -1.
func hexValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

package schemas

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plainNames has the names of the fields as they are compared with those of
// unknown members: in lower case, without _ and -.
var plainNames = func() (plain [numFields]string) {
	for f, name := range fieldNames {
		plain[f] = strings.ToLower(name)
	}
	return plain
}()

// misspelt refuses the delivery if a member of its data is one that its type
// knows, which is absent, misspelt: the first in the order of those that the
// type knows. A misspelt endTime would bill a day.
func (d *Decoder) misspelt(t Type) *Rejection {
	for _, fields := range [...][]field{commonFields[:], ownFields[t]} {
		for _, f := range fields {
			if f < fieldRevision || !d.fields[f].absent() {
				continue
			}
			if sent := d.misspellingOf(f); sent != nil {
				return d.misspeltAs(f, sent)
			}
		}
	}
	return nil
}

// misspellingOf returns the smallest in byte order of the unknown names that
// are a misspelling of the field, or nil.
func (d *Decoder) misspellingOf(f field) (sent []byte) {
	for _, name := range d.unknown {
		if isMisspelt(name, plainNames[f]) && (sent == nil || bytes.Compare(name, sent) < 0) {
			sent = name
		}
	}
	return sent
}

func (d *Decoder) misspeltAs(f field, sent []byte) *Rejection {
	r := d.reject(MisspeltField, f, fmt.Sprintf(
		"data has this member and no %[1]s, which seems to be meant; "+
			"spell it %[1]s and send the event again, or leave it out",
		fieldNames[f]))
	r.Value = `"` + printable(sent) + `"`
	return r
}

// isMisspelt reports whether a name is the plain one but for upper and lower
// case, _ and -, and at most one edit of a character: one inserted, deleted or
// substituted, or two neighbours swapped.
func isMisspelt(name []byte, plain string) bool {
	var buf [16]rune // no plain name is as long
	letters := buf[:0]
	for len(name) > 0 {
		r, size := utf8.DecodeRune(name)
		name = name[size:]
		if r == '_' || r == '-' {
			continue
		}
		if len(letters) == len(plain)+1 {
			return false
		}
		letters = append(letters, unicode.ToLower(r))
	}
	same := 0
	for same < len(letters) && same < len(plain) && letters[same] == rune(plain[same]) {
		same++
	}
	letters, plain = letters[same:], plain[same:]
	switch len(letters) - len(plain) {
	case 1:
		return endsAs(letters[1:], plain)
	case -1:
		return endsAs(letters, plain[1:])
	case 0:
		return len(plain) == 0 || endsAs(letters[1:], plain[1:]) ||
			len(plain) > 1 && letters[0] == rune(plain[1]) && letters[1] == rune(plain[0]) && endsAs(letters[2:], plain[2:])
	}
	return false
}

// endsAs reports whether the letters are those of the text, which is ASCII.
func endsAs(letters []rune, text string) bool {
	if len(letters) != len(text) {
		return false
	}
	for i, r := range letters {
		if r != rune(text[i]) {
			return false
		}
	}
	return true
}

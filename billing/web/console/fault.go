package console

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"apportion/schemas"
)

// markedText is a text with a part that is marked; Before and After say that more of it is not shown.
type markedText struct {
	Head, Mark, Tail string
	Before, After    bool
	// Indented says that white space is not as it came.
	Indented bool
}

// mostShown is how much of a payload is shown, in bytes.
const mostShown = 32 << 10

// markFault returns a payload with what it was refused for marked: the member of a field, or where it stops being JSON.
// Where nothing is at fault that is there, such as a field that is missing, nothing is marked.
func markFault(payload []byte, code schemas.Code, field, value string) markedText {
	text := jsontext.Value(bytes.Clone(payload))
	indented := text.Indent(jsontext.WithIndent("  ")) == nil
	if !indented {
		text = payload
	}
	from, to := brokenAt(text)
	if code != schemas.MalformedJSON {
		from, to = memberOf(text, code, field, value)
	}
	m := markedText{Indented: indented && !bytes.Equal(text, payload)}
	first, last := 0, len(text)
	if last > mostShown {
		first = max(0, min(from-mostShown/4, last-mostShown))
		last = first + mostShown
		to = min(to, last)
	}
	m.Before, m.After = first > 0, last < len(text)
	m.Head, m.Mark, m.Tail = blob(text[first:from]).String(), blob(text[from:to]).String(), blob(text[to:last]).String()
	return m
}

// brokenAt returns where a text stops being JSON with each member once, up to the end of its word; nothing where it
// does not.
func brokenAt(text []byte) (from, to int) {
	tokens := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		_, err := tokens.ReadToken()
		var syntax *jsontext.SyntacticError
		switch {
		case errors.As(err, &syntax):
			from = min(int(syntax.ByteOffset), len(text))
			word := bytes.IndexAny(text[from:], ",:}] \t\r\n")
			if word <= 0 {
				word = 1
			}
			to = min(from+word, len(text))
			for from > 0 && text[from-1]|0x20 >= 'a' && text[from-1]|0x20 <= 'z' { // the word that it is in
				from--
			}
			return from, to
		case err != nil: // it ends
			return len(text), len(text)
		}
	}
}

// attributes are the fields that an event has beside its data.
var attributes = []string{"specversion", "id", "source", "type", "time", "tenantid", "data", "data_base64"}

// memberOf returns where an event has a field: an attribute beside data, any other in data or, in binary mode, in the
// payload, which then is the data. Of a name that is misspelt it is the one that was sent.
func memberOf(text []byte, code schemas.Code, field, value string) (from, to int) {
	name := field
	if code == schemas.MisspeltField {
		name = strings.Trim(value, `"`)
	}
	found := members(text)
	inData := !slices.Contains(attributes, field)
	for _, m := range found {
		if m.name == name && m.ofData == inData {
			return m.from, m.to
		}
	}
	for _, m := range found { // binary mode
		if m.name == name && inData && !slices.ContainsFunc(found, func(m member) bool { return m.ofData }) {
			return m.from, m.to
		}
	}
	return len(text), len(text)
}

// member is one of an event or of its data, and where it is, its name included.
type member struct {
	name     string
	ofData   bool
	from, to int
}

// members returns those of an event and of its data, as far as it is JSON.
func members(text []byte) (found []member) {
	tokens := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
	if tokens.PeekKind() != '{' {
		return nil
	}
	tokens.ReadToken()
	ofData := false
	for {
		switch tokens.PeekKind() {
		case '"':
		case '}':
			tokens.ReadToken()
			if !ofData {
				return found
			}
			ofData = false
			continue
		default: // it is cut off
			return found
		}
		raw, err := tokens.ReadValue()
		if err != nil {
			return found
		}
		name, _ := jsontext.AppendUnquote(nil, raw)
		m := member{name: string(name), ofData: ofData, from: int(tokens.InputOffset()) - len(raw)}
		if m.name == "data" && !ofData && tokens.PeekKind() == '{' {
			tokens.ReadToken()
			ofData = true
			continue
		}
		if _, err := tokens.ReadValue(); err != nil {
			return found
		}
		m.to = int(tokens.InputOffset())
		found = append(found, m)
	}
}

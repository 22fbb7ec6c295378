// Package strict reads YAML and JSON of which every mistake must be told: unknown and repeated names, wrong kinds of
// values, each with its line and the nearest name that there is. Registry documents and the configuration come in as
// bytes and are walked by what their own packages know of them; what is wrong goes back as problems, all of them.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"

	"apportion/schemas"
	"apportion/schemas/typo"
)

// Problem is one mistake in a document.
type Problem struct {
	Line    int // 1 is the first
	Code    schemas.Code
	Path    string // such as tenants[acme].subscriptions[Sub1].currency
	Value   string // what it has there
	Message string // what is wrong, and what would be right
}

// Node is a value of a document with its line.
type Node = yaml.Node

// Reader walks one document and collects every problem on its way.
type Reader struct {
	Problems []Problem

	json     bool // only JSON strings are text
	aliases  int  // how many YAML aliases the walk stands in
	expanded int  // nodes seen inside aliases
}

// Field reads one member's value; path is where it stands.
type Field func(path string, n *Node)

// Fields are the members that an object may have.
type Fields map[string]Field

// Read returns a reader and the root of a document, YAML or (when it begins with a brace) JSON. The root is nil with a
// problem when it is neither, and is [Null] when there is nothing in it.
func Read(data []byte) (*Reader, *Node) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return ReadJSON(data)
	}
	r := &Reader{}
	var documents []Node
	// Repeated names are left to the walk, which reports all of them and not only the first.
	if err := yaml.Load(data, &documents, yaml.WithUniqueKeys(false), yaml.WithAllDocuments()); err != nil {
		line := 1
		var load *yaml.LoadError
		if errors.As(err, &load) {
			line = max(line, load.Mark.Line)
		}
		r.Refuse(&Node{Line: line}, schemas.MalformedDocument, "", "", "not one YAML document: %v", err)
		return r, nil
	}
	switch {
	case len(documents) == 0 || documents[0].Kind == 0:
		return r, &Node{Line: 1}
	case len(documents) > 1:
		r.Refuse(&documents[1], schemas.MalformedDocument, "", "", "not one YAML document: another begins here")
		return r, nil
	}
	return r, documents[0].Content[0]
}

// ReadJSON returns a reader and the root of a JSON document; the root is nil with a problem when it is none. It comes
// in the nodes of YAML, so that one walk serves both. YAML itself is not used for JSON, because it does not read the
// escapes of characters beyond the basic plane.
func ReadJSON(data []byte) (*Reader, *Node) {
	r := &Reader{json: true}
	tokens := &jsonTokens{data: data, line: 1}
	tokens.decoder = jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	root, err := tokens.document()
	if err != nil {
		r.Refuse(&Node{Line: tokens.line}, schemas.MalformedDocument, "", "", "not one JSON document: %v", err)
		return r, nil
	}
	return r, root
}

// Fork returns a reader of a part of the same document, with problems of its own.
func (r *Reader) Fork() *Reader { return &Reader{json: r.json} }

// jsonTokens are the tokens of a JSON document, with the line of the last one.
type jsonTokens struct {
	decoder *jsontext.Decoder
	data    []byte
	counted int64 // how far the lines of data are counted
	line    int
	free    []Node // made many at a time: a large document has a million
}

func (t *jsonTokens) node() *Node {
	if len(t.free) == 0 {
		t.free = make([]Node, 64)
	}
	n := &t.free[0]
	t.free = t.free[1:]
	return n
}

func (t *jsonTokens) next() (jsontext.Token, error) {
	token, err := t.decoder.ReadToken()
	end := t.decoder.InputOffset()
	t.line += bytes.Count(t.data[t.counted:end], []byte("\n"))
	t.counted = end
	return token, err
}

func (t *jsonTokens) document() (*Node, error) {
	token, err := t.next()
	if err != nil {
		return nil, err
	}
	root, err := t.value(token)
	if err != nil {
		return nil, err
	}
	if _, err = t.next(); err == nil {
		return nil, errors.New("something follows the document")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return root, nil
}

// value returns the value that begins with a token.
func (t *jsonTokens) value(token jsontext.Token) (*Node, error) {
	n := t.node()
	n.Kind, n.Line = yaml.ScalarNode, t.line
	switch kind := token.Kind(); kind {
	case '{', '[':
		n.Kind = yaml.MappingNode
		if kind == '[' {
			n.Kind = yaml.SequenceNode
		}
		for {
			token, err := t.next()
			if err != nil {
				return nil, err
			}
			if k := token.Kind(); k == '}' || k == ']' {
				return n, nil
			}
			child, err := t.value(token)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
	case '"':
		n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
	case '0':
		n.Tag = "!!float"
	case 'n':
		n.Tag = "!!null"
	default:
		n.Tag = "!!bool"
	}
	n.Value = token.String()
	return n, nil
}

// Refuse notes a problem of a node.
func (r *Reader) Refuse(n *Node, code schemas.Code, path, value, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{n.Line, code, path, value, fmt.Sprintf(format, args...)})
}

// Enter returns what a node stands for: itself, or the target of an alias until leave is called. Aliases that
// multiply into more than any real document holds are refused, so that a small file cannot exhaust memory.
func (r *Reader) Enter(n *Node) (target *Node, leave func()) {
	const most = 1_000_000
	leave = func() {}
	if n.Kind == yaml.AliasNode {
		r.aliases++
		n, leave = n.Alias, func() { r.aliases-- }
	}
	if r.aliases > 0 {
		if r.expanded++; r.expanded > most {
			if r.expanded == most+1 {
				r.Refuse(n, schemas.MalformedDocument, "", "", "the aliases expand to more than %d nodes; write them out", most)
			}
			return &Node{Kind: yaml.ScalarNode, Tag: "!!null"}, leave
		}
	}
	return n, leave
}

// Null reports whether a node says nothing: an absent field and one that is null are the same.
func Null(n *Node) bool { return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// Members calls each with the name and value of every member that is not null; repeated names are refused.
func (r *Reader) Members(path string, n *Node, each func(name string, key, value *Node)) {
	n, leave := r.Enter(n)
	defer leave()
	if n.Kind != yaml.MappingNode {
		r.Refuse(n, schemas.InvalidField, path, n.Value, "write fields with names here, not %s", kindOf(n))
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.Refuse(key, schemas.InvalidField, path, "", "a field's name is plain text, not %s", kindOf(key))
			continue
		}
		name := key.Value
		if line, seen := lines[name]; seen {
			r.Refuse(key, schemas.InvalidField, Join(path, name), "",
				"repeated: it already stands on line %d; keep one of them", line)
			continue
		}
		lines[name] = key.Line
		target, leave := r.Enter(value)
		if !Null(target) {
			each(name, key, value)
		}
		leave()
	}
}

// Object reads the members of an object, none of which may be unknown: a typo must not bill.
func (r *Reader) Object(path string, n *Node, known Fields) {
	r.Members(path, n, func(name string, key, value *Node) {
		if read, ok := known[name]; ok {
			read(Join(path, name), value)
			return
		}
		hint := typo.Hint(name, slices.Collect(maps.Keys(known)))
		r.Refuse(key, schemas.UnknownField, Join(path, name), "", "no such field here%s", hint)
	})
}

// List reads a list of objects into dst. Their label is what the member of that name says, where it can be read.
func List[T any](r *Reader, label string, dst *[]T, read func(path string, n *Node) T) Field {
	return func(path string, n *Node) {
		n, leave := r.Enter(n)
		defer leave()
		if n.Kind != yaml.SequenceNode {
			r.Refuse(n, schemas.InvalidField, path, n.Value, "write a list here, not %s", kindOf(n))
			return
		}
		for i, item := range n.Content {
			at := strconv.Itoa(i)
			target, leave := r.Enter(item)
			if target.Kind == yaml.MappingNode {
				for pair := range slices.Chunk(target.Content, 2) {
					if pair[0].Value == label && pair[1].Kind == yaml.ScalarNode && pair[1].Value != "" {
						at = pair[1].Value
					}
				}
			}
			leave()
			*dst = append(*dst, read(path+"["+at+"]", item))
		}
	}
}

// Items calls each with the items of a list.
func (r *Reader) Items(n *Node, each func(item *Node)) {
	n, leave := r.Enter(n)
	defer leave()
	for _, item := range n.Content {
		each(item)
	}
}

// IsList reports whether a node is a list.
func (r *Reader) IsList(n *Node) bool { return r.is(yaml.SequenceNode, n) }

// IsObject reports whether a node has members.
func (r *Reader) IsObject(n *Node) bool { return r.is(yaml.MappingNode, n) }

func (r *Reader) is(kind yaml.Kind, n *Node) bool {
	n, leave := r.Enter(n)
	defer leave()
	return n.Kind == kind
}

// Plain returns the literal text of a single value, and whether it is one.
func (r *Reader) Plain(n *Node) (text string, ok bool) {
	n, leave := r.Enter(n)
	defer leave()
	return n.Value, n.Kind == yaml.ScalarNode
}

// Scalar returns the literal text of a scalar, and whether it was written without quotes.
func (r *Reader) Scalar(path string, n *Node, want string) (text string, plain, ok bool) {
	n, leave := r.Enter(n)
	defer leave()
	if n.Kind != yaml.ScalarNode {
		r.Refuse(n, schemas.InvalidField, path, n.Value, "write %s here, not %s", want, kindOf(n))
		return "", false, false
	}
	return n.Value, n.Style&^yaml.TaggedStyle == 0, true
}

// Text reads text into dst. In YAML what is written without quotes is taken by its letters: 007, 9e5 and true too.
func (r *Reader) Text(dst *string) Field {
	return func(path string, n *Node) {
		text, plain, ok := r.Scalar(path, n, "text")
		switch {
		case !ok:
		case r.json && plain:
			r.Refuse(n, schemas.InvalidField, path, text, "write text here, in quotes")
		default:
			*dst = text
		}
	}
}

// Join returns the path of a member.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func kindOf(n *Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "fields with names"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.ScalarNode && !Null(n):
		return "a single value"
	default:
		return "nothing"
	}
}

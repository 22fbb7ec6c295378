package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"apportion/schemas/strict"
)

// content identifies what a command says: it is a hash of its data, in which neither the order of members nor the form
// of the JSON matters. When it was given and by whom is no part of it.
type content [16]byte

// Same reports whether two commands are one: they have the same identity and the same content.
func (c Command) Same(other Command) bool {
	return c.key() == other.key() && c.contentOf() == other.contentOf()
}

// WithContent returns the command knowing its content, which is otherwise computed whenever it is decided or compared.
// What it says must not be changed any more; when and by whom it is given may be.
func (c Command) WithContent() Command {
	c.content = c.contentOf()
	return c
}

// contentOf returns the content of a command, whether it was read from a record or is to become one.
func (c Command) contentOf() content {
	if c.content != (content{}) {
		return c.content
	}
	record, err := json.Marshal(c)
	if err != nil {
		return content{} // it cannot be given either
	}
	return DecodeCommand(record).content
}

func contentOf(data *strict.Node) (c content) {
	var canonical []byte
	if data != nil {
		canonical = appendCanonical(make([]byte, 0, 256), data)
	}
	sum := sha256.Sum256(canonical)
	copy(c[:], sum[:])
	return c
}

// appendCanonical appends a value of JSON in a form that no other value has. A member that is null counts as absent.
func appendCanonical(b []byte, n *strict.Node) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		members := make([][2]*strict.Node, 0, 16)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !strict.Null(n.Content[i+1]) {
				members = append(members, [2]*strict.Node{n.Content[i], n.Content[i+1]})
			}
		}
		slices.SortStableFunc(members, func(x, y [2]*strict.Node) int { return strings.Compare(x[0].Value, y[0].Value) })
		for _, m := range members {
			b = appendCanonical(appendText(b, m[0].Value), m[1])
		}
		return append(b, '}')
	case yaml.SequenceNode:
		b = append(b, '[')
		for _, item := range n.Content {
			b = appendCanonical(b, item)
		}
		return append(b, ']')
	default:
		return appendText(append(b, n.Tag[2]), n.Value) // "1" is not 1
	}
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"apportion/billing/export"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// ListInput is what every list can be asked for.
type ListInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many items, at the most."`
	After string `query:"after" doc:"Go on after this cursor, the next of the page before."`

	path, filter string
}

// Resolve remembers the filter that a cursor belongs to.
func (in *ListInput) Resolve(c huma.Context) []error {
	u := c.URL()
	query := u.Query()
	query.Del("after")
	query.Del("limit")
	in.path, in.filter = u.Path, query.Encode()
	return nil
}

// listOutput is a page of a list.
type listOutput[T any] struct {
	Link string `header:"Link" doc:"The next page, where there is one."`
	Body Page[T]
}

// Page is some of the items of a list.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"The cursor to go on after; none on the last page."`
}

// filterHash ties a cursor to its list.
func (in *ListInput) filterHash() string {
	sum := sha256.Sum256([]byte(in.path + "?" + in.filter))
	return string(sum[:6])
}

// key returns the key that the page begins after, "" for the first page.
func (in *ListInput) key() (string, error) {
	if in.After == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(in.After)
	key, ours := strings.CutPrefix(string(raw), in.filterHash())
	if err != nil || !ours || key == "" {
		return "", invalidCursor()
	}
	return key, nil
}

// keySeparator is between the parts of a key; no id has it.
const keySeparator = "\n"

// keyOf returns the key of an item of a list that is in the order of several parts.
func keyOf(parts ...string) string { return strings.Join(parts, keySeparator) }

// keyParts returns the parts of the key that the page begins after, of which there are n; none for the first page.
func (in *ListInput) keyParts(n int) ([]string, error) {
	key, err := in.key()
	if err != nil || key == "" {
		return nil, err
	}
	parts := strings.Split(key, keySeparator)
	if len(parts) != n {
		return nil, invalidCursor()
	}
	return parts, nil
}

// keyNumber reads a number that is part of a key.
func keyNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, invalidCursor()
	}
	return n, nil
}

// keyMonth reads a month that is part of a key.
func keyMonth(text string) (civil.Month, error) {
	month, err := civil.ParseMonth(text)
	if err != nil {
		return 0, invalidCursor()
	}
	return month, nil
}

func invalidCursor() *Problem {
	p := newProblem(http.StatusBadRequest, schemas.InvalidCursor, "the cursor is not one of this list with this filter")
	p.Errors = []FieldProblem{{schemas.InvalidCursor, "after", "", p.Detail}}
	return p
}

// page returns the items that a request asks for of all, which are in the order of their keys: the keys are unique, and
// where an item goes away or comes in between pages, no other is left out or told twice.
func page[T any](in *ListInput, all []T, key func(T) string) (*listOutput[T], error) {
	after, err := in.key()
	if err != nil {
		return nil, err
	}
	first, found := slices.BinarySearchFunc(all, after,
		func(item T, k string) int { return strings.Compare(key(item), k) })
	if found && after != "" {
		first++
	}
	return pageOf(in, all[first:], key), nil
}

// pageOf returns the first of the items that follow a cursor.
func pageOf[T any](in *ListInput, rest []T, key func(T) string) *listOutput[T] {
	out := &listOutput[T]{Body: Page[T]{Items: append([]T{}, rest[:min(in.Limit, len(rest))]...)}}
	if len(rest) > in.Limit {
		out.Body.Next = base64.RawURLEncoding.EncodeToString([]byte(in.filterHash() + key(rest[in.Limit-1])))
		query, _ := url.ParseQuery(in.filter)
		query.Set("after", out.Body.Next)
		query.Set("limit", fmt.Sprint(in.Limit))
		out.Link = "<" + in.path + "?" + query.Encode() + `>; rel="next"`
	}
	return out
}

// csvFormat writes the items of a page as CSV (RFC 4180): a column for each member, those of nested objects with points
// in their names, lists and tables as JSON. Names are guarded against spreadsheets as those of the files are.
var csvFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		items := reflect.ValueOf(v)
		if items.Kind() == reflect.Struct {
			items = items.FieldByName("Items")
		}
		if items.Kind() != reflect.Slice {
			return fmt.Errorf("%T is no list", v)
		}
		var columns []column
		columnsOf(items.Type().Elem(), "", nil, &columns)
		out := csv.NewWriter(w)
		out.UseCRLF = true
		record := make([]string, len(columns))
		for i, c := range columns {
			record[i] = c.name
		}
		out.Write(record)
		for i := range items.Len() {
			for n, c := range columns {
				cell, err := c.cell(items.Index(i))
				if err != nil {
					return err
				}
				record[n] = cell
			}
			out.Write(record)
		}
		out.Flush()
		return out.Error()
	},
	Unmarshal: func([]byte, any) error { return fmt.Errorf("nothing is read as CSV") },
}

// column is a member of items, by the fields that lead to it and, where those write themselves, its name in them.
type column struct {
	name   string
	path   []int
	member string
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func columnsOf(t reflect.Type, prefix string, path []int, columns *[]column) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		of := append(slices.Clone(path), i)
		inner := f.Type
		for inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		nested := inner.Kind() == reflect.Struct && !f.Type.Implements(marshaler) &&
			!reflect.PointerTo(f.Type).Implements(marshaler)
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "":
			columnsOf(inner, prefix, of, columns)
		case nested:
			columnsOf(inner, prefix+name+".", of, columns)
		case writtenAs(inner) != nil:
			for _, member := range reflect.VisibleFields(writtenAs(inner)) {
				inside, _, _ := strings.Cut(member.Tag.Get("json"), ",")
				*columns = append(*columns, column{prefix + name + "." + inside, of, inside})
			}
		default:
			*columns = append(*columns, column{prefix + name, of, ""})
		}
	}
}

// writtenAs returns the members that a type has which writes itself as an object, nil for others.
func writtenAs(t reflect.Type) reflect.Type {
	for _, alias := range aliases {
		if alias.of == t && alias.as.Kind() == reflect.Struct {
			return alias.as
		}
	}
	return nil
}

// cell returns a member of an item as text, "" where it has none.
func (c column) cell(item reflect.Value) (string, error) {
	for _, i := range c.path {
		for item.Kind() == reflect.Pointer {
			if item.IsNil() {
				return "", nil
			}
			item = item.Elem()
		}
		item = item.Field(i)
	}
	if item.Kind() == reflect.Pointer && item.IsNil() {
		return "", nil
	}
	if (item.Kind() == reflect.Slice || item.Kind() == reflect.Map) && item.Len() == 0 {
		return "", nil
	}
	raw, err := json.Marshal(item.Interface())
	if err != nil {
		return "", err
	}
	if c.member != "" {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			return "", err
		}
		raw = members[c.member]
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw), nil // a number, or a list
	}
	if looksLikeNumber(text) {
		return text, nil
	}
	return export.Guard(text), nil
}

// looksLikeNumber reports whether a text is an amount, whose sign is no formula.
func looksLikeNumber(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789.") == ""
}

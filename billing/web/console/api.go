package console

import (
	"bytes"
	"cmp"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func (c *Console) apiScreens() []screen {
	return []screen{{path: "/api", needs: "getMe", show: c.api}}
}

// apiDocument is the API's OpenAPI document, as far as its page shows it.
type apiDocument struct {
	Info struct {
		Version     string `json:"version"`
		Description string `json:"description"`
	} `json:"info"`
	Tags []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	} `json:"tags"`
	Paths      map[string]map[string]*apiOperation `json:"paths"`
	Components struct {
		Schemas   map[string]*apiSchema   `json:"schemas"`
		Responses map[string]*apiResponse `json:"responses"`
	} `json:"components"`
}

// apiOperation is what a route does.
type apiOperation struct {
	ID          string   `json:"operationId"`
	Summary     string   `json:"summary"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Roles       []string `json:"x-roles"`
	Parameters  []struct {
		Name        string     `json:"name"`
		In          string     `json:"in"`
		Description string     `json:"description"`
		Required    bool       `json:"required"`
		Schema      *apiSchema `json:"schema"`
	} `json:"parameters"`
	Body *struct {
		Content map[string]apiContent `json:"content"`
	} `json:"requestBody"`
	Responses map[string]*apiResponse `json:"responses"`

	Method, Path string `json:"-"`
}

// apiResponse is an answer to an operation.
type apiResponse struct {
	Ref         string                `json:"$ref"`
	Description string                `json:"description"`
	Content     map[string]apiContent `json:"content"`
	Headers     map[string]struct {
		Description string `json:"description"`
	} `json:"headers"`
}

// apiContent is a body of some media type.
type apiContent struct {
	Schema  *apiSchema     `json:"schema"`
	Example jsontext.Value `json:"example"`
}

// apiSchema is the schema of a value.
type apiSchema struct {
	Ref         string                `json:"$ref"`
	Type        oneOrMore             `json:"type"`
	Format      string                `json:"format"`
	Description string                `json:"description"`
	Pattern     string                `json:"pattern"`
	Enum        []jsontext.Value      `json:"enum"`
	Examples    []jsontext.Value      `json:"examples"`
	Default     jsontext.Value        `json:"default"`
	Minimum     jsontext.Value        `json:"minimum"`
	Maximum     jsontext.Value        `json:"maximum"`
	MinLength   jsontext.Value        `json:"minLength"`
	MaxLength   jsontext.Value        `json:"maxLength"`
	MinItems    jsontext.Value        `json:"minItems"`
	MaxItems    jsontext.Value        `json:"maxItems"`
	Items       *apiSchema            `json:"items"`
	Properties  map[string]*apiSchema `json:"properties"`
	Required    []string              `json:"required"`
	Additional  schemaOrBool          `json:"additionalProperties"`
	OneOf       []*apiSchema          `json:"oneOf"`
}

// oneOrMore is a text, or a list of some.
type oneOrMore []string

// UnmarshalJSON reads either.
func (o *oneOrMore) UnmarshalJSON(content []byte) error {
	if bytes.HasPrefix(content, []byte("[")) {
		return jsonv2.Unmarshal(content, (*[]string)(o))
	}
	*o = oneOrMore{""}
	return jsonv2.Unmarshal(content, &(*o)[0])
}

// schemaOrBool is a schema, or none where it is true or false.
type schemaOrBool struct{ *apiSchema }

// UnmarshalJSON reads either.
func (s *schemaOrBool) UnmarshalJSON(content []byte) error {
	if !bytes.HasPrefix(content, []byte("{")) {
		return nil
	}
	s.apiSchema = &apiSchema{}
	return jsonv2.Unmarshal(content, s.apiSchema)
}

// apiReference is the document with its operations in the order in which they are shown.
type apiReference struct {
	source     []byte
	document   apiDocument
	operations []*apiOperation
}

// methods are in the order in which they are shown.
var methods = []string{"get", "put", "post", "delete"}

// reference reads the API's document, once for each that there is.
func (p *page) reference() (*apiReference, error) {
	const target = "/openapi.json"
	p.JSON = append(p.JSON, link{"openapi.json", prefix + target})
	a, err := p.ask(http.MethodGet, target, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	if known := p.c.reference.Load(); known != nil && bytes.Equal(known.source, a.body.Bytes()) {
		return known, nil
	}
	r := &apiReference{source: bytes.Clone(a.body.Bytes())}
	if err := jsonv2.Unmarshal(r.source, &r.document); err != nil {
		return nil, err
	}
	for path, operations := range r.document.Paths {
		for method, o := range operations {
			o.Method, o.Path = strings.ToUpper(method), path
			o.Description, _, _ = strings.Cut(o.Description, "For the roles ")
			r.operations = append(r.operations, o)
		}
	}
	slices.SortFunc(r.operations, func(a, b *apiOperation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(slices.Index(methods, strings.ToLower(a.Method)),
			slices.Index(methods, strings.ToLower(b.Method))))
	})
	p.c.reference.Store(r)
	return r, nil
}

// apiGroup is the operations of a tag that are shown.
type apiGroup struct {
	Name, Description string
	Operations        []*apiOperation
}

// apiPage is what the page on the API shows.
type apiPage struct {
	*apiReference
	Groups  []apiGroup
	Schemas []string // the names of those that the operations shown use
	Roles   []string
	Shown   int
}

// api shows the API's document.
func (c *Console) api(p *page) error {
	r, err := p.reference()
	if err != nil {
		return err
	}
	shown := apiPage{apiReference: r, Roles: []string{"operator", "finance", "analyst", "tenant", "publisher"}}
	used := map[string]bool{}
	for _, tag := range r.document.Tags {
		group := apiGroup{Name: tag.Name, Description: tag.Description}
		for _, o := range r.operations {
			if slices.Contains(o.Tags, tag.Name) && o.matches(p.Query("q"), p.Query("role")) {
				group.Operations = append(group.Operations, o)
				r.uses(o, used)
			}
		}
		if shown.Shown += len(group.Operations); len(group.Operations) > 0 {
			shown.Groups = append(shown.Groups, group)
		}
	}
	shown.Schemas = slices.Sorted(maps.Keys(used))
	return p.show("api", "API", &shown)
}

// matches reports whether an operation has a word in its name, its path or what it is for, and is for a role.
func (o *apiOperation) matches(word, role string) bool {
	text := strings.ToLower(strings.Join([]string{o.Method, o.Path, o.ID, o.Summary, o.Description}, " "))
	return strings.Contains(text, strings.ToLower(word)) && (role == "" || slices.Contains(o.Roles, role))
}

// uses notes the schemas that an operation takes and answers with, and those in them.
func (r *apiReference) uses(o *apiOperation, used map[string]bool) {
	if o.Body != nil {
		for _, content := range o.Body.Content {
			r.reach(content.Schema, used)
		}
	}
	for _, response := range o.Responses {
		for _, content := range r.Answer(response).Content {
			r.reach(content.Schema, used)
		}
	}
}

func (r *apiReference) reach(s *apiSchema, used map[string]bool) {
	if s == nil {
		return
	}
	if name := s.Name(); name != "" && !used[name] {
		used[name] = true
		r.reach(r.document.Components.Schemas[name], used)
	}
	r.reach(s.Items, used)
	r.reach(s.Additional.apiSchema, used)
	for _, p := range s.Properties {
		r.reach(p, used)
	}
	for _, one := range s.OneOf {
		r.reach(one, used)
	}
}

// Answer returns an answer, or the one that it refers to.
func (r *apiReference) Answer(of *apiResponse) *apiResponse {
	if named := r.document.Components.Responses[of.Ref[strings.LastIndexByte(of.Ref, '/')+1:]]; named != nil {
		return named
	}
	return of
}

// Problems are the answers that are problems, by status, which the operations share.
func (r *apiReference) Problems() map[string]*apiResponse {
	problems := map[string]*apiResponse{}
	for _, o := range r.operations {
		for status, response := range o.Responses {
			if response.Ref != "" {
				problems[status] = r.Answer(response)
			}
		}
	}
	return problems
}

// Schema returns a schema by its name.
func (r *apiReference) Schema(name string) *apiSchema { return r.document.Components.Schemas[name] }

// About says what the API is.
func (r *apiReference) About() string { return r.document.Info.Description }

// Answers are the answers of an operation that are no problems, by status.
func (o *apiOperation) Answers() map[string]*apiResponse {
	answers := map[string]*apiResponse{}
	for status, response := range o.Responses {
		if response.Ref == "" {
			answers[status] = response
		}
	}
	return answers
}

// Refusals are the statuses of an operation that are problems, in order.
func (o *apiOperation) Refusals() (statuses []string) {
	for status, response := range o.Responses {
		if response.Ref != "" {
			statuses = append(statuses, status)
		}
	}
	slices.Sort(statuses)
	return statuses
}

// Name is that of the schema that a schema refers to, "" where it is one by itself.
func (s *apiSchema) Name() string { return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:] }

// Kind says of what type a value is, with links to those that have names.
func (s *apiSchema) Kind() template.HTML {
	switch {
	case s == nil:
		return "anything"
	case s.Ref != "":
		name := template.HTMLEscapeString(s.Name())
		return template.HTML(`<a href="#schema-` + name + `">` + name + `</a>`)
	case len(s.OneOf) > 0:
		var kinds []string
		for _, one := range s.OneOf {
			kinds = append(kinds, string(one.Kind()))
		}
		return template.HTML(strings.Join(kinds, " or "))
	case s.Items != nil:
		return "list of " + s.Items.Kind()
	case s.Additional.apiSchema != nil:
		return "object with " + s.Additional.Kind() + " by name"
	case len(s.Type) == 0:
		return "anything"
	}
	kind := strings.Join(s.Type, " or ")
	if s.Format != "" {
		kind += ", " + s.Format
	}
	return template.HTML(template.HTMLEscapeString(kind))
}

// Limits say what a value may be besides its type.
func (s *apiSchema) Limits() string {
	if s == nil {
		return ""
	}
	var limits []string
	add := func(words string, v jsontext.Value, after string) {
		if len(v) > 0 {
			limits = append(limits, words+string(v)+after)
		}
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, v := range s.Enum {
			values = append(values, strings.Trim(string(v), `"`))
		}
		limits = append(limits, "one of "+strings.Join(values, ", "))
	}
	add("at least ", s.Minimum, "")
	add("at most ", s.Maximum, "")
	add("at least ", s.MinLength, " characters")
	add("at most ", s.MaxLength, " characters")
	add("at least ", s.MinItems, " items")
	add("at most ", s.MaxItems, " items")
	add("by default ", s.Default, "")
	if s.Pattern != "" {
		limits = append(limits, "matches "+s.Pattern)
	}
	return strings.Join(limits, "; ")
}

// apiMember is a member of an object.
type apiMember struct {
	Name     string
	Required bool
	Schema   *apiSchema
}

// Members are those of an object: the ones that it always has in their order, then the others by name.
func (s *apiSchema) Members() (members []apiMember) {
	names := slices.DeleteFunc(slices.Clone(s.Required), func(name string) bool { return s.Properties[name] == nil })
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		members = append(members, apiMember{name, slices.Contains(s.Required, name), s.Properties[name]})
	}
	return members
}

package schemas

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// A fixture is one delivery of testdata/deliveries.txtar; the head of that
// file says how its names read.
type fixture struct {
	name         string
	topic        Type
	code         Code // "" when it is accepted
	field        string
	beyondSchema bool
	value        []byte
}

func fixtures(t testing.TB) []fixture {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/deliveries.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all []fixture
	for _, file := range archive.Files {
		f := fixture{name: file.Name, value: bytes.TrimSuffix(file.Data, []byte("\n"))}
		rule, _, _ := strings.Cut(file.Name, ":")
		words := strings.Fields(rule)
		var ok bool
		if f.topic, ok = ParseType(words[1]); !ok {
			t.Fatalf("%s: no such type", file.Name)
		}
		if words[0] == "reject" {
			f.code, f.field = Code(words[2]), strings.TrimPrefix(words[3], "-")
		}
		f.beyondSchema = strings.HasSuffix(file.Name, " [beyond schema]")
		all = append(all, f)
	}
	return all
}

func TestDeliveries(t *testing.T) {
	var d Decoder
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			var e Event
			r := d.Decode(f.topic, nil, f.value, &e)
			switch {
			case r == nil && f.code != "":
				t.Errorf("accepted: %+v", e)
			case r != nil && (r.Code != f.code || r.Field != f.field):
				t.Errorf("rejected: %v", r)
			}
		})
	}
}

// schemaOf compiles the JSON Schema of a type from the embedded files alone.
func schemaOf(t testing.TB, kind Type) *jsonschema.Schema {
	t.Helper()
	const base = "https://apportion.example/schemas/"
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	files, err := fs.Glob(Contract, "jsonschema/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(Contract, name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.AddResource(base+path.Base(name), doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(base + kind.String() + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// The schemas and the decoder give the same verdict, except on what the
// fixtures say no schema can state.
func TestSchemasAgreeWithDecoder(t *testing.T) {
	schemas := map[Type]*jsonschema.Schema{}
	for _, kind := range Types {
		schemas[kind] = schemaOf(t, kind)
	}
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(f.value))
			if err == nil {
				err = schemas[f.topic].Validate(doc)
			}
			allowed := f.code == "" || f.beyondSchema
			if allowed && err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
			if !allowed && err == nil {
				t.Errorf("the schema allows it")
			}
		})
	}
}

// The AsyncAPI document names every topic, and refers to nothing that is not
// embedded beside it.
func TestAsyncAPI(t *testing.T) {
	text, err := fs.ReadFile(Contract, "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var topics []string
	for _, channel := range doc["channels"].(map[string]any) {
		topics = append(topics, channel.(map[string]any)["address"].(string))
	}
	slices.Sort(topics)
	want := []string{TopicRegistry, TopicAgent, TopicConnect, TopicIVR, TopicRejected}
	if !slices.Equal(topics, want) {
		t.Errorf("channels are %q, want %q", topics, want)
	}
	for _, ref := range references(doc) {
		file, pointer, _ := strings.Cut(ref, "#")
		var target any = doc
		if file != "" {
			text, err := fs.ReadFile(Contract, path.Clean(file))
			if err != nil {
				t.Errorf("%s: %v", ref, err)
				continue
			}
			if target, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		}
		for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
			if pointer == "" {
				break
			}
			object, _ := target.(map[string]any)
			if target = object[step]; target == nil {
				t.Errorf("%s refers to nothing", ref)
				break
			}
		}
	}
}

// references returns every $ref in a document.
func references(node any) (refs []string) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if key == "$ref" {
				refs = append(refs, fmt.Sprint(value))
			}
			refs = append(refs, references(value)...)
		}
	case []any:
		for _, value := range node {
			refs = append(refs, references(value)...)
		}
	}
	return refs
}

// The examples of the AsyncAPI document are events that the decoder accepts.
func TestAsyncAPIExamples(t *testing.T) {
	text, err := fs.ReadFile(Contract, "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Messages map[string]struct {
				Examples []struct {
					Payload map[string]any
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]Type{
		"agentSession": AgentSession, "ivrSession": IVRSession, "connectUsage": ConnectUsage,
	} {
		examples := doc.Components.Messages[name].Examples
		if len(examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range examples {
			var d Decoder
			if r := d.Decode(kind, nil, marshal(t, example.Payload), new(Event)); r != nil {
				t.Errorf("%s: %v", name, r)
			}
		}
	}
}

package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"reflect"
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

// schemaOf compiles the JSON Schema of that name from its file alone.
func schemaOf(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	doc := schemaFile(t, name)
	const url = "schema.json"
	if err := c.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// schemaFile reads the JSON Schema of that name.
func schemaFile(t testing.TB, name string) map[string]any {
	t.Helper()
	text, err := fs.ReadFile(Contract, "jsonschema/"+name+".json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return doc.(map[string]any)
}

// The schemas and the decoder give the same verdict, except on what the
// fixtures say no schema can state. What a producer's schema allows is accepted.
func TestSchemasAgreeWithDecoder(t *testing.T) {
	accepted, produced := map[Type]*jsonschema.Schema{}, map[Type]*jsonschema.Schema{}
	for _, kind := range Types {
		accepted[kind], produced[kind] = schemaOf(t, kind.String()), schemaOf(t, kind.String()+".producer")
	}
	allowedToProducers := 0
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(f.value))
			readable := err == nil
			if readable {
				err = accepted[f.topic].Validate(doc)
			}
			allowed := f.code == "" || f.beyondSchema
			if allowed && err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
			if !allowed && err == nil {
				t.Errorf("the schema allows it")
			}
			if readable && produced[f.topic].Validate(doc) == nil {
				allowedToProducers++
				if !allowed {
					t.Errorf("the producer's schema allows it")
				}
			}
		})
	}
	if allowedToProducers < 30 {
		t.Errorf("the producer's schemas allow only %d of the deliveries", allowedToProducers)
	}
}

// Each schema stands alone, so what several of them say is said in each, and alike.
func TestSchemasAlike(t *testing.T) {
	first := schemaFile(t, "agent.session")
	for _, kind := range Types {
		for _, name := range []string{kind.String(), kind.String() + ".producer"} {
			schema := schemaFile(t, name)
			if !reflect.DeepEqual(schema["$defs"], first["$defs"]) {
				t.Errorf("%s has other $defs", name)
			}
			attributes, firsts := schema["properties"].(map[string]any), first["properties"].(map[string]any)
			for _, attribute := range []string{"specversion", "id", "source", "time", "tenantid"} {
				if !reflect.DeepEqual(attributes[attribute], firsts[attribute]) {
					t.Errorf("%s has another %s", name, attribute)
				}
			}
		}
	}
	copyDefs(t, "registry", "registry.command")
	files, err := fs.Glob(Contract, "jsonschema/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, ref := range references(schemaFile(t, strings.TrimSuffix(path.Base(file), ".json"))) {
			if !strings.HasPrefix(ref, "#/") {
				t.Errorf("%s refers to %s, which is another file", file, ref)
			}
		}
	}
}

// copyDefs holds the $defs with which one schema ends to those of another, or with -update copies them.
func copyDefs(t *testing.T, from, to string) {
	t.Helper()
	cut := func(name string) (before, defs string) {
		text, err := fs.ReadFile(Contract, "jsonschema/"+name+".json")
		if err != nil {
			t.Fatal(err)
		}
		const begin = "\n  \"$defs\": {\n"
		before, defs, ok := strings.Cut(string(text), begin)
		if !ok {
			t.Fatalf("%s has no $defs at its end", name)
		}
		return before + begin, defs
	}
	_, want := cut(from)
	before, got := cut(to)
	switch {
	case got == want:
	case *update:
		if err := os.WriteFile("jsonschema/"+to+".json", []byte(before+want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s has other $defs than %s; go test ./schemas -run TestSchemasAlike -update copies them", to, from)
	}
}

// The examples of the schemas are what they and the decoder accept.
func TestSchemaExamples(t *testing.T) {
	for _, kind := range Types {
		for _, name := range []string{kind.String(), kind.String() + ".producer"} {
			examples, _ := schemaFile(t, name)["examples"].([]any)
			if len(examples) < 2 {
				t.Errorf("%s has %d examples", name, len(examples))
			}
			for _, example := range examples {
				if err := schemaOf(t, name).Validate(example); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				text, err := json.Marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				var d Decoder
				if r := d.Decode(kind, nil, text, new(Event)); r != nil {
					t.Errorf("%s: %v", name, r)
				}
			}
		}
	}
}

const registryDocument = `{"tenants": [{
  "id": "acme", "name": "Acme AB", "timeZone": "Europe/Stockholm", "telephony": "webex_calling",
  "subscriptions": [{
    "id": "Sub100001", "name": "Customer service", "licenceModel": "concurrent", "plan": "flex3",
    "deployment": "cloud", "currency": "SEK", "billing": "monthly", "cancelled": "2026-07-01",
    "terms": [{"from": "2024-01-01", "to": "2027-01-01"}],
    "versions": [{
      "from": "2024-01-01",
      "commitments": {"agent_standard": 10, "ivr_port": 4, "addon.wfo": 3},
      "prices": {
        "commitment": {"agent_standard": "900.00", "ivr_port": 120, "addon.wfo": 0.1},
        "overage": {"agent_standard": "1100.00"}, "connect": {"sms": "0.45"}
      }
    }]
  }],
  "billTo": {
    "address": {"city": "Stockholm", "country": "SE"}, "vatId": "SE556036079301",
    "endpoint": {"scheme": "0007", "id": "5560360793"}, "tax": {"category": "S", "rate": "25"}, "termsDays": 30,
    "leitwegId": "04011000-1234512345-06"
  },
  "licences": [{"user": "agent-17", "role": "agent", "class": "standard", "subscription": "Sub100001", "from": "2024-01-01"}],
  "entryPoints": [{"entryPoint": "ep-support", "subscription": "Sub100001", "from": "2024-01-01", "to": "2025-01-01"}]
}]}`

// The schema of the registry document refuses what an editor should underline.
func TestRegistrySchema(t *testing.T) {
	schema := schemaOf(t, "registry")
	verdict := func(from, to string) error {
		text := strings.Replace(registryDocument, from, to, 1)
		if from != to && text == registryDocument {
			t.Fatalf("the document has no %s", from)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(doc)
	}
	if err := verdict("", ""); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := verdict(`"tax": {"category": "S", "rate": "25"}`, `"tax": [{"category": "S", "rate": "24"},
		{"from": "2024-09-01", "category": "S", "rate": "25.5"}]`); err != nil {
		t.Errorf("a history of tax is refused: %v", err)
	}
	for _, c := range [][2]string{
		{`"name": "Acme AB"`, `"nmae": "Acme AB"`},
		{`"Acme AB"`, `"A\u0000"`},
		{`"id": "acme"`, `"id": ".acme"`},
		{`"webex_calling"`, `"pstn"`},
		{`"2027-01-01"`, `"2027-02-30"`},
		{`"SEK"`, `"kr"`},
		{`"agent_standard": 10`, `"agent_standard": 1.5`},
		{`"agent_standard": 10`, `"agents": 10`},
		{`"900.00"`, `"900.0000001"`},
		{`"1100.00"`, `"1e3"`},
		{`"overage": {"agent_standard"`, `"overage": {"addon.wfo"`},
		{`"connect": {"sms"`, `"connect": {"SMS"`},
		{`"country": "SE"`, `"country": "Sweden"`},
		{`"rate": "25"`, `"reason": "none"`},
		{`"category": "S", "rate": "25"`, `"category": "AE"`},
		{`"tax": {"category": "S", "rate": "25"}`, `"tax": [{"from": "2024-09-01", "category": "S", "rate": "25"}]`},
		{`"tax": {"category": "S", "rate": "25"}`, `"tax": [{"category": "S", "rate": "24"}, {"category": "S", "rate": "25"}]`},
		{`"role": "agent",`, ""},
		{`"subscription": "Sub100001", "from": "2024-01-01"}`, `"subscription": "Sub100001"}`},
	} {
		if verdict(c[0], c[1]) == nil {
			t.Errorf("%s instead of %s is allowed", c[1], c[0])
		}
	}
}

func TestRegistryCommandSchema(t *testing.T) {
	schema := schemaOf(t, "registry.command")
	_, tenant, _ := strings.Cut(registryDocument, "[")
	tenant = strings.TrimSuffix(tenant, "]}")
	for data, ok := range map[string]bool{
		`{"command":"put_tenant","base":-1,"tenant":` + tenant + `}`:                                                           true,
		`{"command":"set_licences","user":"a","from":"2026-11-01","subscriptions":[{"id":"Sub1","class":"premium"}]}`:          true,
		`{"command":"set_licences","users":["a","b"],"from":"2026-11-01","subscription":"Sub1","to":"2027-01-01"}`:             true,
		`{"command":"set_entry_points","entryPoint":"ep","from":"2026-11-01","subscriptions":[]}`:                              true,
		`{"command":"set_entry_points","entryPoints":["ep"],"from":"2026-11-01","subscription":"Sub1"}`:                        true,
		`{"command":"set_licences","user":"a","subscriptions":[]}`:                                                             false,
		`{"command":"set_licences","user":"a","from":"2026-11-01","subscription":"Sub1"}`:                                      false,
		`{"command":"set_licences","user":"a","users":["b"],"from":"2026-11-01","subscriptions":[]}`:                           false,
		`{"command":"set_licences","users":["a"],"from":"2026-11-01","subscriptions":[]}`:                                      false,
		`{"command":"set_licences","users":[],"from":"2026-11-01","subscription":"Sub1"}`:                                      false,
		`{"command":"set_licences","user":"a","from":"2026-11-01","subscriptions":[],"base":3}`:                                false,
		`{"command":"set_entry_points","entryPoint":"ep","from":"2026-11-01","subscriptions":[{"id":"S","class":"standard"}]}`: false,
		`{"command":"set_entry_points","user":"a","from":"2026-11-01","subscriptions":[]}`:                                     false,
		`{"command":"change_telephony","telephony":"vpop","reason":"call"}`:                                                    true,
		`{"command":"hold_period","period":"2026-10","reason":"disputed"}`:                                                     true,
		`{"command":"release_period","period":"2026-10","reason":"paid"}`:                                                      true,
		`{"command":"hold_period","period":"2026-10"}`:                                                                         false,
		`{"command":"hold_period","period":"2026-10","reason":" "}`:                                                            false,
		`{"command":"hold_period","reason":"disputed"}`:                                                                        false,
		`{"command":"release_period","period":"2026-13","reason":"paid"}`:                                                      false,
		`{"command":"put_tenant","base":-1}`:                                                                                   false,
		`{"command":"put_tenant","base":-2,"tenant":` + tenant + `}`:                                                           false,
		`{"command":"change_telephony"}`:                                                                                       false,
		`{"command":"drop_tenant"}`:                                                                                            false,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"specversion":"1.0","id":"c-1","source":"/registry",` +
			`"type":"registry.command","time":"2026-10-14T16:02:11.000Z","tenantid":"acme","data":` + data + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); (err == nil) != ok {
			t.Errorf("%s: %v", data, err)
		}
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
	text, err = fs.ReadFile(Contract, "asyncapi.producer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var producers map[string]any
	if err := yaml.Unmarshal(text, &producers); err != nil {
		t.Fatal(err)
	}
	refersToWhatIs(t, doc)
	refersToWhatIs(t, producers)
	channels := producers["channels"].(map[string]any)
	for _, operation := range producers["operations"].(map[string]any) {
		name := strings.TrimPrefix(references(operation)[0], "#/channels/")
		if channels[name] == nil {
			t.Errorf("producers have no channel %s", name)
		}
		delete(channels, name)
	}
	if len(channels) > 0 {
		t.Errorf("producers do nothing with %v", channels)
	}
}

// refersToWhatIs looks that each $ref of a document leads to something.
func refersToWhatIs(t *testing.T, doc map[string]any) {
	t.Helper()
	for _, ref := range references(doc) {
		file, pointer, _ := strings.Cut(ref, "#")
		var target any = doc
		if file != "" {
			text, err := fs.ReadFile(Contract, path.Clean(file))
			if err != nil {
				t.Errorf("%s: %v", ref, err)
				continue
			}
			if err := yaml.Unmarshal(text, &target); err != nil { // which JSON is, too
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

// The examples of the AsyncAPI document are events that the decoder accepts, in both modes, and a dead letter that it
// refuses as its headers say.
func TestAsyncAPIExamples(t *testing.T) {
	text, err := fs.ReadFile(Contract, "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Messages map[string]struct {
				ContentType string `yaml:"contentType"`
				Examples    []struct {
					Headers map[string]string
					Payload map[string]any
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]Type{
		"agentSession": AgentSession, "ivrSession": IVRSession, "connectUsage": ConnectUsage, "rejected": AgentSession,
		"agentSessionBinary": AgentSession, "ivrSessionBinary": IVRSession, "connectUsageBinary": ConnectUsage,
	} {
		message := doc.Components.Messages[name]
		if len(message.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range message.Examples {
			headers := []Header{}
			if name != "rejected" {
				headers = append(headers, Header{"content-type", []byte(message.ContentType)})
			}
			for key, value := range example.Headers {
				headers = append(headers, Header{key, []byte(value)})
			}
			var code Code
			var d Decoder
			if r := d.Decode(kind, headers, marshal(t, example.Payload), new(Event)); r != nil {
				code = r.Code
			}
			if want := Code(example.Headers["apportion-code"]); code != want {
				t.Errorf("%s: refused as %q, want %q", name, code, want)
			}
		}
	}
}

package console

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// exampleValues are what members of these names are, where their schemas say only that they are texts.
var exampleValues = map[string]string{
	"tenantId": "acme", "tenant": "acme", "subscriptionId": "Sub1", "subscription": "Sub1", "primary": "Sub1",
	"source": "/wxcc/eu1", "id": "e-17", "user": "ann@acme.example", "currency": "SEK", "timeZone": "Europe/Stockholm",
	"topic": "usage.agent.v1", "meter": "agent_standard", "etag": `"58"`, "rule": "R15", "state": "issued",
	"invoiceId": "INV-Sub1-202610", "role": "agent", "class": "standard",
	"licenceClass": "standard", "reason": "a renewal",
}

// Example is a value of a schema, as indented JSON; "" where there is none to write.
func (r *apiReference) Example(content apiContent) string {
	if len(content.Example) > 0 {
		example := jsontext.Value(bytes.Clone(content.Example))
		example.Indent(jsontext.WithIndent("  "))
		return string(example)
	}
	if content.Schema == nil || !content.Schema.structured() {
		return ""
	}
	var b bytes.Buffer
	out := jsontext.NewEncoder(&b, jsontext.WithIndent("  "))
	if r.writeExample(out, content.Schema, "", nil) != nil {
		return ""
	}
	return b.String()
}

// structured reports whether a value is more than a text or a number.
func (s *apiSchema) structured() bool { return s.Ref != "" || s.Items != nil || len(s.Properties) > 0 }

// writeExample writes a value of a schema that a member of some name has. What is within itself ends at the second.
func (r *apiReference) writeExample(out *jsontext.Encoder, s *apiSchema, name string, within []string) error {
	switch {
	case s == nil:
		return out.WriteToken(jsontext.Null)
	case s.Ref != "":
		if slices.Contains(within, s.Name()) {
			return out.WriteToken(jsontext.Null)
		}
		return r.writeExample(out, r.Schema(s.Name()), name, append(slices.Clone(within), s.Name()))
	case len(s.Examples) > 0:
		return out.WriteValue(s.Examples[0])
	case len(s.Enum) > 0:
		return out.WriteValue(s.Enum[0])
	case len(s.OneOf) > 0:
		return r.writeExample(out, s.OneOf[0], name, within)
	case s.Items != nil:
		return r.writeAll(out, jsontext.BeginArray, jsontext.EndArray, func() error {
			return r.writeExample(out, s.Items, name, within)
		})
	case len(s.Properties) > 0 || s.Additional.apiSchema != nil:
		return r.writeAll(out, jsontext.BeginObject, jsontext.EndObject, func() error {
			for _, m := range s.Members() {
				if err := out.WriteToken(jsontext.String(m.Name)); err != nil {
					return err
				}
				if err := r.writeExample(out, m.Schema, m.Name, within); err != nil {
					return err
				}
			}
			if s.Additional.apiSchema == nil {
				return nil
			}
			if err := out.WriteToken(jsontext.String("…")); err != nil {
				return err
			}
			return r.writeExample(out, s.Additional.apiSchema, name, within)
		})
	}
	return out.WriteToken(s.exampleToken(name))
}

func (r *apiReference) writeAll(out *jsontext.Encoder, begin, end jsontext.Token, inner func() error) error {
	if err := out.WriteToken(begin); err != nil {
		return err
	}
	if err := inner(); err != nil {
		return err
	}
	return out.WriteToken(end)
}

// exampleToken is a text, a number or the like.
func (s *apiSchema) exampleToken(name string) jsontext.Token {
	switch {
	case slices.Contains(s.Type, "integer"), slices.Contains(s.Type, "number"):
		return jsontext.Int(1)
	case slices.Contains(s.Type, "boolean"):
		return jsontext.True
	case slices.Contains(s.Type, "object"):
		return jsontext.Null
	case s.Format == "date-time":
		return jsontext.String("2026-10-14T08:31:07.000Z")
	case exampleValues[name] != "":
		return jsontext.String(exampleValues[name])
	}
	return jsontext.String("…")
}

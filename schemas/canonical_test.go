package schemas

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// The canonical form has what the type knows and is not absent or default,
// whatever else was sent and however it was spelt (R8).
func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Type
		data string
		want string
	}{
		{
			"all that an agent session has", AgentSession,
			`{"voided":true,"revision":12,"subscriptionId":"S1","startTime":1791964803250,"endTime":"2026-10-14T18:02:11+02:00",
			  "licenceClass":"premium","agentId":"a\"\\\u00E9\u00af\u00FA\u2028\/","channel":"sms","quantity":1,"entryPointId":"e"}`,
			`{"agentId":"a\"\\é¯ú` + "\u2028" + `/","endTime":"2026-10-14T16:02:11.000Z","licenceClass":"premium","revision":12,` +
				`"startTime":"2026-10-14T08:00:03.250Z","subscriptionId":"S1","time":"2026-10-14T16:02:11.500Z",` +
				`"type":"agent.session","voided":true}`,
		},
		{
			"defaults and nulls", IVRSession,
			`{"revision":0,"voided":false,"subscriptionId":null,"endTime":null,"entryPointId":"e","startTime":"1970-01-01T00:00:00Z","agentId":"a"}`,
			`{"entryPointId":"e","startTime":"1970-01-01T00:00:00.000Z","time":"2026-10-14T16:02:11.500Z","type":"ivr.session"}`,
		},
		{
			"Connect", ConnectUsage,
			`{"channel":"sms","quantity":10.50,"startTime":0,"endTime":0}`,
			`{"channel":"sms","quantity":"10.5","time":"2026-10-14T16:02:11.500Z","type":"connect.usage"}`,
		},
		{
			"a void alone", AgentSession, `{"voided":true}`,
			`{"time":"2026-10-14T16:02:11.500Z","type":"agent.session","voided":true}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			value := fmt.Sprintf(`{"specversion":"1.0","id":"i","source":"/s","tenantid":"acme","time":"2026-10-14T14:02:11.50099-02:00","type":%q,"data":%s}`,
				c.kind, c.data)
			var d Decoder
			var e Event
			if r := d.Decode(c.kind, nil, []byte(value), &e); r != nil {
				t.Fatal(r)
			}
			if got := string(e.AppendCanonical([]byte(">"))); got != ">"+c.want {
				t.Errorf("got  %s\nwant >%s", got, c.want)
			}
		})
	}
}

func TestCanonicalQuantity(t *testing.T) {
	for millionths, want := range map[int64]string{
		1: `"0.000001"`, 10: `"0.00001"`, 100_000: `"0.1"`, 1_000_000: `"1"`, 100_000_000: `"100"`,
		1_050_000: `"1.05"`, 999_999_999_999_999_999: `"999999999999.999999"`,
	} {
		if got := string(appendQuantity(nil, millionths)); got != want {
			t.Errorf("%d millionths are %s, want %s", millionths, got, want)
		}
	}
}

// events draws any valid event.
func events() *rapid.Generator[Event] {
	name := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return validName(string(r)) }), 1, 50, maxNameBytes)
	optional := rapid.OneOf(rapid.Just(""), name)
	return rapid.Custom(func(t *rapid.T) Event {
		e := Event{
			Tenant: name.Draw(t, "tenant"), Source: name.Draw(t, "source"), ID: name.Draw(t, "id"),
			Type:         rapid.SampledFrom(Types[:]).Draw(t, "type"),
			TimeMS:       rapid.Int64Range(0, maxInstantMS).Draw(t, "time"),
			Revision:     rapid.Int32Range(0, math.MaxInt32).Draw(t, "revision"),
			Voided:       rapid.Bool().Draw(t, "voided"),
			Subscription: optional.Draw(t, "subscription"),
			StartMS:      Absent, EndMS: Absent,
		}
		has := func(what string) bool { return !e.Voided || rapid.Bool().Draw(t, "has "+what) }
		if e.Type == ConnectUsage {
			if has("channel") {
				e.Channel = rapid.StringMatching(`[a-z][a-z0-9_-]{0,62}`).Draw(t, "channel")
			}
			if has("quantity") {
				e.Quantity = rapid.Int64Range(1, 999_999_999_999_999_999).Draw(t, "quantity")
			}
			return e
		}
		start := rapid.Int64Range(0, maxInstantMS).Draw(t, "start")
		if has("start") {
			e.StartMS = start
		}
		if rapid.Bool().Draw(t, "ended") {
			e.EndMS = min(maxInstantMS, start+rapid.Int64Range(0, MaxSessionMS).Draw(t, "length"))
		}
		if e.Type == IVRSession {
			if has("entry point") {
				e.EntryPoint = name.Draw(t, "entry point")
			}
			return e
		}
		if has("agent") {
			e.Agent = name.Draw(t, "agent")
		}
		e.Class = rapid.SampledFrom([]string{"", "standard", "premium"}).Draw(t, "class")
		return e
	})
}

// rewrap makes a delivery whose data is the canonical form of an event.
func rewrap(t testing.TB, e *Event) []byte {
	canonical := e.AppendCanonical(nil)
	var content struct{ Type, Time string }
	if err := json.Unmarshal(canonical, &content); err != nil {
		t.Fatalf("%s: %v", canonical, err)
	}
	return marshal(t, map[string]any{
		"specversion": "1.0", "id": e.ID, "source": e.Source, "tenantid": e.Tenant,
		"type": content.Type, "time": content.Time, "data": json.RawMessage(canonical),
	})
}

// The canonical form is RFC 8785 and says all of the content: a delivery that
// is made from it decodes to the event that it was made of.
func TestCanonicalFormSaysAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := events().Draw(rt, "event")
		canonical := jsontext.Value(e.AppendCanonical(nil))
		want := canonical.Clone()
		if err := want.Canonicalize(); err != nil || string(want) != string(canonical) {
			rt.Fatalf("%s is not canonical: %v, %s", canonical, err, want)
		}
		var d Decoder
		var got Event
		if r := d.Decode(e.Type, nil, rewrap(t, &e), &got); r != nil || got != e {
			rt.Fatalf("decoded %v %+v", r, got)
		}
	})
}

// The verdict on a delivery does not depend on the order of its members, nor
// on those that nobody knows.
func TestMemberOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.SampledFrom(fixtures(t)).Filter(func(f fixture) bool {
			return f.code != MalformedJSON
		}).Draw(rt, "fixture")
		var event, data map[string]json.RawMessage
		if err := json.Unmarshal(f.value, &event); err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(event["data"], &data) == nil && data != nil {
			event["data"] = shuffled(rt, data)
		}
		event["unknown"] = json.RawMessage(`{"data":{"id":[1]}}`)
		var d Decoder
		var e, permuted Event
		want := d.Decode(f.topic, nil, f.value, &e)
		got := d.Decode(f.topic, nil, shuffled(rt, event), &permuted)
		if want != nil && got != nil && want.Field == "data" {
			got.Value = want.Value // data as it was written, which is another order here
		}
		switch {
		case want == nil && (got != nil || e != permuted):
			rt.Fatalf("got %v %+v, want %+v", got, permuted, e)
		case want != nil && (got == nil || *got != *want):
			rt.Fatalf("got %v, want %v", got, want)
		}
	})
}

// shuffled writes an object with its members in any order.
func shuffled(t *rapid.T, object map[string]json.RawMessage) []byte {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		members = append(members, fmt.Sprintf("%q:%s", name, object[name]))
	}
	return []byte("{" + strings.Join(rapid.Permutation(members).Draw(t, "order"), " ,") + "}")
}

package schemas

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A delivery with every defect is refused for each in turn, as they are fixed
// one by one: the order is that of the event contract.
func TestOrderOfRejections(t *testing.T) {
	data := map[string]any{
		"revision": 1.5, "voided": "no", "subscriptionId": "", "licenceClass": "gold", "EndTime": 1,
	}
	event := map[string]any{"specversion": 1, "type": "", "data": data}
	padding, tail := strings.Repeat(" ", MaxValueBytes), "}"
	set := func(name string, value any) func() { return func() { event[name] = value } }
	put := func(name string, value any) func() { return func() { data[name] = value } }
	for _, step := range []struct {
		code  Code
		field string
		fix   func()
	}{
		{TooLarge, "", func() { padding = "" }},
		{MalformedJSON, "", func() { tail = "" }},
		{NotCloudEvents, "specversion", set("specversion", "1.0")},
		{MissingField, "id", set("id", 1)},
		{MissingField, "source", set("source", 2)},
		{MissingField, "type", set("type", "agent")},
		{MissingField, "time", set("time", 3)},
		{MissingField, "tenantid", set("tenantid", 4)},
		{UnknownType, "type", set("type", "agent.session")},
		{MissingField, "agentId", put("agentId", 5)},
		{MissingField, "startTime", put("startTime", "soon")},
		{InvalidField, "id", set("id", "s-1")},
		{InvalidField, "source", set("source", "/wxcc/eu1")},
		{InvalidField, "time", set("time", "2026-10-14T16:02:11Z")},
		{InvalidField, "tenantid", func() { event["tenantid"], event["data"] = "acme", "none" }},
		{InvalidField, "data", set("data", data)},
		{InvalidField, "revision", put("revision", 1)},
		{InvalidField, "voided", put("voided", false)},
		{InvalidField, "subscriptionId", put("subscriptionId", "Sub100001")},
		{InvalidField, "agentId", put("agentId", "agent-17")},
		{InvalidField, "startTime", func() { data["startTime"], data["endTime"] = "2026-10-14T08:00:03Z", 1792915203 }},
		{InvalidField, "endTime", put("endTime", nil)},
		{InvalidField, "licenceClass", put("licenceClass", "premium")},
		{MisspeltField, "endTime", put("endTime", "2026-10-14T08:00:02Z")},
		{EndBeforeStart, "endTime", put("endTime", "2027-10-14T08:00:03Z")},
		{ImplausibleDuration, "endTime", put("endTime", "2026-10-14T08:00:03Z")},
	} {
		value := slices.Concat([]byte(padding), marshal(t, event), []byte(tail))
		var d Decoder
		r := d.Decode(AgentSession, nil, value, new(Event))
		if r == nil || r.Code != step.code || r.Field != step.field {
			t.Fatalf("got %v, want %s %s", r, step.code, step.field)
		}
		step.fix()
	}
	var d Decoder
	if r := d.Decode(AgentSession, nil, marshal(t, event), new(Event)); r != nil {
		t.Errorf("fixed, but rejected: %v", r)
	}
}

func TestDecodedEvent(t *testing.T) {
	attributes := `"specversion":"1.0","id":"i","source":"/s","time":"2026-10-14T16:02:11.5009+02:00","tenantid":"acme"`
	for _, c := range []struct {
		name string
		kind Type
		data string
		want Event
		atMS int64
	}{
		{
			name: "a premium session",
			kind: AgentSession,
			data: `{"agentId":"agent-17","startTime":"2026-10-14T08:00:03.25Z","endTime":1791993731000,"licenceClass":"premium",` +
				`"subscriptionId":"Sub100001","revision":7}`,
			want: Event{Agent: "agent-17", StartMS: 1791964803250, EndMS: 1791993731000, Class: "premium",
				Subscription: "Sub100001", Revision: 7},
			atMS: 1791964803250,
		},
		{
			name: "a call that is still there",
			kind: IVRSession,
			data: `{"entryPointId":"ep-support","startTime":100000000000,"agentId":"ignored","licenceClass":"premium"}`,
			want: Event{EntryPoint: "ep-support", StartMS: 100_000_000_000, EndMS: Absent},
			atMS: 100_000_000_000,
		},
		{
			name: "Connect is placed by its time",
			kind: ConnectUsage,
			data: `{"channel":"whatsapp","quantity":"12.0500","startTime":0}`,
			want: Event{Channel: "whatsapp", Quantity: 12_050_000, StartMS: Absent, EndMS: Absent},
			atMS: 1791986531500,
		},
		{
			name: "a void without a start is placed by its time",
			kind: AgentSession,
			data: `{"voided":true,"endTime":100000000005}`,
			want: Event{Voided: true, StartMS: Absent, EndMS: 100_000_000_005},
			atMS: 1791986531500,
		},
		{
			name: "a void with a start is placed by it",
			kind: IVRSession,
			data: `{"voided":true,"startTime":100000000004}`,
			want: Event{Voided: true, StartMS: 100_000_000_004, EndMS: Absent},
			atMS: 100_000_000_004,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Tenant, c.want.Source, c.want.ID, c.want.Type = "acme", "/s", "i", c.kind
			c.want.TimeMS = 1791986531500
			value := fmt.Sprintf(`{%s,"type":%q,"data":%s}`, attributes, c.kind, c.data)
			// What an earlier event left must not show through.
			got := Event{Agent: "x", EntryPoint: "x", Channel: "x", Class: "x", Quantity: 1, Voided: true}
			var d Decoder
			if r := d.Decode(c.kind, nil, []byte(value), &got); r != nil {
				t.Fatal(r)
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if got.OccurredMS() != c.atMS {
				t.Errorf("placed at %d, want %d", got.OccurredMS(), c.atMS)
			}
		})
	}
}

// binaryHeaders are the attributes of one agent session in binary mode, with
// some replaced; "" takes one out.
func binaryHeaders(changes ...string) []Header {
	attributes := map[string]string{
		"content-type": "application/json", "ce_specversion": "1.0", "ce_id": "i", "ce_source": "/s",
		"ce_type": "agent.session", "ce_time": "2026-10-14T16:02:11Z", "ce_tenantid": "acme",
	}
	for i := 0; i < len(changes); i += 2 {
		attributes[changes[i]] = changes[i+1]
	}
	var headers []Header
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		if attributes[key] != "" {
			headers = append(headers, Header{key, []byte(attributes[key])})
		}
	}
	return headers
}

func TestBinaryMode(t *testing.T) {
	const data = `{"agentId":"agent-17","startTime":"2026-10-14T08:00:03Z"}`
	long := strings.Repeat("x", 201)
	for _, c := range []struct {
		name    string
		headers []Header
		value   string
		code    Code
		field   string
	}{
		{"a whole session", binaryHeaders(), data, "", ""},
		{"without a content type", binaryHeaders("content-type", ""), data, "", ""},
		{"header names in any case", binaryHeaders("ce_id", "", "CE_Id", "i", "content-type", "", "Content-Type",
			"text/json"), data, "", ""},
		{"other headers", binaryHeaders("ce_subject", "s", "traceparent", "00", "ce_", "x", "ce", "x", "id", "x"), data, "",
			""},
		{"unknown attributes repeated, and not text", append(binaryHeaders(), Header{"ce_x", []byte{0xff}},
			Header{"ce_x", nil}), data, "", ""},
		{"a data header is no data", binaryHeaders("ce_data", "{}"), data, "", ""},
		{"attributes among the data are not the event's", binaryHeaders(),
			`{"id":1,"type":2,"agentId":"a","startTime":100000000000}`, "", ""},
		{"not UTF-8 in an identifier", binaryHeaders("ce_id", "\xff"), data, InvalidField, "id"},
		{"a surrogate in an identifier", binaryHeaders("ce_id", "\xed\xa0\x80"), data, InvalidField, "id"},
		{"an escape is not one", binaryHeaders("ce_type", `agent\u002esession`), data, UnknownType, "type"},
		{"too long an identifier", binaryHeaders("ce_tenantid", long), data, InvalidField, "tenantid"},
		{"a repeated attribute", append(binaryHeaders(), Header{"CE_ID", []byte("i")}), data, MalformedJSON, ""},
		{"no version", binaryHeaders("ce_specversion", ""), data, NotCloudEvents, "specversion"},
		{"no attributes", []Header{{"content-type", []byte("application/json")}}, data, NotCloudEvents, "specversion"},
		{"no tenant", binaryHeaders("ce_tenantid", ""), data, MissingField, "tenantid"},
		{"an empty tenant", append(binaryHeaders("ce_tenantid", ""), Header{"ce_tenantid", []byte{}}), data, MissingField,
			"tenantid"},
		{"another topic's", binaryHeaders("ce_type", "ivr.session"), data, UnknownType, "type"},
		{"data null is empty", binaryHeaders(), "null", MissingField, "agentId"},
		{"data empty", binaryHeaders(), "{}", MissingField, "agentId"},
		{"no value is no data", binaryHeaders(), "", MissingField, "agentId"},
		{"a value of spaces", binaryHeaders(), " ", MalformedJSON, ""},
		{"no value and no attributes", nil, "", MalformedJSON, ""},
		{"no value, and JSON", []Header{{"content-type", []byte("application/json")}}, "", MalformedJSON, ""},
		{"no value, but the whole event should be there", binaryHeaders("content-type", "application/cloudevents+json"), "",
			MalformedJSON, ""},
		{"a misspelt member", binaryHeaders(), `{"agentId":"a","startTime":100000000000,"end_time":"x"}`, MisspeltField,
			"endTime"},
		{"data_base64 among the data is no member of ours", binaryHeaders(),
			`{"data_base64":1,"agentId":"a","startTime":100000000000}`, "", ""},
		{"data an array", binaryHeaders(), "[]", MalformedJSON, ""},
		{"data cut off", binaryHeaders(), data[:20], MalformedJSON, ""},
		{"data with a repeated member", binaryHeaders(), `{"agentId":"a","agentId":"a"}`, MalformedJSON, ""},
		{"data not UTF-8", binaryHeaders(), `{"x":"` + "\xff" + `"}`, MalformedJSON, ""},
		{"too large", binaryHeaders(), data + strings.Repeat(" ", MaxValueBytes), TooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			var e Event
			r := d.Decode(AgentSession, c.headers, []byte(c.value), &e)
			switch {
			case r == nil && c.code != "":
				t.Errorf("accepted: %+v", e)
			case r == nil && (e.Tenant != "acme" || e.Source != "/s" || e.ID != "i" || e.Agent == "" ||
				e.TimeMS != 1791993731000):
				t.Errorf("decoded %+v", e)
			case r != nil && (r.Code != c.code || r.Field != c.field):
				t.Errorf("got %v", r)
			}
		})
	}
}

func TestContentMode(t *testing.T) {
	for _, c := range []struct {
		headers    []Header
		structured bool
	}{
		{nil, true},
		{[]Header{{"traceparent", []byte("00")}}, true},
		{[]Header{{"content-type", nil}}, true},
		{[]Header{{"content-type", []byte("application/cloudevents+json")}}, true},
		{[]Header{{"Content-Type", []byte("Application/CloudEvents+JSON ; charset=utf-8")}}, true},
		{binaryHeaders("content-type", "application/cloudevents+json"), true},
		{[]Header{{"content-type", []byte("application/json")}}, true},
		{[]Header{{"content-type", []byte("Text/JSON; charset=utf-8")}}, true},
		{[]Header{{"content-type", []byte("application/vnd.acme.usage+json")}}, true},
		{[]Header{{"content-type", []byte("application/avro")}}, false},
		{[]Header{{"content-type", []byte("application/json")}, {"ce_subject", nil}}, false},
		{[]Header{{"content-type", []byte("application/cloudevents-batch+json")}}, false},
		{[]Header{{"content-type", []byte("application/cloudevents+jſon")}}, false},
		{[]Header{{"ce_subject", nil}}, false},
		{[]Header{{"CE_ID", []byte("i")}}, false},
	} {
		var d Decoder
		r := d.Decode(AgentSession, c.headers, []byte(ordinaryEvent), new(Event))
		if structured := r == nil; structured != c.structured {
			t.Errorf("%q: structured %v, want %v (%v)", c.headers, structured, c.structured, r)
		}
	}
}

// Bytes that are not UTF-8 are refused wherever they stand.
func TestInvalidUTF8(t *testing.T) {
	for _, bad := range []string{"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"} {
		for _, value := range []string{
			strings.Replace(ordinaryEvent, "agent-17", bad, 1),
			strings.Replace(ordinaryEvent, "sessions/", bad, 1),
			strings.Replace(ordinaryEvent, `"subject"`, `"`+bad+`"`, 1),
			ordinaryEvent + bad,
			bad + ordinaryEvent,
		} {
			var d Decoder
			if r := d.Decode(AgentSession, nil, []byte(value), new(Event)); r == nil || r.Code != MalformedJSON {
				t.Errorf("%q: %v", value, r)
			}
		}
	}
}

// A value that is cut off anywhere is malformed.
func TestTruncated(t *testing.T) {
	value := strings.Replace(ordinaryEvent, `"revision":1`, `"revision":1,"x":[-1.5e+3,true,"\u00e9"]`, 1)
	for n := range value {
		var d Decoder
		if r := d.Decode(AgentSession, nil, []byte(value[:n]), new(Event)); r == nil || r.Code != MalformedJSON {
			t.Errorf("%s: %v", value[:n], r)
		}
	}
}

// A value of exactly 262,144 bytes is not too large.
func TestGreatestValue(t *testing.T) {
	for extra, want := range map[int]Code{0: "", 1: TooLarge} {
		value := ordinaryEvent + strings.Repeat(" ", MaxValueBytes+extra-len(ordinaryEvent))
		var d Decoder
		r := d.Decode(AgentSession, nil, []byte(value), new(Event))
		if (r == nil) != (want == "") || r != nil && r.Code != want {
			t.Errorf("%d bytes: %v", len(value), r)
		}
	}
}

func TestNesting(t *testing.T) {
	for _, c := range []struct {
		levels int // the event's own included
		ok     bool
	}{{300, true}, {maxDepth, true}, {maxDepth + 1, false}, {MaxValueBytes / 8, false}} {
		for _, brackets := range [][2]string{{"[", "]"}, {`{"":`, "}"}} {
			levels := c.levels - 1
			inside := strings.Repeat(brackets[0], levels) + "0" + strings.Repeat(brackets[1], levels)
			value := strings.Replace(ordinaryEvent, `"sessions/7d9c2a54"`, inside, 1)
			var d Decoder
			r := d.Decode(AgentSession, nil, []byte(value), new(Event))
			if (r == nil) != c.ok || r != nil && r.Code != MalformedJSON {
				t.Errorf("%d levels of %s: %v", c.levels, brackets[0], r)
			}
		}
	}
}

// As many members as fit are looked through for repetitions, without work that
// grows with their square.
func TestManyMembers(t *testing.T) {
	var members strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&members, `"%x":0,`, i)
	}
	for tail, want := range map[string]Code{"": "", `"1f":0,`: MalformedJSON, `"\u0031f":0,`: MalformedJSON} {
		var d Decoder
		r := d.Decode(AgentSession, nil, []byte("{"+members.String()+tail+ordinaryEvent[1:]), new(Event))
		if (r == nil) != (want == "") || r != nil && r.Code != want {
			t.Errorf("%s: %v", tail, r)
		}
	}
}

// A rejected delivery is reported with its identity as far as that could be
// read: a refused correction must not pass unseen (R22).
func TestRejectedIdentity(t *testing.T) {
	replace := func(from, to string) string { return strings.Replace(ordinaryEvent, from, to, 1) }
	const id, source, tenant = "7d9c2a54-1f0e-4c7e-9a51-3c1f6f2b8d10", "/wxcc/eu1", "acme"
	for _, c := range []struct {
		name               string
		headers            []Header
		value              string
		code               Code
		id, source, tenant string
	}{
		{"an invalid field", nil, replace(`"agent-17"`, "17"), InvalidField, id, source, tenant},
		{"too large", nil, ordinaryEvent + strings.Repeat(" ", MaxValueBytes), TooLarge, id, source, tenant},
		{"too large and malformed", nil, ordinaryEvent + strings.Repeat("]", MaxValueBytes), TooLarge, "", "", ""},
		{"a misspelt member", nil, replace(`"endTime"`, `"end_time"`), MisspeltField, id, source, tenant},
		{"seconds", nil, replace(`"2026-10-14T16:02:11Z"`, "1760428800"), InvalidField, id, source, tenant},
		{"both data and data_base64", nil, replace(`"data"`, `"data_base64":"e30=","data"`), InvalidField, id, source,
			tenant},
		{"base64 of no JSON", nil, replace(`"data":{`, `"data_base64":"e30","x":{`), InvalidField, id, source, tenant},
		{"a repeated member in base64", nil, replace(`"data":{`, `"data_base64":"eyJ4IjoxLCJ4IjoxfQ==","x":{`), MalformedJSON,
			id, source, tenant},
		{"a whole event as data, by its content type", []Header{{"content-type", []byte("application/avro")}}, ordinaryEvent,
			NotCloudEvents, id, source, tenant},
		{"a whole event as data, by a header", []Header{{"ce_id", []byte("i")}}, ordinaryEvent, NotCloudEvents, "i", source,
			tenant},
		{"no tenant", nil, replace(`"tenantid"`, `"tenantId"`), MissingField, id, source, ""},
		{"an invalid source", nil, replace(`"/wxcc/eu1"`, `"\u0000"`), InvalidField, id, "", tenant},
		{"a lone surrogate", nil, replace(`"/wxcc/eu1"`, `"\ud800"`), InvalidField, id, "", tenant},
		{"an escaped source", nil, strings.Replace(replace("/wxcc/eu1", `\/wxcc\u002feu1`), "1.0", "2.0", 1), NotCloudEvents,
			id, source, tenant},
		{"a repeated member", nil, replace(`{"agentId"`, `{"x":1,"x":1,"agentId"`), MalformedJSON, id, source, tenant},
		{"a repeated id", nil, replace(`"id":`, `"id":"a","id":`), MalformedJSON, "", source, tenant},
		{"no JSON", nil, ordinaryEvent + "]", MalformedJSON, "", "", ""},
		{"not UTF-8", nil, replace("agent-17", "\xff"), MalformedJSON, "", "", ""},
		{"no JSON in binary mode", binaryHeaders(), "{", MalformedJSON, "i", "/s", "acme"},
		{"a repeated header", append(binaryHeaders(), Header{"ce_id", []byte("j")}), "{}", MalformedJSON, "", "/s", "acme"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			value := []byte(c.value)
			r := d.Decode(AgentSession, c.headers, value, new(Event))
			if r == nil || r.Code != c.code {
				t.Fatalf("got %v, want %s", r, c.code)
			}
			clear(value) // a rejection outlives the value
			if r.ID != c.id || r.Source != c.source || r.Tenant != c.tenant {
				t.Errorf("identity %q %q %q, want %q %q %q", r.Tenant, r.Source, r.ID, c.tenant, c.source, c.id)
			}
		})
	}
}

// A rejection says what was found and what to do, in text that is safe to
// print whatever was sent.
func TestRejectionText(t *testing.T) {
	for _, c := range []struct {
		old, new    string
		value, text string
	}{
		{`"agent-17"`, "17", "17",
			"invalid_field: agentId 17: is a number: write it in quotes; must be a JSON string of 1 to 200 bytes without control characters or lone surrogates; correct it and send the event again"},
		{`"revision":1`, `"revision":"1"`, `"1"`,
			`invalid_field: revision "1": is in quotes: write the number without; must be a JSON number written with digits only, at most 2147483647; correct it and send the event again`},
		{`"2026-10-14T16:02:11Z"`, "1760428800", "1760428800",
			"invalid_field: endTime 1760428800: must be RFC 3339 with a zone, such as 2026-10-14T08:00:03Z, of the years 1970 to 9999, " +
				"or a JSON number of whole epoch milliseconds, at least 100000000000; 1760428800 reads as 2025-10-14T08:00:00Z if it is seconds: send milliseconds"},
		{`"endTime"`, `"EndTme"`, `"EndTme"`,
			`misspelt_field: endTime "EndTme": data has this member and no endTime, which seems to be meant; spell it endTime and send the event again, or leave it out`},
		{`"agentId"`, `"agent_id"`, "",
			`missing_field: agentId: agent.session needs it in data unless voided is true; data has "agent_id", which seems to be meant: spell it agentId and send the event again`},
		{`"agent-17"`, `""`, `""`,
			`missing_field: agentId "": agent.session needs it in data unless voided is true; add it and send the event again`},
		{`"tenantid":"acme",`, "", "",
			"missing_field: tenantid: every event needs it; add it and send the event again"},
		{`agent.session`, "ivr.session", `"ivr.session"`,
			`unknown_type: type "ivr.session": does not fit the topic; send it to usage.ivr.v1`},
		{`2026-10-14T16:02:11Z`, "2026-10-14T06:00:03.249Z", `"2026-10-14T06:00:03.249Z"`,
			`end_before_start: endTime "2026-10-14T06:00:03.249Z": is 1 ms before startTime; correct one of the two and send the event again`},
		{`"agent-17"`, "\"\u202e\x7f\"", "\"\ufffd\ufffd\"",
			"invalid_field: agentId \"\ufffd\ufffd\": must be a JSON string of 1 to 200 bytes without control characters or lone surrogates; correct it and send the event again"},
		{`"subject"`, `"\u001b[31m":0,"\u001b[31m"`, "",
			"malformed_json: the member \"\ufffd[31m\" is repeated; send one JSON object in UTF-8, each member once"},
		{`"subject"`, "subject", "",
			"malformed_json: expected a member name in double quotes at byte 161; send one JSON object in UTF-8, each member once"},
	} {
		var d Decoder
		r := d.Decode(AgentSession, nil, []byte(strings.Replace(ordinaryEvent, c.old, c.new, 1)), new(Event))
		if r == nil {
			t.Errorf("%s: accepted", c.new)
			continue
		}
		if r.Value != c.value || r.Error() != c.text {
			t.Errorf("value %s, text\n\t%s\nwant %s\n\t%s", r.Value, r.Error(), c.value, c.text)
		}
	}
}

func TestRejectionValueIsShort(t *testing.T) {
	for long, want := range map[string]string{
		strings.Repeat("é", 101):       strings.Repeat("é", 97) + "…",
		strings.Repeat("7", 97) + `\n`: strings.Repeat("7", 97) + "…",
		strings.Repeat("7", 96) + `\n`: strings.Repeat("7", 96) + `\n`, // 98 and its quotes are all of it
	} {
		var d Decoder
		r := d.Decode(AgentSession, nil, []byte(strings.Replace(ordinaryEvent, "agent-17", long, 1)), new(Event))
		if want = `"` + want + `"`; r == nil || r.Value != want {
			t.Errorf("got %v, want %s", r, want)
		}
	}
}

// An ordinary event is decoded without allocating, and its strings are the
// value's own; one that needed unescaping has memory of its own.
func TestDecodeAllocatesNothing(t *testing.T) {
	var d Decoder
	var e Event
	value := []byte(ordinaryEvent)
	headers := binaryHeaders()
	data := []byte(`{"agentId":"agent-17","startTime":"2026-10-14T08:00:03Z"}`)
	for name, decode := range map[string]func() *Rejection{
		"structured": func() *Rejection { return d.Decode(AgentSession, nil, value, &e) },
		"binary":     func() *Rejection { return d.Decode(AgentSession, headers, data, &e) },
	} {
		allocations := testing.AllocsPerRun(100, func() {
			if r := decode(); r != nil {
				t.Fatal(r)
			}
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations an event", name, allocations)
		}
	}

	value = []byte(strings.Replace(ordinaryEvent, "agent-17", `agent\u002d17`, 1))
	if r := d.Decode(AgentSession, nil, value, &e); r != nil {
		t.Fatal(r)
	}
	clear(value)
	if e.Agent != "agent-17" {
		t.Errorf("agent %q changed with the value", e.Agent)
	}
}

func TestSniffType(t *testing.T) {
	for _, c := range []struct {
		line   string
		kind   Type
		tenant string
		ok     bool
	}{
		{ordinaryEvent, AgentSession, "acme", true},
		{`{"type":"ivr.session","tenantid":"acme"}`, IVRSession, "acme", true},
		{`{"tenantid":"\u0061cme","typ\u0065":"connect\u002eusage"}`, ConnectUsage, "acme", true},
		{`{"type":"ivr.session","tenantid":"acme","id":1,"id":2}`, IVRSession, "acme", true},
		{`{"type":"ivr.session","tenantid":"acme","data":{`, IVRSession, "acme", true},
		{`{"type":"ivr.session","type":"ivr.session","tenantid":"acme"}`, 0, "acme", false},
		{`{"data":{"type":"ivr.session"}}`, 0, "", false},
		{`{"type":"agent.logout","tenantid":7}`, 0, "", false},
		{`{"type":7}`, 0, "", false},
		{`{"Type":"ivr.session"}`, 0, "", false},
		{`{'type':'ivr.session'}`, 0, "", false},
		{"\ufeff" + ordinaryEvent, 0, "", false},
		{`["ivr.session"]`, 0, "", false},
		{`{`, 0, "", false},
		{``, 0, "", false},
	} {
		kind, tenant, ok := SniffType([]byte(c.line))
		if kind != c.kind || tenant != c.tenant || ok != c.ok {
			t.Errorf("%s: %v %q %v, want %v %q %v", c.line, kind, tenant, ok, c.kind, c.tenant, c.ok)
		}
	}
}

func TestTypes(t *testing.T) {
	for kind, want := range map[Type][2]string{
		AgentSession: {"agent.session", "usage.agent.v1"},
		IVRSession:   {"ivr.session", "usage.ivr.v1"},
		ConnectUsage: {"connect.usage", "usage.connect.v1"},
		0:            {"unknown", ""},
		4:            {"unknown", ""},
	} {
		if got := [2]string{kind.String(), kind.Topic()}; got != want {
			t.Errorf("%d: %q, want %q", kind, got, want)
		}
	}
	if kind, ok := ParseType("unknown"); ok {
		t.Errorf("unknown is read as %d", kind)
	}
}

// What is refused without a specversion says where it was looked for, and
// what on the record made it be looked for there.
func TestAdviceNamesTheCause(t *testing.T) {
	const send = "; send the whole event in the value with the header content-type: application/cloudevents+json or none, or its attributes in ce_ headers"
	bare := strings.Replace(ordinaryEvent, `"specversion":"1.0",`, "", 1)
	for _, c := range []struct {
		headers []Header
		value   string
		want    string
	}{
		{nil, bare, `must be the string "1.0"; send CloudEvents 1.0`},
		{[]Header{{"content-type", []byte("application/json")}}, bare,
			`is neither in the value nor in ce_ headers, and content-type "application/json" says nothing of CloudEvents` +
				send},
		{[]Header{{"content-type", []byte("application/avro")}}, ordinaryEvent,
			`is in the value, but content-type "application/avro" means that the value is only the data` + send},
		{[]Header{{"ce_subject", nil}}, ordinaryEvent,
			"is in the value and not in the headers, whose ce_ ones mean that the value is only the data" + send},
		{binaryHeaders("ce_specversion", ""), "{}",
			`must be the string "1.0" in the header ce_specversion, as ce_ headers mean that the attributes are there` + send},
		{[]Header{{"ce-specversion", []byte("1.0")}, {"content-type", []byte("application/json")}}, "{}",
			"is in the header ce-specversion, as over HTTP, and on Kafka the headers begin with ce_" + send},
	} {
		var d Decoder
		r := d.Decode(AgentSession, c.headers, []byte(c.value), new(Event))
		if r == nil || r.Code != NotCloudEvents || r.Field != "specversion" || r.Message != c.want {
			t.Errorf("%q: got  %v\nwant %s", c.headers, r, c.want)
		}
	}
}

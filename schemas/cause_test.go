package schemas

import (
	"strings"
	"testing"
)

// A refusal begins with what lies behind it where the field that is named is
// only a symptom, and with nothing where it is not.
func TestRefusalNamesTheCause(t *testing.T) {
	const (
		sms     = `{"specversion":"1.0","id":"1","source":"/s","type":"connect.usage","time":"2026-10-14T10:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":10}}`
		session = `{"specversion":"1.0","id":"1","source":"/s","type":"agent.session","time":"2026-10-14T10:00:00Z","tenantid":"acme","data":{"agentId":"a","startTime":"2026-10-14T08:00:00Z"}}`
	)
	for _, c := range []struct {
		event, old, new string
		code            Code
		field, want     string // the beginning of the message
	}{
		{sms, `"channel":"sms","quantity":10`, `"voided":"true","revision":1`, MissingField, "channel",
			`voided is "true" and so takes nothing back: `},
		{sms, `"channel":"sms","quantity":10`, `"voided":1,"revision":1`, MissingField, "channel",
			"voided is 1 and so takes nothing back: "},
		{sms, `"channel":"sms"`, `"channel":""`, MissingField, "channel", "connect.usage needs it"},
		{sms, `"channel":"sms",`, "", MissingField, "channel",
			"connect.usage needs it in data unless voided is true; add it"},
		{sms, `"data":{"channel":"sms",`, `"channel":"sms","data":{`, MissingField, "channel",
			`the event has "channel" beside data, and it belongs in data; `},
		{sms, `"tenantid"`, `"tenantId"`, MissingField, "tenantid", `the event has "tenantId", which seems to be meant; `},
		{sms, `"tenantid"`, `"tenant"`, MissingField, "tenantid", `the event has "tenant", which seems to be meant; every`},
		{sms, `"tenantid"`, `"customer"`, MissingField, "tenantid", "every event needs it; add it"},
		{sms, `"tenantid":"acme"`, `"tenantid":null`, MissingField, "tenantid", "is null, which counts as absent; every"},
		{sms, `"id":"1"`, `"ID":"1"`, MissingField, "id", `the event has "ID", which seems to be meant; `},
		{sms, `"id":"1"`, `"ip":"1"`, MissingField, "id", "every event needs it; add it"},
		{sms, `"specversion"`, `"specVersion"`, NotCloudEvents, "specversion", `the event has "specVersion", which seems to be meant; `},
		{sms, `"channel":"sms"`, `"channel":null`, MissingField, "channel", "is null, which counts as absent; connect.usage"},
		{sms, `{"channel":"sms","quantity":10}`, `null`, MissingField, "channel", "data is null, which counts as empty; connect.usage"},
		{sms, `,"data":{"channel":"sms","quantity":10}`, ``, MissingField, "channel", "the event has no data; connect.usage"},
		{sms, `"channel":"sms"`, `"via":"sms"`, MissingField, "channel", `data has "via", which is not in the contract; connect.usage`},
		{sms, `"channel":"sms"`, `"z":1,"via":1,"y":null,"c":1`, MissingField, "channel",
			`data has "c", "via" and "z", which are not in the contract; connect.usage`},
		{sms, `"channel":"sms"`, `"g":1,"f":1,"e":1,"d":1,"c":1,"b":1,"a":1`, MissingField, "channel",
			`data has "a", "b", "c", "d", "e" and 2 more, which are not in the contract; connect.usage`},
		{sms, `"channel":"sms"`, `"Channel":"sms"`, MissingField, "channel", "connect.usage needs it in data unless voided is true; data has \"Channel\""},
		{sms, sms, `null`, MalformedJSON, "", "the value is null; "},
		{sms, sms, `[` + sms + `]`, MalformedJSON, "", "the value is an array, and each event is a record of its own; "},
		{sms, sms, ``, MalformedJSON, "", "the value is null or empty, as in a tombstone; to take an event back send it with voided true; "},
		{sms, `"tenantid":"acme","data":{`, `"data":{"tenant_id":"acme",`, MissingField, "tenantid",
			`data has "tenant_id", and it belongs beside data; `},
		{sms, `"quantity":10`, `"quantity":10,"revision":1791619200000`, InvalidField, "revision",
			"is too large, as a time would be: number the revisions 1, 2, 3; must"},
		{sms, `"quantity":10`, `"quantity":10,"revision":1.0`, InvalidField, "revision",
			"has a point: write 1, not 1.0; must"},
		{sms, `"quantity":10`, `"quantity":10,"revision":"1"`, InvalidField, "revision",
			"is in quotes: write the number without; must"},
		{sms, `"quantity":10`, `"quantity":10,"revision":-1`, InvalidField, "revision", "must be a JSON number"},
		{sms, `"quantity":10`, `"quantity":10,"voided":"false"`, InvalidField, "voided",
			"is in quotes: write false without; must"},
		{sms, `"quantity":10`, `"quantity":-10`, InvalidField, "quantity",
			"takes nothing back: to correct an event send it whole with a higher revision"},
		{sms, `"quantity":10`, `"quantity":"1e3"`, InvalidField, "quantity", "must be a number above 0"},
		{sms, `"2026-10-14T10:00:00Z"`, `1791972000000`, InvalidField, "time",
			"is a number, which only startTime and endTime may be: as milliseconds it would be 2026-10-14T10:00:00Z; must"},
		{sms, `"2026-10-14T10:00:00Z"`, `"2026-10-14 10:00:00"`, InvalidField, "time",
			"has no zone: end it with Z if it is UTC; must"},
		{sms, `"2026-10-14T10:00:00Z"`, `"14/10/2026"`, InvalidField, "time", "must be RFC 3339"},
		{sms, `"id":"1"`, `"id":1`, InvalidField, "id", "is a number: write it in quotes; must"},
		{session, `"2026-10-14T08:00:00Z"`, `"1791972000000"`, InvalidField, "startTime",
			"is in quotes: write the number without; must"},
		{session, `"2026-10-14T08:00:00Z"`, `"2026-10-14T08:00:00.000"`, InvalidField, "startTime",
			"has no zone: end it with Z if it is UTC; must"},
		{session, `"agentId":"a"`, `"agentId":7`, InvalidField, "agentId", "is a number: write it in quotes; must"},
	} {
		topic := ConnectUsage
		if c.event == session {
			topic = AgentSession
		}
		value := strings.Replace(c.event, c.old, c.new, 1)
		var d Decoder
		r := d.Decode(topic, nil, []byte(value), new(Event))
		if r == nil || r.Code != c.code || r.Field != c.field || !strings.HasPrefix(r.Message, c.want) {
			t.Errorf("%s\ngot  %v\nwant %s %s: %s", value, r, c.code, c.field, c.want)
		}
	}
}

// The same in binary mode, where the attributes are headers.
func TestRefusalNamesTheHeader(t *testing.T) {
	for _, c := range []struct {
		header, value string
		want          string // the refusal's beginning
	}{
		{"ce_tenant", `{}`, `missing_field: tenantid: the header "ce_tenant" seems to be meant: call it ce_tenantid; `},
		{"ce-tenantid", `{}`, `missing_field: tenantid: the header "ce-tenantid" seems to be meant: call it ce_tenantid; `},
		{"tenant_id", `{}`, `missing_field: tenantid: the header "tenant_id" seems to be meant: call it ce_tenantid; `},
		{"trace", `{}`, `missing_field: tenantid: every event needs it; `},
		{"ce_tenantid", ``, `missing_field: agentId: the value, which is the data, is null or empty; `},
		{"ce_tenantid", `null`, `missing_field: agentId: data is null, which counts as empty; `},
		{"ce_tenantid", `{"user":"a"}`, `missing_field: agentId: data has "user", which is not in the contract; `},
	} {
		var d Decoder
		r := d.Decode(AgentSession, binaryHeaders("ce_tenantid", "", c.header, "acme"), []byte(c.value), new(Event))
		if r == nil || !strings.HasPrefix(r.Error(), c.want) {
			t.Errorf("%s %s\ngot  %v\nwant %s", c.header, c.value, r, c.want)
		}
	}
}

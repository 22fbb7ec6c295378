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
		{sms, `"tenantid"`, `"tenant"`, MissingField, "tenantid", "every event needs it; add it"},
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

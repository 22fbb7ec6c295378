package schemas

import "testing"

const ordinaryEvent = `{"specversion":"1.0","id":"7d9c2a54-1f0e-4c7e-9a51-3c1f6f2b8d10","source":"/wxcc/eu1","type":"agent.session",` +
	`"time":"2026-10-14T16:02:11.000Z","tenantid":"acme","subject":"sessions/7d9c2a54","datacontenttype":"application/json",` +
	`"data":{"agentId":"agent-17","startTime":"2026-10-14T08:00:03.250+02:00","endTime":"2026-10-14T16:02:11Z",` +
	`"licenceClass":"premium","subscriptionId":"Sub100001","revision":1}}`

func BenchmarkDecode(b *testing.B) {
	var d Decoder
	var e Event
	value := []byte(ordinaryEvent)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if r := d.Decode(AgentSession, nil, value, &e); r != nil {
			b.Fatal(r)
		}
	}
}

func BenchmarkAppendCanonical(b *testing.B) {
	var d Decoder
	var e Event
	if r := d.Decode(AgentSession, nil, []byte(ordinaryEvent), &e); r != nil {
		b.Fatal(r)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = e.AppendCanonical(dst[:0])
	}
}

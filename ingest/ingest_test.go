package ingest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

func TestPublishAndIngest(t *testing.T) { eachKafka(t, testPublishAndIngest) }

func testPublishAndIngest(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 2)
	lines := []string{
		session("acme", "a1", 0),
		`{"specversion":"1.0","id":"i1","source":"/ivr","type":"ivr.session","time":"2026-10-14T08:00:09Z","tenantid":"acme",` +
			`"data":{"entryPointId":"ep","startTime":1791964800123,"subscriptionId":"Sub1"}}`,
		`{"specversion":"1.0","id":"c1","source":"/connect","type":"connect.usage","time":"2026-10-14T08:00:00.5+02:00","tenantid":"bolt",` +
			`"data":{"channel":"sms","quantity":"999999999999.999999"}}`,
		`{"specversion":"1.0","id":"v1","source":"/connect","type":"connect.usage","time":"9999-12-31T23:59:59.999Z","tenantid":"bolt",` +
			`"data":{"voided":true,"revision":7}}`,
		`{"specversion":"1.0","id":"p1","source":"/test","type":"agent.session","time":"1970-01-01T00:00:00Z","tenantid":"bolt",` +
			`"data":{"agentId":"åsa","startTime":"1970-01-01T00:00:00Z","endTime":"1970-01-01T00:00:00.001Z","licenceClass":"premium"}}`,
	}
	done := e.Publish(lines...)
	if done.Lines != 5 || done.Topics[e.Prefix+schemas.TopicAgent] != 2 || done.Topics[e.Prefix+schemas.TopicConnect] != 2 {
		t.Fatalf("published %+v", done)
	}
	began := time.Now()
	e.ingest(e.config(), e.deps())
	t.Logf("caught up after %v", time.Since(began))
	got := e.rows(`SELECT tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms, agent, entry_point,
		channel, quantity, subscription, class FROM usage_events ORDER BY id`)
	want := []string{
		`('acme','agent.session','/test','a1',0,false,1791968400000,1791964800000,1791964800000,1791968400000,'agent-1','','',0,'','')`,
		`('bolt','connect.usage','/connect','c1',0,false,1791957600500,1791957600500,-1,-1,'','','sms',999999999999.999999,'','')`,
		`('acme','ivr.session','/ivr','i1',0,false,1791964809000,1791964800123,1791964800123,-1,'','ep','',0,'Sub1','')`,
		`('bolt','agent.session','/test','p1',0,false,0,0,0,1,'åsa','','',0,'','premium')`,
		`('bolt','connect.usage','/connect','v1',7,true,253402300799999,253402300799999,-1,-1,'','','',0,'','')`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("usage_events has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if accepted, rejected := e.balanced(); accepted != 5 || rejected != 0 {
		t.Errorf("accepted %d, rejected %d", accepted, rejected)
	}
	arrived := e.rows("SELECT count() FROM usage_events WHERE arrived_ms NOT BETWEEN ? AND ?",
		time.Now().Add(-time.Hour).UnixMilli(), time.Now().UnixMilli())
	if arrived[0] != "(0)" {
		t.Errorf("%s deliveries did not arrive just now", arrived)
	}
}

func TestCaughtUpAlready(t *testing.T) {
	e := newEnv(t, 4)
	e.Publish(sessions(10)...)
	e.ingest(e.config(), e.deps())
	entries := e.rows("SELECT count(), sum(read) FROM ingest_batches")
	e.ingest(e.config(), e.deps())
	if now := e.rows("SELECT count(), sum(read) FROM ingest_batches"); !slices.Equal(now, entries) {
		t.Errorf("with nothing to do, the ledger went from %s to %s", entries, now)
	}
}

func TestRejectedIsKeptWhole(t *testing.T) { eachKafka(t, testRejectedIsKeptWhole) }

func testRejectedIsKeptWhole(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	huge := "{" + strings.Repeat(" ", 5<<20) + "}"
	e.Produce(schemas.TopicIVR, 0,
		kafka.Message{Key: []byte("acme"), Value: []byte(session("acme", "a1", 3)), Headers: header("trace", "42", "trace", "\x00\xff")},
		kafka.Message{}, // a null key and a null value
		kafka.Message{Key: []byte{}, Value: []byte{}},
		kafka.Message{Key: []byte("k"), Value: []byte(huge)},
		kafka.Message{Value: []byte(`{"agentId":"x"}`), Headers: header("ce_specversion", "1.0", "ce_id", "b1", "ce_source", "/s",
			"ce_type", "ivr.session", "ce_time", "2026-10-14T09:00:00Z", "ce_tenantid", "acme", "content-type", "application/json")},
		kafka.Message{Value: []byte(`{"entryPointId":"x","startTime":"2026-10-14T08:00:00Z"}`), Headers: header("ce_specversion", "1.0", "ce_id", "b2",
			"ce_source", "/s", "ce_type", "ivr.session", "ce_time", "2026-10-14T09:00:00Z", "ce_tenantid", "acme", "content-type", "application/json")},
		kafka.Message{Value: []byte(`{"specversion":"1.0","id":"s1","source":"/s","type":"ivr.session","time":"2026-10-14T09:00:00Z","tenantid":"acme",` +
			`"data":{"entryPointId":"y","startTime":"2026-10-14T08:00:00Z"}}`), Headers: header("content-type", "application/cloudevents+json; charset=utf-8")},
	)
	e.ingest(e.config(), e.deps())
	if accepted, rejected := e.balanced(); accepted != 2 || rejected != 5 {
		t.Fatalf("accepted %d, rejected %d", accepted, rejected)
	}
	if got := e.rows("SELECT id, entry_point, offset FROM usage_events ORDER BY offset"); !slices.Equal(got, []string{"('b2','x',5)", "('s1','y',6)"}) {
		t.Errorf("%s were accepted", got)
	}
	got := e.rows("SELECT offset, code, field, tenant, source, id, key, length(payload), headers FROM rejected WHERE code != 'missing_field' ORDER BY offset")
	want := []string{
		`(0,'unknown_type','type','acme','/test','a1','acme',` + fmt.Sprint(len(session("acme", "a1", 3))) + `,[('trace','42'),('trace','\0�')])`,
		`(1,'malformed_json','','','','','',0,[])`,
		`(2,'malformed_json','','','','','',0,[])`,
		`(3,'too_large','','','','','k',` + fmt.Sprint(len(huge)) + `,[])`,
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "�", "\xff")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rejected has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	letters := e.Read(schemas.TopicRejected)
	if len(letters) != 5 {
		t.Fatalf("%d dead letters", len(letters))
	}
	for _, m := range letters {
		head := map[string]string{}
		for _, h := range m.Headers {
			head[h.Key] = string(h.Value)
		}
		if head["apportion-topic"] != e.Prefix+schemas.TopicIVR || head["apportion-partition"] != "0" || head["apportion-message"] == "" {
			t.Errorf("headers %q", m.Headers)
		}
		switch head["apportion-offset"] {
		case "0":
			if string(m.Key) != "acme" || string(m.Value) != session("acme", "a1", 3) || head["apportion-code"] != "unknown_type" ||
				head["apportion-field"] != "type" || string(m.Headers[1].Value) != "\x00\xff" {
				t.Errorf("the first is %q %q %q", m.Key, m.Value, m.Headers)
			}
		case "1":
			if m.Key != nil || m.Value != nil {
				t.Errorf("null became %q %q", m.Key, m.Value)
			}
		case "2":
			if m.Key == nil || len(m.Key) != 0 || m.Value == nil || len(m.Value) != 0 {
				t.Errorf("empty became %v %v", m.Key, m.Value)
			}
		case "3":
			if string(m.Value) != huge {
				t.Errorf("the large one has %d bytes", len(m.Value))
			}
		case "4":
			if head["apportion-code"] != "missing_field" || head["ce_id"] != "b1" || string(m.Value) != `{"agentId":"x"}` {
				t.Errorf("the binary one is %q %q", m.Value, m.Headers)
			}
		default:
			t.Errorf("unexpected offset %q", head["apportion-offset"])
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/schemas"
)

// app is what the program makes of the server's configuration.
func (s *apiServer) app(t testing.TB) *app {
	t.Helper()
	a := &app{environ: os.Environ(), stdout: io.Discard, stderr: io.Discard}
	var err error
	if a.cfg, a.sources, err = config.Load(s.config, nil, nil); err != nil {
		t.Fatal(err)
	}
	a.log = newLogger(io.Discard, a.cfg)
	return a
}

// apiTopic reads a topic of a server of the API: each record as its headers, its key and its value.
func (s *apiServer) apiTopic(t testing.TB, topic string, from int64) (records []string) {
	t.Helper()
	a := s.app(t)
	client, err := a.kafka()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	partition := schemas.TopicPartition{Topic: a.topic(topic)}
	bounds, err := client.Bounds(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	for from < bounds[partition].End {
		from, err = client.Visit(t.Context(), partition, from, 1<<20, kafka.MaxWait, func(r *kafka.Record) error {
			text := ""
			for _, h := range r.Headers {
				text += fmt.Sprintf("%s=%s ", h.Key, h.Value)
			}
			records = append(records, fmt.Sprintf("%s%s: %s", text, r.Key, r.Value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return records
}

// apportion runs a command of the program on the server's Kafka and ClickHouse.
func (s *apiServer) apportion(t testing.TB, args string) string {
	t.Helper()
	var output bytes.Buffer
	code := run(context.Background(), append(strings.Fields(args), "--config", s.config), os.Environ(),
		strings.NewReader(""), &output, &output)
	if code != exitDone && code != exitFindings {
		t.Fatalf("apportion %s: exit code %d\n%s", args, code, &output)
	}
	return output.String()
}

// outcomes returns how many events were sent over HTTP, by outcome, and how many were refused, by code.
func (m *metrics) outcomes(t testing.TB) map[string]int {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		if name := f.GetName(); name == "apportion_sent_events_total" || name == "apportion_sent_refused_total" {
			for _, metric := range f.GetMetric() {
				counts[metric.GetLabel()[0].GetValue()] = int(metric.GetCounter().GetValue())
			}
		}
	}
	return counts
}

const (
	oneEvent   = "application/cloudevents+json"
	manyEvents = "application/cloudevents-batch+json"
	lineEvents = "application/x-ndjson"
)

// sentSession is an agent session of acme from /t, with other members of data.
func sentSession(id, more string) string {
	return sentEvent(id, "acme", "/t", "agent.session",
		`"agentId":"a","startTime":"2026-11-02T08:00:00Z","endTime":"2026-11-02T12:00:00Z"`+more)
}

func sentEvent(id, tenant, source, typ, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"time":"2026-11-02T12:00:00Z","tenantid":%q,"data":{%s}}`,
		id, source, typ, tenant, data)
}

// What is sent in each of the modes is on Kafka byte for byte, and what is refused is not.
func TestAPIEvents(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := startAPI(t)
	next := int64(len(s.apiTopic(t, schemas.TopicAgent, 0)))
	connect := int64(len(s.apiTopic(t, schemas.TopicConnect, 0)))
	arrived := func(topic string, from *int64, want ...string) {
		t.Helper()
		got := s.apiTopic(t, topic, *from)
		*from += int64(len(got))
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s has\n%s\nwant\n%s", topic, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	post := func(body string, headers ...string) apiAnswer {
		t.Helper()
		return s.ask(t, "publisher", "POST", "/events", body, headers...)
	}

	// Structured, with white space, escapes and members that nobody reads; again does no harm.
	odd := " \t" + strings.Replace(sentSession("s1", `,"x":[1.50e0,"\u0041\/",{}]`), `"id"`, ` "id"`, 1) + "\r\n"
	for range 2 {
		post(odd, "Content-Type", oneEvent+"; charset=utf-8").want(t, 202, `"accepted":1`, `"rejected":[]`)
		arrived(schemas.TopicAgent, &next, "content-type="+oneEvent+" acme: "+odd)
	}
	// JSON that is an event, as on Kafka.
	post(sentSession("s2", ""), "Content-Type", "application/json").want(t, 202, `"accepted":1`)
	arrived(schemas.TopicAgent, &next, "content-type=application/json acme: "+sentSession("s2", ""))

	// Binary: the attributes in headers, what is not ASCII percent-encoded, the data as it came.
	data := `{"channel":"sms", "quantity":"4"}`
	binary := []string{"Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "m%C3%A9 9%", "ce-source", `"/t"`,
		"ce-type", "connect.usage", "ce-time", "2026-11-02T12:00:00Z", "ce-tenantid", "acme", "ce-traceparent", "00-1"}
	post(data, binary...).want(t, 202, `"accepted":1`)
	arrived(schemas.TopicConnect, &connect, "content-type=application/json ce_id=mé 9% ce_source=/t ce_specversion=1.0 "+
		"ce_tenantid=acme ce_time=2026-11-02T12:00:00Z ce_traceparent=00-1 ce_type=connect.usage acme: "+data)
	post(data, append(binary, "ce-id", "%FF")...).want(t, 202, `"accepted":0`, `"code":"invalid_field","field":"id"`)
	post(data, append(binary, "ce-type", "agent.session")...).want(t, 202, `"accepted":0`, `"code":"missing_field","field":"agentId"`)
	post(data, append(binary, "ce-specversion", "0.3")...).want(t, 202, `"accepted":0`, `"code":"not_cloudevents"`)
	post(data, append(binary, "ce-padding", strings.Repeat("x", 70_000))...).want(t, 202, `"accepted":0`, `"code":"too_large"`)
	post(data, append(binary, "ce-source", "/u")...).want(t, 202, `"code":"forbidden","field":"source","value":"\"/u\""`)
	arrived(schemas.TopicConnect, &connect)

	// A batch: every reason to refuse one of its events, and the others go on.
	deep := strings.Repeat(`[`, 2000) + strings.Repeat(`]`, 2000)
	batch := []struct{ event, refused string }{
		{sentSession("b0", ""), ""},
		{sentSession("b1", `,"note":"`+strings.Repeat("x", schemas.MaxValueBytes)+`"`), "too_large "},
		{sentSession("b2", `,"agentId":"b"`), "malformed_json "},
		{strings.Replace(sentSession("b3", ""), "b3", "b\xff", 1), "malformed_json "},
		{sentSession("b4", `,"x":`+deep), "malformed_json "},
		{`"text"`, "malformed_json "},
		{strings.Replace(sentSession("b6", ""), "1.0", "1.1", 1), "not_cloudevents specversion"},
		{strings.Replace(sentSession("b7", ""), "agentId", "agent", 1), "missing_field agentId"},
		{sentEvent("b8", "acme", "/t", "agent.shift", ""), "unknown_type type"},
		{strings.Replace(sentSession("b9", ""), "T12:00:00Z", "T12:00:00", 1), "invalid_field time"},
		{sentSession("b10", `,"licence_class":"premium"`), "misspelt_field licenceClass"},
		{strings.Replace(sentSession("b11", ""), `2026-11-02T12:00:00Z"}`, `2026-11-02T07:00:00Z"}`, 1), "end_before_start endTime"},
		{strings.Replace(sentSession("b12", ""), `2026-11-02T12:00:00Z"}`, `2026-12-24T07:00:00Z"}`, 1), "implausible_duration endTime"},
		{sentEvent("b13", "named", "/t", "connect.usage", `"channel":"sms","quantity":1`), "forbidden tenantid"},
		{sentEvent("b14", "acme", "/T", "connect.usage", `"channel":"sms","quantity":1`), "forbidden source"},
		{sentEvent("b15", "Acme", "/t", "connect.usage", `"channel":"sms","quantity":1`), "forbidden tenantid"},
		{sentEvent("b16", "acme", "/t", "connect.usage", `"channel":"sms","quantity":1`), ""},
		{sentSession("b17", `,"voided":true`), ""},
	}
	var events, want []string
	for i, b := range batch {
		events = append(events, b.event)
		if b.refused != "" {
			want = append(want, fmt.Sprint(i, " ", b.refused))
		}
	}
	body := "[ " + strings.Join(events, " ,\n") + "\n]\n"
	refusals := func(body string) (accepted int, refused []string) {
		t.Helper()
		var answer struct {
			Accepted int
			Rejected []struct {
				Index                        int
				Code, Field, Message, Advice string
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		for _, r := range answer.Rejected {
			refused = append(refused, fmt.Sprint(r.Index, " ", r.Code, " ", r.Field))
			if r.Message == "" || r.Advice == "" {
				t.Errorf("%d has no message or advice: %v", r.Index, r)
			}
		}
		return answer.Accepted, refused
	}
	answer := post(body, "Content-Type", manyEvents)
	answer.want(t, 202)
	if accepted, refused := refusals(answer.body); accepted != 3 || strings.Join(refused, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d accepted, refused\n%s\nwant 3 and\n%s", accepted, strings.Join(refused, "\n"), strings.Join(want, "\n"))
	}
	arrived(schemas.TopicAgent, &next, "content-type="+oneEvent+" acme: "+events[0], "content-type="+oneEvent+" acme: "+events[17])
	arrived(schemas.TopicConnect, &connect, "content-type="+oneEvent+" acme: "+events[16])
	counts := s.counted.outcomes(t)
	if counts["accepted"] != 7 || counts["rejected"] != 20 || counts["forbidden"] != 4 || counts["malformed_json"] != 4 {
		t.Errorf("the metrics have %v", counts)
	}

	// An event on each line: each for itself, however broken another is.
	answer = post(sentSession("l0", "")+"\r\n \n{\n"+sentSession("l2", ""), "Content-Type", lineEvents)
	answer.want(t, 202)
	if accepted, refused := refusals(answer.body); accepted != 2 || strings.Join(refused, "\n") != "1 malformed_json " {
		t.Errorf("of lines %d accepted, refused %q", accepted, refused)
	}
	arrived(schemas.TopicAgent, &next, "content-type="+oneEvent+" acme: "+sentSession("l0", ""),
		"content-type="+oneEvent+" acme: "+sentSession("l2", ""))

	// What is no batch is refused as a whole.
	good := sentSession("n1", "")
	for _, c := range []struct {
		body, contentType string
		status            int
		code              string
	}{
		{"[" + good + "] x", manyEvents, 400, "malformed_request"},
		{"[" + good, manyEvents, 400, "malformed_request"},
		{"\ufeff[" + good + "]", manyEvents, 400, "malformed_request"},
		{good, manyEvents, 400, "malformed_request"},
		{"", manyEvents, 400, "malformed_request"},
		{"[" + strings.Repeat(good+",", 1000) + good + "]", manyEvents, 413, "body_too_large"},
		{"[" + strings.Repeat(" ", 4<<20) + "]", manyEvents, 413, "body_too_large"},
		{good, "text/plain", 415, "unsupported_media_type"},
		{good, "application/cloudevents+avro", 415, "unsupported_media_type"},
		{good, "application/cloudevents-batch+xml", 415, "unsupported_media_type"},
		{"[" + good + "]", "application/json", 202, "malformed_json"},
		{"[" + good + "]", oneEvent, 202, "malformed_json"},
		{"\ufeff" + good, oneEvent, 202, "malformed_json"},
		{good + good, oneEvent, 202, "malformed_json"},
		{"[]", manyEvents, 202, `"accepted":0`},
		{strings.Repeat(good+"\n", 1001), lineEvents, 413, "body_too_large"},
	} {
		post(c.body, "Content-Type", c.contentType).want(t, c.status, c.code)
	}
	s.ask(t, "operator", "POST", "/events", good, "Content-Type", oneEvent).want(t, 403, `"code":"forbidden"`)
	s.ask(t, "tenant", "POST", "/events", good, "Content-Type", oneEvent).want(t, 403)
	s.ask(t, "", "POST", "/events", good, "Content-Type", oneEvent).want(t, 401)
	arrived(schemas.TopicAgent, &next)
	arrived(schemas.TopicConnect, &connect)

	// The most that one request may bring, in order.
	var thousand, lines []string
	for i := range 1000 {
		thousand = append(thousand, sentSession(fmt.Sprint("k", i), ""))
		lines = append(lines, "content-type="+oneEvent+" acme: "+thousand[i])
	}
	post("["+strings.Join(thousand, ",")+"]", "Content-Type", manyEvents).want(t, 202, `"accepted":1000`)
	arrived(schemas.TopicAgent, &next, lines...)
	s.checkEvents(t, refusals)
	s.followPage(t, "how-to/publish-over-http.md", "publisher")
	s.takenIn(t)
}

// checkEvents asks what would become of events.
func (s *apiServer) checkEvents(t *testing.T, refusals func(string) (int, []string)) {
	check := func(as string, events ...string) apiAnswer {
		t.Helper()
		return s.ask(t, as, "POST", "/events:check", "["+strings.Join(events, ",")+"]", "Content-Type", manyEvents)
	}
	start := `"agentId":"a","startTime":"2026-%sT08:00:00Z","endTime":"2026-%[1]sT12:00:00Z"`
	session := func(id, date, more string) string {
		return sentEvent(id, "acme", "/t", "agent.session", fmt.Sprintf(start, date)+more)
	}
	foreign := sentEvent("f", "named", "/t", "connect.usage", `"channel":"sms","quantity":1`)
	bad := sentSession("x", `,"revision":"1"`)
	events := []string{
		session("mapped", "11-02", ""), session("own", "11-02", `,"subscriptionId":"Sub1","licenceClass":"premium"`),
		session("primary", "10-01", ""), bad, foreign, session("lacked", "11-02", `,"subscriptionId":"Sub9"`),
		strings.Replace(session("unmapped", "11-02", ""), `"a"`, `"zz"`, 1), session("none", "01-01", `,"voided":true`),
		sentEvent("c", "acme", "/t", "connect.usage", `"channel":"sms","quantity":1,"subscriptionId":"Sub2"`),
		strings.ReplaceAll(session("early", "11-02", ""), "2026-11-02T", "2025-11-02T"),
	}
	answer := check("publisher", events...)
	answer.want(t, 200)
	if accepted, refused := refusals(answer.body); accepted != 8 || strings.Join(refused, ", ") != "3 invalid_field revision, 4 forbidden tenantid" {
		t.Errorf("%d accepted, refused %q", accepted, refused)
	}
	var checked struct {
		Events []struct {
			Index                                                   int
			ID, Period, Meter, SubscriptionID, AttributedBy, Reason string
			Issued, Voided                                          bool
			Findings                                                []string
		}
	}
	if err := json.Unmarshal([]byte(answer.body), &checked); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range checked.Events {
		got += fmt.Sprintln(e.Index, e.ID, e.Period, e.Issued, e.Meter, e.SubscriptionID, e.AttributedBy, e.Voided, e.Findings)
		if e.Reason == "" {
			t.Errorf("%s has no reason", e.ID)
		}
	}
	const want = `0 mapped 2026-11 false agent_standard Sub2 mapped false []
1 own 2026-11 false agent_premium Sub1 own false []
2 primary 2026-10 true agent_standard Sub1 primary false [unmapped]
5 lacked 2026-11 false agent_standard Sub2 mapped false [unknown_subscription]
6 unmapped 2026-11 false agent_standard Sub1 primary false [unmapped]
7 none 2026-01 false agent_standard Sub1 primary true []
8 c 2026-11 false connect.sms Sub1 primary false []
9 early 2025-11 false agent_standard   false [never_billed]
`
	if got != want {
		t.Errorf("the check has\n%s\nwant\n%s", got, want)
	}
	check("operator", foreign, sentEvent("u", "nobody", "/u", "ivr.session",
		`"entryPointId":"e","startTime":"2999-11-30T23:59:59Z"`)).want(t, 200,
		`"id":"f"`, `"period":"2026-11"`, `"period":"2999-11"`, `"findings":["unknown_tenant","open_session","ahead"]`)
	check("publisher", "nonsense").want(t, 400)
	check("finance", foreign).want(t, 403)
	check("foreign", foreign).want(t, 403)
	if got := check("publisher").want(t, 200); got["accepted"] != 0.0 {
		t.Errorf("of none %v", got)
	}
}

// takenIn has ingest take in what was published, which it accepts, all of it, and counts once.
func (s *apiServer) takenIn(t *testing.T) {
	s.apportion(t, "ingest --until-caught-up")
	if rejected := s.apportion(t, "rejected list"); !strings.Contains(rejected, "no refused delivery is chosen") {
		t.Errorf("ingest refuses what was published:\n%s", rejected)
	}
}

// Refused deliveries are listed by pages, shown whole and replayed, to operators all and to publishers their own.
func TestAPIRejected(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := startAPI(t)
	bad := `"agentId":"a","startTime":"2026-11-02T08:00:00"`
	lines := []string{
		sentEvent("r0", "acme", "/t", "agent.session", bad),
		sentEvent("r1", "acme", "/u", "agent.session", bad),
		sentEvent("r2", "named", "/t", "agent.session", bad),
		strings.Replace(sentSession("r3", ""), `"acme"`, `5`, 1),
		sentEvent("r4", "acme", "/t", "connect.usage", `"channel":"SMS","quantity":1`),
		strings.Replace(sentEvent("r5", "acme", "/t", "agent.session", bad), "{", "{\"x\":\"\xff\",", 1),
	}
	s.apportion(t, "publish "+s.write(t, "bad.ndjson", strings.Join(lines, "\n")))
	s.apportion(t, "ingest --until-caught-up")

	list := func(as, query string) (ids []string, next string) {
		t.Helper()
		tree := s.ask(t, as, "GET", "/rejected?"+query, "").want(t, 200)
		for _, item := range tree["items"].([]any) {
			ids = append(ids, item.(map[string]any)["id"].(string))
		}
		next, _ = tree["next"].(string)
		return ids, next
	}
	for _, c := range []struct{ as, query, want string }{
		{"operator", "", "    r0 r1 r2 r3 r4"}, // one has no id that can be read
		{"operator", "tenant=acme", "r0 r1 r4"},
		{"operator", "source=/t&tenant=named", "r2"},
		{"operator", "topic=usage.connect.v1", "r4"},
		{"operator", "code=malformed_json", ""},
		{"operator", "code=malformed_json,invalid_field&source=/u&open=true", "r1"},
		{"operator", "to=2020-01-01T00:00:00Z", "-"},
		{"publisher", "", "r0 r4"},
		{"publisher", "open=true&from=2020-01-01T00:00:00Z", "r0 r4"},
		{"publisher", "tenant=named", "-"},
		{"publisher", "source=/u", "-"},
		{"publisher", "tenant=acme&source=/t&topic=usage.agent.v1", "r0"},
	} {
		ids, _ := list(c.as, c.query)
		slices.Sort(ids)
		want := strings.Fields(c.want)
		if strings.HasPrefix(c.want, " ") || c.want == "" {
			want = append([]string{""}, want...)
		}
		if c.want == "-" {
			want = nil
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s sees with %q %q, want %q", c.as, c.query, ids, want)
		}
	}
	for _, open := range []string{"", "&open=true"} {
		all, _ := list("operator", "limit=500"+open)
		var paged []string
		for ids, next := list("operator", "limit=1"+open); ; ids, next = list("operator", "limit=1"+open+"&after="+next) {
			paged = append(paged, ids...)
			if next == "" {
				break
			}
		}
		if len(all) != 6 || !slices.Equal(all, paged) {
			t.Errorf("all at once %q, by pages %q", all, paged)
		}
	}
	s.ask(t, "operator", "GET", "/rejected?code=not_due", "").want(t, 400, `"field":"code[0]"`)
	s.ask(t, "operator", "GET", "/rejected?topic=usage.rejected.v1", "").want(t, 400, `"field":"topic"`)
	s.ask(t, "operator", "GET", "/rejected?from=yesterday", "").want(t, 400)
	for _, role := range []string{"finance", "analyst", "tenant", "foreign"} {
		s.ask(t, role, "GET", "/rejected", "").want(t, 403)
	}
	s.ask(t, "publisher", "GET", "/rejected?code=invalid_field", "", "Accept", "text/csv").want(t, 200,
		"time,topic,partition,offset,tenantId,source,id,code,field,value,message\r\n", `,acme,/t,r4,invalid_field,channel,"""SMS""",`)

	// Counted by code, tenant and source, the most first.
	for _, c := range []struct{ as, query, want string }{
		{"operator", "", "2 invalid_field acme /t, 1 invalid_field  /t, 1 invalid_field acme /u, 1 invalid_field named /t, 1 malformed_json  "},
		{"operator", "open=true&tenant=acme", "2 invalid_field acme /t, 1 invalid_field acme /u"},
		{"publisher", "", "2 invalid_field acme /t"},
		{"publisher", "open=true&topic=usage.connect.v1", "1 invalid_field acme /t"},
		{"publisher", "source=/u", ""},
	} {
		var counts []string
		for _, item := range s.ask(t, c.as, "GET", "/rejected:count?"+c.query, "").want(t, 200)["items"].([]any) {
			n := item.(map[string]any)
			counts = append(counts, fmt.Sprint(n["deliveries"], " ", n["code"], " ", n["tenantId"], " ", n["source"]))
		}
		if got := strings.Join(counts, ", "); got != c.want {
			t.Errorf("%s counts with %q %s, want %s", c.as, c.query, got, c.want)
		}
	}
	s.ask(t, "operator", "GET", "/rejected:count?code=not_due", "").want(t, 400, `"field":"code[0]"`)
	s.ask(t, "analyst", "GET", "/rejected:count", "").want(t, 403)

	// One whole, its bytes in base64 where they are no text.
	path := func(i int) string {
		topic, offset := schemas.TopicAgent, 11+i
		switch i {
		case 4:
			topic, offset = schemas.TopicConnect, 2
		case 5:
			offset = 15
		}
		return fmt.Sprintf("%s/0/%d", topic, offset)
	}
	s.ask(t, "publisher", "GET", "/rejected/"+path(0), "").want(t, 200, `"id":"r0"`, `"code":"invalid_field"`, `"open":true`,
		`"accepted":[]`, `"key":"acme"`, `"payload":"{\"specversion\"`, "seconds where milliseconds belong")
	s.ask(t, "operator", "GET", "/rejected/"+path(5), "").want(t, 200, `"code":"malformed_json"`, `"payload":{"base64":"eyJ4Ijoi/`)
	for _, i := range []int{1, 2, 3, 5, 80} {
		s.ask(t, "publisher", "GET", "/rejected/"+path(i), "").want(t, 404, `"code":"no_refusal"`)
	}
	s.ask(t, "operator", "GET", "/rejected/registry.commands.v1/0/0", "").want(t, 404)

	// Replayed: what would be refused again is not published; what is answered is left alone.
	s.apportion(t, "publish "+s.write(t, "good.ndjson", strings.Join([]string{
		sentEvent("r4", "acme", "/t", "connect.usage", `"channel":"sms","quantity":1`),
		sentSession("voided", `,"voided":true`),
		sentEvent("unallocated", "acme", "/t", "agent.session",
			`"agentId":"a","startTime":"2025-11-02T08:00:00Z","endTime":"2025-11-02T12:00:00Z"`),
		sentEvent("unknown", "stranger", "/t", "agent.session", `"agentId":"a","startTime":"2026-11-02T08:00:00Z"`),
	}, "\n")))
	s.apportion(t, "ingest --until-caught-up")
	for query, fate := range map[string]string{"tenant=acme&source=/t&id=voided": "voided",
		"tenant=acme&source=/t&id=unallocated": "unallocated", "tenant=stranger&source=/t&id=unknown": "unknown_tenant"} {
		items := s.ask(t, "operator", "GET", "/deliveries?"+query, "").want(t, 200, `"fate":"`+fate+`"`)["items"].([]any)
		if d := items[0].(map[string]any); len(items) != 1 || d["subscriptionId"] != nil {
			t.Errorf("%s has %v", query, items)
		}
	}
	before := len(s.apiTopic(t, schemas.TopicAgent, 0)) + len(s.apiTopic(t, schemas.TopicConnect, 0))
	replay := func(as, body string) apiAnswer { return s.ask(t, as, "POST", "/rejected:replay", body) }
	place := func(i int) string {
		parts := strings.Split(path(i), "/")
		return fmt.Sprintf(`{"topic":%q,"partition":0,"offset":%s}`, parts[0], parts[2])
	}
	replay("publisher", `{"dryRun":true}`).want(t, 200, `"dryRun":true,"replayed":0,"accepted":0,"refused":1`, `"id":"r0"`)
	replay("publisher", `{"places":[`+place(4)+`]}`).want(t, 200, `"replayed":0,"accepted":1,"refused":0`, "revision 0 of it has been accepted")
	replay("publisher", `{"places":[`+place(0)+`,`+place(1)+`]}`).want(t, 404, `"code":"no_refusal"`)
	replay("publisher", `{"places":[`+place(3)+`],"filter":{"tenant":"acme"}}`).want(t, 404)
	replay("publisher", `{"filter":{"tenant":"named"}}`).want(t, 200, `"refused":0,"deliveries":[]`)
	replay("publisher", `{"filter":{"source":"/u"}}`).want(t, 200, `"deliveries":[]`)
	replay("publisher", `{"filter":{"tenants":"acme"}}`).want(t, 400)
	replay("operator", `{"filter":{"code":["invalid_field"]}}`).want(t, 200, `"replayed":0,"accepted":0,"refused":4`)
	replay("analyst", `{}`).want(t, 403)
	s.rejectedPages(t, path)
	if after := len(s.apiTopic(t, schemas.TopicAgent, 0)) + len(s.apiTopic(t, schemas.TopicConnect, 0)); after != before {
		t.Errorf("%d deliveries were published", after-before)
	}

	// What an older version refused, and this one would not, is published, and accepted once it is taken in.
	s.sql(t, `INSERT INTO rejected SELECT * REPLACE (replaceOne(payload, '08:00:00"', '08:00:00Z"') AS payload)
		FROM rejected WHERE id = 'r1'`)
	replay("operator", `{"places":[`+place(1)+`]}`).want(t, 200, `"dryRun":false,"replayed":1,"accepted":0,"refused":0`)
	if after := len(s.apiTopic(t, schemas.TopicAgent, 0)) + len(s.apiTopic(t, schemas.TopicConnect, 0)); after != before+1 {
		t.Errorf("%d deliveries were published, want 1", after-before)
	}
	s.apportion(t, "ingest --until-caught-up")
	s.ask(t, "operator", "GET", "/deliveries?tenant=acme&source=/u&id=r1", "").want(t, 200, `"fate":"winner"`)
	replay("operator", `{"places":[`+place(1)+`]}`).want(t, 200, `"replayed":0,"accepted":1,"refused":0`)
	s.correctedPages(t, "/rejected/"+path(0))
}

// write writes a file beside the server's configuration, and returns its path.
func (s *apiServer) write(t testing.TB, name, content string) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(s.config), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Deliveries come with what became of each, by event and by agent, and by pages.
func TestAPIDeliveries(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	fates := func(as, query string) (found []string, next string) {
		t.Helper()
		tree := s.ask(t, as, "GET", "/deliveries?"+query, "").want(t, 200)
		for _, item := range tree["items"].([]any) {
			d := item.(map[string]any)
			found = append(found, fmt.Sprint(d["id"], " ", d["revision"], " ", d["offset"], " ", d["fate"], " ", d["meter"], " ",
				d["subscriptionId"], " ", d["attributedBy"], " ", d["agent"]))
		}
		next, _ = tree["next"].(string)
		return found, next
	}
	for _, c := range []struct{ as, query, want string }{
		{"operator", "tenant=acme&source=/t&id=a", "a 0 0 winner agent_standard Sub2 mapped a, a 0 5 duplicate <nil> <nil> <nil> a"},
		{"publisher", "tenant=acme&source=/t&id=d", "d 0 3 superseded <nil> <nil> <nil> d, d 1 4 winner agent_standard Sub1 own d"},
		{"analyst", "tenant=acme&source=/t&id=m1", "m1 0 0 winner connect.sms Sub1 primary <nil>"},
		{"analyst", "tenant=acme&source=/t&id=d", "d 0 3 superseded <nil> <nil> <nil> <nil>, d 1 4 winner agent_standard Sub1 own <nil>"},
		{"operator", "tenant=acme&source=/u&id=d", ""},
		{"operator", "tenant=nobody&source=/t&id=d", ""},
		{"operator", "tenant=acme&agent=a&from=2026-10-14T08:00:00Z&to=2026-10-16T08:00:00Z",
			"a 0 0 winner agent_standard Sub2 mapped a, a 0 5 duplicate <nil> <nil> <nil> a, e 0 6 winner agent_standard Sub2 mapped a"},
		{"operator", "tenant=acme&agent=a&from=2026-10-14T08:00:01Z&to=2026-10-15T08:00:00Z", ""},
		{"operator", "tenant=named&agent=a&from=2026-10-01T00:00:00Z&to=2026-11-01T00:00:00Z", ""},
	} {
		if got, _ := fates(c.as, c.query); strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s\n%s\nwant\n%s", c.as, c.query, strings.Join(got, ", "), c.want)
		}
	}
	const october = "tenant=acme&agent=a&from=2026-10-01T00:00:00Z&to=2026-11-01T00:00:00Z"
	all, _ := fates("operator", october)
	var paged []string
	for got, next := fates("operator", october+"&limit=1"); ; got, next = fates("operator", october+"&limit=1&after="+next) {
		paged = append(paged, got...)
		if next == "" {
			break
		}
	}
	if len(all) != 4 || !slices.Equal(all, paged) {
		t.Errorf("all at once %q, by pages %q", all, paged)
	}
	s.ask(t, "operator", "GET", "/deliveries?tenant=acme&source=/t&id=c", "", "Accept", "text/csv").want(t, 200,
		"tenantId,source,id,topic,partition,offset,arrivedAt,fate,", `,winner,0,`, "2026-10-14T09:00:00.000Z")
	s.ask(t, "analyst", "GET", "/deliveries?"+october, "").want(t, 403, `"code":"forbidden"`)
	s.ask(t, "publisher", "GET", "/deliveries?tenant=named&source=/t&id=n1", "").want(t, 404)
	s.ask(t, "publisher", "GET", "/deliveries?source=/t&id=n1", "").want(t, 400)
	for _, query := range []string{"&source=/t", "&agent=a", "&agent=a&from=2026-10-01T00:00:00Z", "&source=/t&id=a&agent=a",
		"&source=/t&id=a&from=2026-10-01T00:00:00Z", "&agent=a&from=x&to=y", ""} {
		s.ask(t, "operator", "GET", "/deliveries?tenant=acme"+query, "").want(t, 400, `"code":"malformed_request"`)
	}
	for _, role := range []string{"finance", "tenant", "foreign"} {
		s.ask(t, role, "GET", "/deliveries?tenant=acme&source=/t&id=a", "").want(t, 403)
	}
}

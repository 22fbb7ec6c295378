package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apportion/deploy/embedded/servicetest"
)

// What a tenant uses, by day and month, over the day, and now, as each role may see it.
func TestAPIUsage(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const october = "from=2026-10-01&to=2026-11-01"
	get := func(as, path string) apiAnswer { return s.ask(t, as, "GET", "/tenants/"+path, "") }
	for _, path := range []string{"usage", "concurrency", "live"} {
		get("", "acme/"+path).want(t, 401)
		get("publisher", "acme/"+path).want(t, 403)
		get("foreign", "acme/"+path).want(t, 404, `"code":"not_found"`)
		get("operator", "nobody/"+path).want(t, 404)
		for _, role := range []string{"operator", "finance", "analyst", "tenant"} {
			get(role, "acme/"+path).want(t, 200, `"asOf":{"registryOffset":2,"positions":[{"topic":"`, `"ageMs":0`)
		}
	}

	// Of the day of the peak: the whole, whose peak is not the sum of those of the subscriptions, and each of them.
	day := get("tenant", "acme/usage?from=2026-10-14&to=2026-10-15")
	day.want(t, 200,
		`{"period":"2026-10","date":"2026-10-14","meter":"agent_standard","subscriptionId":"","peak":4,"peakAt":"2026-10-14T10:00:00.000Z",`+
			`"entitled":2,"events":4,"agents":4,"milliseconds":81000000,"units":"0"}`,
		`"meter":"agent_standard","subscriptionId":"Sub1","department":"X","peak":2,"peakAt":"2026-10-14T10:00:00.000Z","entitled":1,"events":2`,
		`"meter":"agent_standard","subscriptionId":"Sub2","department":"Y","peak":2,"peakAt":"2026-10-14T08:00:00.000Z","entitled":1,"events":2`,
		`"meter":"connect.sms","subscriptionId":"Sub1","department":"X","peak":0,"entitled":0,"events":1,"agents":0,"milliseconds":0,"units":"4"}`)
	// Of the month: the greatest of the days, and each agent once.
	month := get("analyst", "acme/usage?by=month&"+october)
	month.want(t, 200,
		`{"period":"2026-10","meter":"agent_standard","subscriptionId":"","peak":4,"peakAt":"2026-10-14T10:00:00.000Z","entitled":2,"events":6,"agents":4,`,
		`"meter":"connect.sms","subscriptionId":"","peak":0,"entitled":0,"events":2,"agents":0,"milliseconds":0,"units":"5"}`)
	get("finance", "named/usage?by=month&meter=agent_standard&"+october).want(t, 200, `"subscriptionId":"","peak":1`, `"events":3,"agents":3`)
	if body := get("finance", "acme/usage?by=month&from=2026-10-15&to=2026-10-16&subscription=Sub2").body; strings.Count(body, `"period"`) != 1 ||
		!strings.Contains(body, `"peak":1,"peakAt":"2026-10-15T08:00:00.000Z"`) {
		t.Errorf("of one subscription on one date: %s", body)
	}

	// Pages have each row once.
	seen, next := "", ""
	for pages := 0; ; pages++ {
		tree := get("finance", "acme/usage?limit=2&"+october+next).want(t, 200)
		for _, item := range tree["items"].([]any) {
			row := item.(map[string]any)
			seen += fmt.Sprintln(row["date"], row["meter"], row["subscriptionId"])
		}
		after, more := tree["next"].(string)
		if !more {
			break
		}
		if next = "&after=" + after; pages > 10 {
			t.Fatal("the pages do not end")
		}
	}
	if want := `2026-10-14 agent_standard 
2026-10-14 agent_standard Sub1
2026-10-14 agent_standard Sub2
2026-10-14 connect.sms 
2026-10-14 connect.sms Sub1
2026-10-15 agent_standard 
2026-10-15 agent_standard Sub1
2026-10-15 agent_standard Sub2
2026-10-15 connect.sms 
2026-10-15 connect.sms Sub1
2026-10-16 agent_standard 
2026-10-16 agent_standard Sub2
`; seen != want {
		t.Errorf("the pages have\n%s", seen)
	}
	get("finance", "acme/usage?by=month"+next).want(t, 400, `"code":"invalid_cursor"`)
	s.ask(t, "finance", "GET", "/tenants/acme/usage?from=2026-10-14&to=2026-10-15&meter=connect.sms", "", "Accept", "text/csv").
		want(t, 200, "period,date,meter,subscriptionId,department,peak,peakAt,entitled,events,agents,milliseconds,units\r\n"+
			"2026-10,2026-10-14,connect.sms,,,0,,0,1,0,0,4\r\n2026-10,2026-10-14,connect.sms,Sub1,X,0,,0,1,0,0,4\r\n")

	// Over the day: two from ten in Stockholm, four at noon, the open one until midnight, and into the next day.
	concurrency := get("tenant", "acme/concurrency?from=2026-10-14&to=2026-10-16&step=1h")
	concurrency.want(t, 200, `"tenantId":"acme","timeZone":"Europe/Stockholm","meter":"agent_standard","from":"2026-10-14","to":"2026-10-16","stepMs":3600000`,
		`"peak":{"at":"2026-10-14T10:00:00.000Z","live":4,"pool":2}`)
	if got, want := liveOf(t, concurrency, 0), "0 0 0 0 0 0 0 0 0 0 2 3 4 4 1 1 1 1 1 1 1 1 1 1 "+
		"1 1 1 1 1 1 1 1 1 1 2 1 1 1 0 0 0 0 0 0 0 0 0 0"; got != want {
		t.Errorf("live %s, want %s", got, want)
	}
	own := get("tenant", "acme/concurrency?from=2026-10-14&to=2026-10-15&step=1h&by=subscription")
	own.want(t, 200, `{"subscriptionId":"Sub1","department":"X","peak":{"at":"2026-10-14T10:00:00.000Z","live":2,"pool":1}`)
	if got, want := liveOf(t, own, 1), "0 0 0 0 0 0 0 0 0 0 2 2 2 2 0 0 0 0 0 0 0 0 0 0"; got != want {
		t.Errorf("of Sub2 live %s, want %s", got, want)
	}
	if strings.Contains(own.body, "Sub3") {
		t.Errorf("Sub3 is not active then: %s", own.body)
	}
	// A date of 25 hours, from its own midnight on; the pool is there without usage, too.
	long := get("finance", "acme/concurrency?from=2026-10-25&to=2026-10-26&step=30m&meter=ivr_port")
	from, _ := time.Parse(time.RFC3339, "2026-10-24T22:00:00Z")
	long.want(t, 200, fmt.Sprintf(`"points":[[%d,0,4],`, from.UnixMilli()), fmt.Sprintf(`[%d,0,4]]`, from.Add(25*time.Hour-30*time.Minute).UnixMilli()))
	if n := len(strings.Fields(liveOf(t, long, 0))); n != 50 {
		t.Errorf("the date of 25 hours has %d half hours", n)
	}
	get("finance", "acme/concurrency?from=2026-10-01&to=2026-11-01&step=1m").want(t, 200)
	get("finance", "acme/concurrency?from=2026-10-01&to=2026-11-02").want(t, 400, `"field":"to"`, "32 dates")
	for _, bad := range []string{"from=2026-10-02&to=2026-10-01", "from=2026-10-01&to=2026-10-01", "from=2026-13-01", "step=2m", "meter=connect.sms",
		"by=agent", "from=yesterday", "date=2026-10-01"} {
		get("finance", "acme/concurrency?"+bad).want(t, 400, `"code":"malformed_request"`)
	}
	get("finance", "acme/usage?by=week").want(t, 400)
	get("finance", "acme/usage?from=2026-10-02&to=2026-10-01").want(t, 400)
}

// The overage of a period, who pays it, and whose usage it is, without agents for those who may not see them.
func TestAPIOverage(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	get := func(as, path string) apiAnswer { return s.ask(t, as, "GET", "/tenants/"+path, "") }
	const (
		peak = `{"meter":"agent_standard","live":4,"pool":2,"excess":2,"payer":"Sub1","why":"Sub1 is the primary at the peak instant, on 2026-10-14 (R16)`
		at   = `"instant":{"at":"2026-10-14T10:00:00.000Z","date":"2026-10-14","live":4,"entitled":2,"subscriptions":[` +
			`{"subscriptionId":"Sub1","active":true,"firstStart":"2026-01-01","version":"2026-01-01","entitled":1,"used":2,"over":1},` +
			`{"subscriptionId":"Sub2","active":true,"firstStart":"2026-10-10","version":"2026-01-01","entitled":1,"used":2,"over":1}]`
		none = `{"meter":"agent_premium","live":0,"pool":0,"excess":0}`
	)
	for _, role := range []string{"operator", "finance"} {
		get(role, "acme/periods/2026-10/overage").want(t, 200, `"basis":{"issued":true`, peak, at, none,
			`"id":"c","type":"agent.session","agent":"c"`, `{"meter":"ivr_port","live":0,"pool":4,"excess":0}`)
	}
	for _, role := range []string{"analyst", "tenant"} {
		answer := get(role, "acme/periods/2026-10/overage")
		answer.want(t, 200, peak, at, none, `"id":"c","type":"agent.session","subscriptionId":"Sub1"`)
		if strings.Contains(answer.body, `"agent":`) {
			t.Errorf("%s sees agents: %s", role, answer.body)
		}
	}
	named := get("foreign", "named/periods/2026-10/overage")
	named.want(t, 200, `{"meter":"agent_standard","live":3,"pool":1,"excess":2,"payer":"Named1","why":"Named1 is the closing primary, on 2026-10-31 (R16)`,
		`"distinctAgents":{"agents":3,"entitled":1,"entitledOn":"2026-10-01","closing":"2026-10-31"`, `"entitled":1,"used":3,"over":2}]`)
	if strings.Contains(named.body, `"agent":`) {
		t.Errorf("an administrator sees agents: %s", named.body)
	}
	// One that is not issued has nothing in it yet.
	get("tenant", "acme/periods/2026-12/overage").want(t, 200, `"basis":{"issued":false,"registryOffset":2,`,
		`{"meter":"agent_standard","live":0,"pool":2,"excess":0}`, `"asOf":{"registryOffset":2,`)
	get("foreign", "acme/periods/2026-10/overage").want(t, 404)
	get("publisher", "acme/periods/2026-10/overage").want(t, 403)
	get("finance", "acme/periods/2026-13/overage").want(t, 400)
	get("finance", "acme/periods/october/overage").want(t, 400)
}

// What is live now shows once it is taken in, whatever aggregation has computed: open sessions until they have lasted as
// long as they may, those that have begun and not ended, and each agent once.
func TestAPILive(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := startAPI(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	do := func(command string) {
		t.Helper()
		var output bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(command), "--config", s.config), os.Environ(), strings.NewReader(""), &output, &output); code != exitDone {
			t.Fatalf("apportion %s: exit code %d\n%s", command, code, &output)
		}
	}
	do("registry apply -f " + write("live.yaml", `tenants:
- id: busy
  name: Busy AB
  timeZone: UTC
  telephony: webex_calling
  subscriptions:
  - {id: Busy1, name: X, licenceModel: concurrent, plan: flex, deployment: cloud, currency: SEK, billing: monthly, terms: [{from: 2020-01-01, to: 2099-01-01}], versions: [{from: 2020-01-01, commitments: {agent_standard: 3}, prices: {commitment: {agent_standard: 1}, overage: {agent_standard: 1, ivr_port: 1}}}]}
`))
	s.ask(t, "operator", "GET", "/tenants/busy/live", "").want(t, 200, `{"meter":"agent_standard","live":0,"pool":3}`, `{"meter":"ivr_port","live":0,"pool":6}`)
	now := time.Now()
	var events strings.Builder
	publish := func(id, kind, who string, start, end time.Duration) {
		data := fmt.Sprintf(`%s,"startTime":%q`, who, now.Add(start).UTC().Format(time.RFC3339))
		if end != 0 {
			data += fmt.Sprintf(`,"endTime":%q`, now.Add(end).UTC().Format(time.RFC3339))
		}
		fmt.Fprintf(&events, `{"specversion":"1.0","id":%q,"source":"/t","type":%q,"time":%q,"tenantid":"busy","data":{%s}}`+"\n",
			id, kind, now.UTC().Format(time.RFC3339), data)
	}
	publish("open", "agent.session", `"agentId":"a"`, -2*time.Second, 0)
	publish("open, too", "agent.session", `"agentId":"a"`, -time.Second, 0)
	publish("ends later", "agent.session", `"agentId":"b"`, -2*time.Second, time.Hour)
	publish("open for too long", "agent.session", `"agentId":"c"`, -25*time.Hour, 0)
	publish("begins later", "agent.session", `"agentId":"d"`, time.Hour, 2*time.Hour)
	publish("call", "ivr.session", `"entryPointId":"e"`, -2*time.Second, 0)
	publish("call, too", "ivr.session", `"entryPointId":"e"`, -2*time.Second, 0)
	do("publish " + write("live.ndjson", events.String()))
	do("ingest --until-caught-up")
	s.ask(t, "analyst", "GET", "/tenants/busy/live", "").want(t, 200, `"tenantId":"busy","timeZone":"UTC"`,
		`{"meter":"agent_premium","live":0,"pool":0},{"meter":"agent_standard","live":2,"pool":3,"peak":{"at":"`, `"live":2,"pool":3}},{"meter":"ivr_port","live":2,"pool":6,"peak":`, `"ageMs":0`)
	// The daily figures do not have them yet, and say so.
	tree := s.ask(t, "analyst", "GET", "/tenants/busy/usage", "").want(t, 200)
	if len(tree["items"].([]any)) > 0 {
		t.Errorf("before a pass there is usage: %v", tree)
	}
	do("aggregate --until-caught-up")
	s.ask(t, "analyst", "GET", "/tenants/busy/usage?by=month&meter=ivr_port", "").want(t, 200, `"subscriptionId":"","peak":2`, `"ageMs":0`)
}

// liveOf lists the concurrency of a series of an answer, point by point.
func liveOf(t *testing.T, answer apiAnswer, series int) string {
	t.Helper()
	var live []string
	for _, p := range answer.want(t, 200)["series"].([]any)[series].(map[string]any)["points"].([]any) {
		live = append(live, fmt.Sprint(p.([]any)[1]))
	}
	return strings.Join(live, " ")
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apportion/billing/service"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
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
		`"peak":{"at":"2026-10-14T10:00:00.000Z","live":4,"pool":2},"over":{"at":"2026-10-14T10:00:00.000Z","live":4,"pool":2}`)
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
	s.ask(t, "operator", "GET", "/tenants/busy/live", "").want(t, 200,
		`{"meter":"agent_standard","live":0,"pool":3,"departments":[{"subscriptionId":"Busy1","department":"X","live":0,"committed":3}],"points":[[`,
		`{"meter":"ivr_port","live":0,"pool":6,"departments":[{"subscriptionId":"Busy1","department":"X","live":0,"committed":6}],`)
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
	if lag := s.ask(t, "analyst", "GET", "/pipeline", ""); !strings.Contains(lag.body, `"next":11,"end":16,"lag":5`) ||
		!strings.Contains(lag.body, `"next":0,"end":2,"lag":2`) {
		t.Errorf("of what is published the pipeline has %s", lag.body)
	}
	do("ingest --until-caught-up")
	s.ask(t, "analyst", "GET", "/tenants/busy/live", "").want(t, 200, `"tenantId":"busy","timeZone":"UTC"`,
		`{"meter":"agent_premium","live":0,"pool":0,`, `{"meter":"agent_standard","live":2,"pool":3,"peak":{"at":"`,
		`"live":2,"pool":3},"departments":[{"subscriptionId":"Busy1","department":"X","live":2,"committed":3}],"points":[[`, `,2,3]]},`,
		`{"meter":"ivr_port","live":2,"pool":6,"peak":`, `,2,6]]}`, `"ageMs":0`)
	openPage(t, s, "analyst", "/tenants/busy/live").shows(t, 200, "Agents, standard 2 live, of 3 in the pool", "X Busy1 2 3",
		"IVR ports 2 live, of 6 in the pool", "The day so far", "peak: 2 of 3 at")
	// The daily figures do not have them yet, and say so.
	tree := s.ask(t, "analyst", "GET", "/tenants/busy/usage", "").want(t, 200)
	if len(tree["items"].([]any)) > 0 {
		t.Errorf("before a pass there is usage: %v", tree)
	}
	dirty := func() float64 { return s.ask(t, "analyst", "GET", "/pipeline", "").want(t, 200)["dirtyDays"].(float64) }
	if days := dirty(); days == 0 {
		t.Error("before a pass no day is dirty")
	}
	do("aggregate --until-caught-up")
	if days := dirty(); days != 0 {
		t.Errorf("after a pass %v days are dirty", days)
	}
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

// What is found and how current everything is, for those who may see it.
func TestAPIPipeline(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	get := func(as, path string) apiAnswer { return s.ask(t, as, "GET", path, "") }
	const (
		openPeak = `{"code":"open_peak","tenantId":"acme","period":"2026-10","count":1,"names":["/t c"],"rule":"R15","advice":"have the source send`
		unmapped = `{"code":"unmapped","tenantId":"named","period":"2026-10","count":3,"names":["/t n1","/t n2","/t n3"],"rule":"R10",`
	)
	codes := func(answer apiAnswer) (codes []string) {
		t.Helper()
		for _, item := range answer.want(t, 200)["items"].([]any) {
			f := item.(map[string]any)
			codes = append(codes, fmt.Sprint(f["tenantId"], " ", f["code"]))
		}
		return codes
	}
	get("operator", "/findings").want(t, 200, openPeak, unmapped, `"lookedAt":"`)
	ofAcme := []string{"acme open_peak", "acme open_session", "acme unmapped"}
	for _, c := range []struct {
		as, query string
		want      []string
	}{
		{"analyst", "", append(slices.Clone(ofAcme), "named unmapped")},
		{"finance", "?tenant=acme", ofAcme},
		{"finance", "?code=unmapped", []string{"acme unmapped", "named unmapped"}},
		{"tenant", "", ofAcme},
		{"tenant", "?code=open_peak&tenant=acme", ofAcme[:1]},
		{"foreign", "", []string{"named unmapped"}},
		{"foreign", "?code=open_peak", nil},
	} {
		if got := codes(get(c.as, "/findings"+c.query)); !slices.Equal(got, c.want) {
			t.Errorf("%s sees %q of /findings%s, want %q", c.as, got, c.query, c.want)
		}
	}
	first := get("finance", "/findings?limit=3")
	next, _ := first.want(t, 200)["next"].(string)
	if got := codes(get("finance", "/findings?limit=3&after="+next)); !slices.Equal(codes(first), ofAcme) || !slices.Equal(got, []string{"named unmapped"}) {
		t.Errorf("the second page has %q", got)
	}
	s.ask(t, "finance", "GET", "/findings?code=open_peak", "", "Accept", "text/csv").
		want(t, 200, "code,tenantId,period,count,names,rule,advice,records,lookedAt\r\nopen_peak,acme,2026-10,1,\"[\"\"/t c\"\"]\",R15,")
	get("tenant", "/findings?tenant=named").want(t, 404)
	get("finance", "/findings?tenant=nobody").want(t, 404)
	get("finance", "/findings?code=unbalanced").want(t, 400, `"field":"code`)
	get("publisher", "/findings").want(t, 403)

	for _, role := range []string{"operator", "finance", "analyst"} {
		get(role, "/pipeline").want(t, 200, `.usage.agent.v1","partition":0,"next":11,"end":11,"lag":0,"retained":11}`,
			`"freshness":{"ageMs":0,"waitingMs":0,"figuresMs":0}`, `"pass":{"registryOffset":2,"pass":"549755813901"`, `"behind":[]}`,
			`"dirtyDays":0,"registry":{"lastOffset":3,"recordedOffset":3}`)
	}
	get("tenant", "/pipeline").want(t, 403)
	get("publisher", "/pipeline").want(t, 403)
}

// The schedule that is configured is told, and what it did last.
func TestPipelineHasTheSchedule(t *testing.T) {
	a := &app{}
	if schedule, err := a.schedule(); schedule != nil || err != nil {
		t.Errorf("without a first period there is %v, %v", schedule, err)
	}
	a.cfg.Schedule.From, a.cfg.Schedule.Issue = "2026-10", "7 * * * *"
	schedule, err := a.schedule()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 4, 10, 30, 0, 0, time.UTC)
	if next := schedule.Next(at); schedule.From.String() != "2026-10" || !next.Equal(at.Add(37*time.Minute)) {
		t.Errorf("from %s, next at %s", schedule.From, next)
	}
	firings := &service.Firings{}
	if firings.Last() != nil {
		t.Error("it fired before it did")
	}
	firings.Observe(service.Firing{Err: errors.New("no"), Stopped: map[schemas.Code]int{schemas.Held: 2}, ClockAhead: time.Second}, at)
	firings.Observe(service.Firing{Issued: 3}, at.Add(time.Hour))
	last, err := json.Marshal(firings.Last())
	if want := `{"at":"2026-11-04T11:30:00.000Z","failed":false,"issued":3,"stopped":{},"clockAheadMs":0}`; err != nil || string(last) != want {
		t.Errorf("%s, %v, want %s", last, err, want)
	}
}

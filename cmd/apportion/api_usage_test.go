package main

import (
	"fmt"
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

// liveOf lists the concurrency of a series of an answer, point by point.
func liveOf(t *testing.T, answer apiAnswer, series int) string {
	t.Helper()
	var live []string
	for _, p := range answer.want(t, 200)["series"].([]any)[series].(map[string]any)["points"].([]any) {
		live = append(live, fmt.Sprint(p.([]any)[1]))
	}
	return strings.Join(live, " ")
}

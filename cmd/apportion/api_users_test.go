package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// itemsOf returns what a member of each item of a list is.
func itemsOf(tree map[string]any, member string) (all []string) {
	items, _ := tree["items"].([]any)
	for _, item := range items {
		value, _ := item.(map[string]any)[member].(string)
		all = append(all, value)
	}
	return all
}

// Who is primary, pays and is active when; who has access until when and why; and who may ask.
func TestAPIUsers(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)

	tenant := s.ask(t, "tenant", "GET", "/tenants/acme?at=2026-10-14T10:00:00Z", "").want(t, 200,
		`"payers":{"agent_premium":"Sub1","agent_standard":"Sub1","ivr_port":"Sub1"}`, `"pool":{"agent_premium":0,"agent_standard":2,"ivr_port":4}`,
		`"findings":[{"code":"`, `"licences":[{"user":"a"`)
	if tenant["primary"] != "Sub1" {
		t.Errorf("%v", tenant["primary"])
	}
	if body := s.ask(t, "analyst", "GET", "/tenants/acme", "").body; strings.Contains(body, `"user"`) || !strings.Contains(body, `"id":"Sub3"`) {
		t.Errorf("an analyst sees %s", body)
	}

	timeline := s.ask(t, "analyst", "GET", "/tenants/acme/timeline", "").want(t, 200,
		`{"from":"2026-01-01","to":"2026-10-10","primary":"Sub1","active":["Sub1"],"pool":{"agent_premium":0,"agent_standard":1,"ivr_port":2},"shares":{"Sub1":{`,
		`{"from":"2026-10-10","to":"2027-01-01","primary":"Sub1","active":["Sub1","Sub2"],"pool":{"agent_premium":0,"agent_standard":2,"ivr_port":4}`,
		`{"from":"2027-01-01","to":"2027-10-10","active":[]`, `{"from":"2027-10-10","to":"2028-01-01","primary":"Sub3"`, `{"from":"2028-01-01","active":[]`)
	if steps := timeline["steps"].([]any); len(steps) != 5 {
		t.Errorf("%d steps: %v", len(steps), steps)
	}
	if steps := s.ask(t, "tenant", "GET", "/tenants/acme/timeline?from=2026-10-01&to=2026-11-01", "").want(t, 200, `"from":"2026-10-01"`,
		`"to":"2026-11-01"`)["steps"].([]any); len(steps) != 2 {
		t.Errorf("%d steps in October", len(steps))
	}
	s.ask(t, "tenant", "GET", "/tenants/acme/timeline?from=2026-11-01&to=2026-10-01", "").want(t, 400, `"field":"to"`)
	s.ask(t, "tenant", "GET", "/tenants/acme/timeline?from=2026-13-01", "").want(t, 400)
	s.ask(t, "foreign", "GET", "/tenants/acme/timeline", "").want(t, 404)

	list := s.ask(t, "tenant", "GET", "/tenants/acme/users?at=2026-11-20T12:00:00Z", "").want(t, 200, `"role":"agent"`, `"class":"standard"`,
		`"access":{"now":true,"through":["Sub2"],"until":"2027-01-01","ended":[{"subscriptionId":"Sub2","what":"term"}],"wouldKeep":[],`+
			`"why":"mapped to Sub2 until 2027-01-01, when the term of Sub2 ends"}`)
	if got := fmt.Sprint(itemsOf(list, "user")); got != "[a b]" {
		t.Errorf("the users are %s", got)
	}
	list = s.ask(t, "tenant", "GET", "/tenants/acme/users?at=2026-11-20T12:00:00Z&losesAccessBefore=2027-01-02&limit=1", "").want(t, 200)
	next, _ := list["next"].(string)
	if got := fmt.Sprint(itemsOf(list, "user")); got != "[a]" || next == "" {
		t.Errorf("the first page has %s, and then %q", got, next)
	}
	list = s.ask(t, "tenant", "GET", "/tenants/acme/users?at=2026-11-20T12:00:00Z&losesAccessBefore=2027-01-02&limit=1&after="+next, "").want(t, 200)
	if got := fmt.Sprint(itemsOf(list, "user")); got != "[b]" || list["next"] != nil {
		t.Errorf("the second page has %s", got)
	}
	if got := itemsOf(s.ask(t, "tenant", "GET", "/tenants/acme/users?at=2026-11-20T12:00:00Z&losesAccessBefore=2027-01-01", "").want(t, 200), "user"); len(got) > 0 {
		t.Errorf("before it ends %v lose access", got)
	}
	s.ask(t, "operator", "GET", "/tenants/acme/users?q=B&at=2026-11-20T12:00:00Z", "", "Accept", "text/csv").want(t, 200,
		"user,role,class,access.now,access.through,access.until,", "\r\n"+`b,agent,standard,true,"[""Sub2""]",2027-01-01,`)
	user := s.ask(t, "operator", "GET", "/tenants/acme/users/a?at=2027-02-01T00:00:00Z", "").want(t, 200,
		`"now":false`, `"since":"2027-01-01"`, `"mappings":[{"user":"a","role":"agent","class":"standard","subscription":"Sub2","from":"2026-01-01"}]`,
		`"why":"mapped to no active subscription since 2027-01-01, when the term of Sub2 ends"`)
	if user["user"] != "a" {
		t.Errorf("%v", user)
	}
	s.ask(t, "operator", "GET", "/tenants/acme/users/zoe", "").want(t, 404, `"code":"not_found"`)
	s.ask(t, "foreign", "GET", "/tenants/acme/users/a", "").want(t, 404)
	s.ask(t, "finance", "GET", "/tenants/acme/users", "").want(t, 403)

	loss := s.ask(t, "tenant", "GET", "/tenants/acme/access?from=2026-12-01&to=2027-02-01&limit=1", "").want(t, 200,
		`"dates":[{"date":"2027-01-01","admins":0,"agents":2,"wouldKeep":[]}]`,
		`"items":[{"date":"2027-01-01","role":"agent","user":"a","subscriptions":["Sub2"],"ended":[{"subscriptionId":"Sub2","what":"term"}]`)
	if loss["next"] == nil {
		t.Error("there is no second page")
	}
	s.ask(t, "tenant", "GET", "/tenants/acme/access?from=2026-12-01&to=2027-01-01", "").want(t, 200, `"items":[]`, `"dates":[]`)
	s.ask(t, "operator", "GET", "/tenants/acme/access?from=2026-12-01&to=2027-02-01", "", "Accept", "text/csv").want(t, 200,
		"date,role,user,subscriptions,ended,wouldKeep\r\n2027-01-01,agent,a,")
	calendar := s.ask(t, "operator", "GET", "/tenants/acme/access?from=2026-12-01&to=2027-02-01", "", "Accept", "text/calendar")
	calendar.want(t, 200, "UID:access-acme-2027-01-01@apportion\r\n", "DTSTART;VALUE=DATE:20270101\r\n", "DTEND;VALUE=DATE:20270102\r\n",
		"SUMMARY:Acme AB: 2 users lose access\r\n")
	if !strings.HasPrefix(calendar.Header.Get("Content-Type"), "text/calendar") || strings.Count(calendar.body, "BEGIN:VEVENT") != 1 ||
		!strings.Contains(strings.ReplaceAll(calendar.body, "\r\n ", ""), `\nAgents: a\, b\nWhy: the term of Sub2 ends\n`) {
		t.Errorf("%s\n%s", calendar.Header.Get("Content-Type"), calendar.body)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(calendar.body, "\r\n"), "\r\n") {
		if len(line) > 75 || strings.Contains(line, "\n") {
			t.Errorf("a line is not folded: %q", line)
		}
	}
	s.ask(t, "foreign", "GET", "/tenants/acme/access", "").want(t, 404)

	// The log: the last command first, of one's own tenants.
	log := s.ask(t, "operator", "GET", "/commands", "").want(t, 200, `"changes":["+ issued 2026-10, the tenant's number 1"]`, `"changes":["+ tenant acme"]`)
	if got := fmt.Sprint(itemsOf(log, "command")); got != "[claim_issue claim_issue put_tenant put_tenant]" {
		t.Errorf("the log has %s", got)
	}
	if got := fmt.Sprint(itemsOf(s.ask(t, "foreign", "GET", "/commands", "").want(t, 200), "tenantId")); got != "[named named]" {
		t.Errorf("a tenant administrator sees commands of %s", got)
	}
	if got := itemsOf(s.ask(t, "foreign", "GET", "/commands?tenant=acme", "").want(t, 200), "tenantId"); len(got) > 0 {
		t.Errorf("a tenant administrator sees commands of %v", got)
	}
	s.ask(t, "tenant", "GET", "/commands/0", "").want(t, 200, `"offset":0`, `"tenantId":"acme"`, `"accepted":true`, `"changes":["+ tenant acme"]`)
	s.ask(t, "foreign", "GET", "/commands/0", "").want(t, 404)
	s.ask(t, "operator", "GET", "/commands/4", "").want(t, 404)
	s.ask(t, "operator", "GET", "/commands/-1", "").want(t, 400)
	s.ask(t, "publisher", "GET", "/commands", "").want(t, 403)

	// What another document would do: nothing, to itself.
	var document map[string]any
	raw, err := json.Marshal(s.ask(t, "tenant", "GET", "/tenants/acme", "").want(t, 200)["document"])
	if err != nil || json.Unmarshal(raw, &document) != nil {
		t.Fatal(err)
	}
	whatIf := func(as, tenant, document string) apiAnswer {
		return s.ask(t, as, "POST", "/tenants/"+tenant+"/what-if?at=2026-11-20T12:00:00Z", `{"document":`+document+`,"periods":["2026-10","2026-11"]}`)
	}
	same := whatIf("tenant", "acme", string(raw)).want(t, 200, `"accepted":true`, `"changes":[]`, `"gained":[]`, `"lost":[]`, `{"period":"2026-10","changes":[],"tenants":[`)
	if n := len(same["periods"].([]any)); n != 2 {
		t.Errorf("%d periods", n)
	}
	// A dearer seat, and Sub2 to be cancelled: 21 of its 31 days in October are not committed any more.
	changed := strings.Replace(string(raw), `"agent_standard":"100"`, `"agent_standard":"200"`, 1)
	changed = strings.Replace(changed, `"id":"Sub2"`, `"cancelled":"2026-10-11","id":"Sub2"`, 1)
	would := whatIf("tenant", "acme", changed).want(t, 200, `"accepted":true`, `"~ subscription Sub1 version 2026-01-01 commitment price agent_standard 100 → 200"`,
		`{"tenantId":"acme","subscriptionId":"Sub2","kind":"commitment","meter":"agent_standard","quantity":{"before":"1","after":"1","difference":"0"},"amount":{"before":"70.97","after":"3.23","difference":"-67.74"},"currency":"SEK"}`,
		`{"before":"100.00","after":"200.00","difference":"100.00"}`,
		// Of both months together: 172.97 and 202, for which 205.23 and 202 would have been.
		`{"kind":"commitment","currency":"SEK","amount":{"before":"374.97","after":"407.23","difference":"32.26"}}`, `"lost":[{"user":"a","role":"agent","from":"2026-11-20","to":"2027-01-01"},{"user":"b",`)
	if lost := would["access"].(map[string]any)["lost"].([]any); len(lost) != 2 {
		t.Errorf("%v lose access", lost)
	}
	// Who was not told of the users' mappings need not send them, and they do not go away by that.
	analysts, err := json.Marshal(s.ask(t, "analyst", "GET", "/tenants/acme", "").want(t, 200)["document"])
	if err != nil {
		t.Fatal(err)
	}
	whatIf("analyst", "acme", string(analysts)).want(t, 200, `"changes":[]`, `"lost":[]`)
	whatIf("analyst", "acme", changed).want(t, 200, `"lost":[{"user":"","role":"agent","from":"2026-11-20",`)
	// A subscription of somebody else is refused, and nobody is told whose it is.
	refusal := whatIf("tenant", "acme", strings.Replace(string(raw), `"id":"Sub3"`, `"id":"Named1"`, 1)).want(t, 200, `"accepted":false`, `"code":"duplicate_subscription"`,
		`"code":"subscription_missing"`, `"periods":[]`)
	if text := fmt.Sprint(refusal["refusals"]); strings.Contains(text, "tenant named") {
		t.Errorf("a tenant administrator is told: %s", text)
	}
	whatIf("tenant", "acme", strings.Replace(string(raw), `"id":"acme"`, `"id":"named"`, 1)).want(t, 400, `"field":"id"`)
	whatIf("foreign", "acme", string(raw)).want(t, 404)
	whatIf("tenant", "acme", `{"id":"acme","plam":1}`).want(t, 400, `"code":"unknown_field"`)
	whatIf("publisher", "acme", string(raw)).want(t, 403)
	s.ask(t, "tenant", "POST", "/tenants/acme/what-if", `{"document":`+string(raw)+`,"periods":[]}`).want(t, 400)
}

var offsetRE = regexp.MustCompile(`"offset":(\d+)`)

// A user is mapped without the rest of the tenant being touched, by whoever may, once, and keeps access so.
func TestAPIUserCommands(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := startAPI(t)
	put := func(as, path, body string, headers ...string) apiAnswer {
		return s.ask(t, as, "PUT", "/tenants/acme/"+path, body, headers...)
	}
	s.followPage(t, "how-to/provision-users.md", "tenant")

	const zoe = `{"from":"2026-11-01","role":"admin","subscriptions":[{"id":"Sub1"},{"id":"Sub2","class":"premium","to":"2026-12-01"}],"reason":"new"}`
	put("tenant", "users/zoe@example.com/licences?dryRun=true", zoe).want(t, 200, `"accepted":true`,
		`"+ licence zoe@example.com admin standard on Sub1 from 2026-11-01"`)
	s.ask(t, "tenant", "GET", "/tenants/acme/users/zoe@example.com", "").want(t, 404)
	given := put("tenant", "users/zoe@example.com/licences", zoe, "Idempotency-Key", "z1")
	given.want(t, 200, `"accepted":true`)
	s.ask(t, "tenant", "GET", "/tenants/acme/users/zoe@example.com?at=2026-11-20T00:00:00Z", "").want(t, 200, `"role":"admin"`, `"class":"premium"`,
		`"through":["Sub1","Sub2"]`, `"until":"2027-01-01"`, `"to":"2026-12-01"`)
	if again := put("tenant", "users/zoe@example.com/licences", zoe, "Idempotency-Key", "z1"); again.want(t, 200)["offset"] != given.want(t, 200)["offset"] {
		t.Errorf("given again: %s", again.body)
	}
	put("tenant", "users/zoe@example.com/licences", strings.Replace(zoe, "Sub1", "Sub3", 1), "Idempotency-Key", "z1").want(t, 422, `"code":"reused_id"`)
	put("tenant", "users/zoe@example.com/licences", `{"from":"2026-12-01","subscriptions":[{"id":"Sub9"}]}`).want(t, 409,
		`"field":"subscriptions[Sub9].id","value":"Sub9","message":"the tenant has no such subscription`)
	put("tenant", "users/max/licences", `{"from":"2026-12-01","subscriptions":[{"id":"Sub1"}]}`).want(t, 409, `"code":"missing_field","field":"role"`)
	put("tenant", "users/max/licences", `{"from":"2026-12-41","subscriptions":[]}`).want(t, 400)
	put("tenant", "users/max/licences", `{"from":"2026-12-01","subscriptions":[],"Reason":"x"}`).want(t, 400)
	put("foreign", "users/a/licences", zoe).want(t, 404)
	put("finance", "users/a/licences", zoe).want(t, 403)
	put("tenant", "users/zoe@example.com/licences", `{"from":"2026-12-15","subscriptions":[]}`).want(t, 200, `"accepted":true`,
		`"+ licence zoe@example.com admin standard on Sub1 from 2026-11-01 to 2026-12-15"`)
	s.ask(t, "tenant", "GET", "/tenants/acme/users/zoe@example.com?at=2026-12-20T00:00:00Z", "").want(t, 200, `"now":false`,
		`"since":"2026-12-15","ended":[{"subscriptionId":"Sub1","what":"mapping"}],"wouldKeep":["Sub1","Sub2"]`)

	put("tenant", "entry-points/ep-1", `{"from":"2026-11-01","subscriptions":[{"id":"Sub2"}]}`).want(t, 200, `"+ entryPoint ep-1 on Sub2 from 2026-11-01"`)
	put("tenant", "entry-points/ep-1", `{"from":"2026-11-01","subscriptions":[{"id":"Sub2","class":"premium"}]}`).want(t, 400)

	// Everybody who loses access with Sub2 is mapped to Sub3, by one command, once.
	mapAll := func(as, body string, headers ...string) apiAnswer {
		return s.ask(t, as, "POST", "/tenants/acme/licences:map", body, headers...)
	}
	const losing = `{"users":"losing-access","on":"2027-01-01","subscription":"Sub3","class":"premium"}`
	s.ask(t, "tenant", "POST", "/tenants/acme/licences:map?dryRun=true", losing).want(t, 200, `"accepted":true`, `"users":2`)
	mapped := mapAll("tenant", losing, "Idempotency-Key", "m1")
	mapped.want(t, 200, `"accepted":true`, `"commands":[{"commandId":"m1","offset":`, `"users":2`, `"+ licence a agent premium on Sub3 from 2027-01-01"`)
	if again := mapAll("tenant", losing, "Idempotency-Key", "m1"); offsetRE.FindString(again.body) != offsetRE.FindString(mapped.body) || again.StatusCode != 200 {
		t.Errorf("given again: %s", again.body)
	}
	mapAll("tenant", `{"users":["a","b","a"],"subscription":"Sub1","from":"2026-12-01","class":"premium"}`).want(t, 200, `"users":2`,
		`"+ licence b agent premium on Sub1 from 2026-12-01"`)
	mapAll("tenant", `{"users":["a","new"],"subscription":"Sub1","from":"2026-12-01"}`).want(t, 409, `"field":"role"`)
	mapAll("tenant", `{"users":"everybody","subscription":"Sub1","from":"2026-12-01"}`).want(t, 400)
	mapAll("tenant", `{"users":"losing-access","subscription":"Sub1","from":"2026-12-01"}`).want(t, 400, `"field":"on"`)
	mapAll("tenant", `{"users":[],"subscription":"Sub1","from":"2026-12-01"}`).want(t, 400, `"field":"users"`)
	mapAll("foreign", losing).want(t, 404)

	many := make([]string, 1500)
	for i := range many {
		many[i] = fmt.Sprintf("%q", fmt.Sprint("u", i))
	}
	body := `{"users":[` + strings.Join(many, ",") + `],"subscription":"Sub3","from":"2027-10-10","role":"agent"}`
	mapAll("operator", body, "Idempotency-Key", "many").want(t, 200, `{"commandId":"many","offset":`, `,"users":1000},{"commandId":"many/2","offset":`, `,"users":500}`)

	// The log says who gave what, and what was not.
	log := s.ask(t, "tenant", "GET", "/commands?actor=operator&command=set_licences", "").want(t, 200)
	if got := fmt.Sprint(itemsOf(log, "commandId")); got != "[many/2 many]" {
		t.Errorf("the operator gave %s", got)
	}
	first := s.ask(t, "analyst", "GET", "/commands?actor=tenant&command=set_licences&limit=1", "").want(t, 200, `"by":{"type":"service","id":"tenant"}`)
	if changes := fmt.Sprint(first["items"]); !strings.Contains(changes, "changes:[]") {
		t.Errorf("an analyst sees %s", changes)
	}
	next, _ := first["next"].(string)
	if got := fmt.Sprint(itemsOf(s.ask(t, "analyst", "GET", "/commands?actor=tenant&command=set_licences&limit=1&after="+next, "").want(t, 200), "commandId")); got != "[m1]" {
		t.Errorf("the second page has %s", got)
	}
	if got := itemsOf(s.ask(t, "operator", "GET", "/commands?accepted=false", "").want(t, 200), "commandId"); len(got) > 0 {
		t.Errorf("refused were %v", got)
	}

	// Who wants a mapping to give access at once says so, and what is given again is answered as it was.
	const ahead = `{"from":"2026-12-01","role":"agent","subscriptions":[{"id":"Sub3"}],"activeOnly":true}`
	put("tenant", "users/ada/licences", ahead).want(t, 409, `"code":"inactive_subscription"`, `"rule":"R7"`,
		`"field":"subscriptions[Sub3].id","value":"Sub3","message":"Sub3 is not active on 2026-12-01, and will be from 2027-10-10"`)
	put("tenant", "users/ada/licences", strings.Replace(ahead, "2026-12-01", "2027-10-10", 1)).want(t, 200, `"accepted":true`)
	mapAll("tenant", `{"users":["a","u1"],"subscription":"Sub3","from":"2027-03-01","activeOnly":true}`).want(t, 409, `"field":"subscription","value":"Sub3"`)
	mapAll("tenant", `{"users":["a"],"subscription":"Sub3","from":"2027-03-01","activeOnly":true}`).want(t, 200) // it goes on
	s.mapOnPages(t)
}

// followPage runs each curl of a page as the holder of a token, and compares what comes out with what the page has.
func (s *apiServer) followPage(t *testing.T, page, as string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Logf("%s is not followed: %v", page, err)
		return
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	blocks := pageBlockRE.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 5 {
		t.Errorf("%s: only %d commands were found", page, len(blocks))
	}
	for _, block := range blocks {
		command, want, _ := strings.Cut(strings.TrimPrefix(block[1], "$ "), "\n")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Env = append(os.Environ(), "API="+s.url+"/api/v1", "TOKEN="+s.tokens[as])
		got, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %s: %v\n%s", page, command, err, got)
		}
		if _, missing := remade(string(got), want, asItIs); missing != "" {
			t.Errorf("%s: %s gives no line\n%s\nbut\n%s", page, command, missing, got)
		}
	}
}

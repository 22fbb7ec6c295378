package main

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"apportion/billing/web/access"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
)

// rejectedPages opens the pages on what TestAPIRejected has had refused, path being where each of it is: r0 of acme from
// /t, r1 of acme from /u, r2 of named, r4, which has been accepted since, and one that is no UTF-8.
func (s *apiServer) rejectedPages(t *testing.T, path func(int) string) {
	all := openPage(t, s, "operator", "/rejected")
	all.shows(t, 200, "By code and source", "invalid_field A field has the wrong type", "acme /t 2", "malformed_json",
		"not readable", "r0", "r1", "r2", "What would become of them?")
	own := openPage(t, s, "publisher", "/rejected")
	own.shows(t, 200, "acme /t 2", "r0", "r4")
	own.hides(t, "r1", "r2", ">/u<", "named")
	chosen := openPage(t, s, "operator", "/rejected?tenant=acme&code=invalid_field&open=true&from=2020-01-01")
	chosen.shows(t, 200, "r0", "r1", "--tenant acme --code invalid_field --since 2020-01-01T00:00:00Z --open")
	chosen.hides(t, "r2", "r4")
	openPage(t, s, "operator", "/rejected?tenant=nobody").shows(t, 200, "Nothing that was refused is like that.")
	openPage(t, s, "operator", "/rejected?from=yesterday").shows(t, 400, "malformed_request")

	one := openPage(t, s, "publisher", "/rejected/"+path(0))
	one.shows(t, 200, "refused invalid_field", "startTime", "has no zone", "open No delivery of its event has been accepted.",
		"What to do Write the field as the contract has it", "What would become of it?")
	one.has(t, `<mark>&#34;startTime&#34;: &#34;2026-11-02T08:00:00&#34;</mark>`)
	one.hides(t, "/tenants/acme") // which is not for publishers
	openPage(t, s, "operator", "/rejected/"+path(4)).shows(t, 200, "Accepted since? yes An accepted delivery answers it.", "Revision 0")
	openPage(t, s, "operator", "/rejected/"+path(5)).shows(t, 200, "malformed_json", "which event it is cannot be read", "\uFFFD")
	openPage(t, s, "publisher", "/rejected/"+path(1)).shows(t, 404, "not there no_refusal")
	openPage(t, s, "operator", "/rejected/usage.agent.v1/x/1").shows(t, 400)
	openPage(t, s, "finance", "/rejected").shows(t, 403, "not for you", "The page is for operator, publisher")

	check := url.Values{"do": {"check"}}
	openPage(t, s, "publisher", "/rejected", check).shows(t, 200,
		"Nothing is published yet. 0 would be published and accepted, 1 would be refused again, and 0 of", "refused again")
	openPage(t, s, "operator", "/rejected?code=invalid_field&source=/u", check).shows(t, 200, "1 would be refused again")
	openPage(t, s, "operator", "/rejected/"+path(4), check).shows(t, 200, "and 1 of their events have been accepted since", "revision 0 of it")
	openPage(t, s, "operator", "/rejected/"+path(4), url.Values{"do": {"apply"}}).shows(t, 200, "0 published.")
	openPage(t, s, "publisher", "/rejected/"+path(1), check).shows(t, 404)
	openPage(t, s, "publisher", "/try?from="+path(0)).shows(t, 200, `"id":"r0"`)
	openPage(t, s, "publisher", "/try?from="+path(1)).shows(t, 404)
}

// Events that are pasted have a verdict each, by the line that they begin on, and are published nowhere.
func TestConsoleTry(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	send := func(as, text string) shownPage { return openPage(t, s, as, "/try", url.Values{"events": {text}}) }
	before := len(s.apiTopic(t, schemas.TopicAgent, 0))
	good := sentSession("good", "")
	page := send("publisher", good+"\r\n\r\n"+strings.Replace(sentSession("bad", ""), "agentId", "agent_id", 1)+"\r\n{\r\n"+
		sentEvent("f", "named", "/t", "connect.usage", `"channel":"sms","quantity":1`))
	page.shows(t, 200, "1 event would be accepted , 3 refused. Nothing was published.", "3 /t bad missing_field agentId",
		"4 not readable not readable malformed_json", "5 /t f forbidden tenantid",
		"1 /t good acme 2026-11 agent_standard Sub2 The agent is mapped to the subscription, which is active then R10 .")
	page.has(t, "&#34;good&#34;") // the text is kept
	send("operator", "[\n"+good+",\n\n"+strings.ReplaceAll(good, "11-02", "10-01")+"]").shows(t, 200, "2 events would be accepted",
		"2 /t good", "4 /t good acme 2026-10 issued R21", "unmapped")
	send("publisher", strings.Repeat("{}\n", 1001)).shows(t, 413, "a request may have 1000 events", "body_too_large")
	openPage(t, s, "publisher", "/try?example=1").shows(t, 200, `"tenantid":"acme"`, `"source":"/t"`)
	openPage(t, s, "finance", "/try", url.Values{"events": {good}}).shows(t, 403, "not for you")
	openPage(t, s, "", "/try", url.Values{"events": {good}}).shows(t, 401, "Sign in")
	if after := len(s.apiTopic(t, schemas.TopicAgent, 0)); after != before {
		t.Errorf("%d events were published", after-before)
	}
}

// The log says who changed what and when, of all tenants or one's own, and what became of it.
func TestConsoleLog(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	openPage(t, s, "finance", "/log").shows(t, 200, "put_tenant accepted + tenant acme", "+ tenant named",
		"claim_issue accepted + issued 2026-10, the tenant's number 1")
	claims := openPage(t, s, "operator", "/log?command=claim_issue&tenant=acme&accepted=true")
	claims.shows(t, 200, "issued 2026-10")
	claims.hides(t, "+ tenant acme", "/tenants/named")
	openPage(t, s, "analyst", "/log?accepted=false").shows(t, 200, "No command is like that.")
	own := openPage(t, s, "tenant", "/tenants/acme/log")
	own.shows(t, 200, "of Acme AB", "tenant acme")
	own.hides(t, "named", "Named")
	openPage(t, s, "tenant", "/log").hides(t, "named", "Named")
	openPage(t, s, "foreign", "/tenants/acme/log").shows(t, 404, "not there")
	openPage(t, s, "publisher", "/log").shows(t, 403, "not for you")
	first := openPage(t, s, "tenant", "/log/0")
	first.shows(t, 200, "Command at offset 0", "accepted put_tenant", "+ tenant acme")
	first.has(t, `<abbr title="added">`)
	openPage(t, s, "tenant", "/log/1").shows(t, 404)
	openPage(t, s, "operator", "/log/9999").shows(t, 404, "There is no command 9999 that you may see.")
}

// The pipeline is a picture and tables of the same figures, for those who may know of it.
func TestConsolePipeline(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	page := openPage(t, s, "operator", "/pipeline")
	page.shows(t, 200, "0 waiting", "offsets taken in 13", "usage.agent.v1", "last delivery refused none", "dirty days", "no schedule")
	page.has(t, `role="img" aria-labelledby="flow-title flow-desc"`, `hx-select="#live"`, `http-equiv="refresh" content="5"`)
	finance := openPage(t, s, "finance", "/pipeline")
	finance.shows(t, 200, "0 waiting")
	finance.hides(t, "last delivery refused")
	openPage(t, s, "tenant", "/pipeline").shows(t, 403, "The page is for operator, finance, analyst")
}

// foreignHost is anything that a browser would load, or go to, elsewhere.
var foreignHost = regexp.MustCompile(`(src|href|action)="(https?:)?//[^"]*"`)

// The page on the API has each route with its roles, and each schema that it leads to, from this server alone.
func TestConsoleAPI(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	for _, role := range access.Roles {
		page := openPage(t, s, string(role), "/api")
		page.shows(t, 200, "PUT /tenants/{tenant}/users/{user}/licences", "openapi.json")
		for _, o := range operations {
			page.has(t, `id="`+o.ID+`"`)
		}
		for _, to := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page.html, -1) {
			if !strings.Contains(page.html, `id="`+to[1]+`"`) {
				t.Errorf("the page leads to #%s, which it does not have", to[1])
			}
		}
		if host := foreignHost.FindString(page.html); host != "" {
			t.Errorf("the page needs %s", host)
		}
	}
	some := openPage(t, s, "publisher", "/api?q=events&role=publisher")
	some.shows(t, 200, "POST /events:check", "CheckedEvents", `"tenantId": "acme"`)
	some.hides(t, `id="putTenant"`, `id="schema-Verdict"`)
	openPage(t, s, "operator", "/api?q=nonsense").shows(t, 200, "No route is like that.")
	openPage(t, s, "", "/api").shows(t, 401)
}

// Every code and every rule that something cites has its place.
func TestConsoleReference(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	codes := openPage(t, s, "publisher", "/docs/reference/codes")
	codes.shows(t, 200, "stale_base The tenant has changed since", "412", "not_due", "R20")
	for _, r := range schemas.Reasons {
		codes.has(t, `<tr id="`+string(r.Code)+`">`)
	}
	one := openPage(t, s, "tenant", "/docs/reference/codes?q=GRACE")
	one.shows(t, 200, "not_due The grace of the period is not over. Issue it then; a draft can be had before. R20 409")
	one.hides(t, "stale_base")
	rules := openPage(t, s, "publisher", "/docs/reference/rules")
	rules.shows(t, 200, "R4 Primary The primary at an instant is the oldest subscription active then", "Its codes: mixed_licence_model")
	rules.has(t, `id="r1"`, `id="r26"`)
	openPage(t, s, "", "/docs/reference/rules").shows(t, 401)
}

package main

import (
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// Everybody's start page has what is for them to decide or to know, and nothing else.
func TestConsoleHome(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	finance := openPage(t, s, "finance", "/")
	finance.shows(t, 200, "To decide", "Due since", "Findings", "Issued", "Freshness", "Last firing")
	finance.hides(t, "Dead letters", "Your sources")
	openPage(t, s, "operator", "/").shows(t, 200, "To decide", "Dead letters", "0 deliveries refused in the last 24 hours")
	openPage(t, s, "analyst", "/").shows(t, 200, "Older months wait too")
	tenant := openPage(t, s, "tenant", "/")
	tenant.shows(t, 200, "Acme AB", "Next renewal", "access within 90 days")
	tenant.hides(t, "To decide", "Freshness", "named")
	publisher := openPage(t, s, "publisher", "/")
	publisher.shows(t, 200, "Your sources", "/t 0", "Try an event")
	publisher.hides(t, "To decide", "Next renewal")
	stranger := openPage(t, s, "", "/")
	stranger.shows(t, 401, "Sign in")
	stranger.hides(t, "To decide")
}

// On the date that the tests of a tenant's subscriptions look at, Sub1 and Sub2 are active.
const accountAt = "?at=2026-10-14T10:00:00Z"

// The page of a tenant says who is the primary and why, what holds once for all, and who pays, and draws it over time.
func TestConsoleAccount(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	analyst := openPage(t, s, "analyst", "/tenants/acme"+accountAt)
	analyst.shows(t, 200, "Sub1 Primary the oldest that is active, since 2026-01-01 R4",
		"concurrent, the same for all at one time R5", "Webex Calling, the same for every subscription R6",
		"Sub3 Z to come 2027-10-10 to 2028-01-01 flex, cloud monthly, SEK",
		"Subscriptions of Acme AB from 2026-01-01 to 2028-01-01", "Sub2: version from 2026-01-01",
		"Sub1 is the primary from 2026-01-01 to 2027-01-01",
		"2026-10-10 2027-01-01 Sub1 Sub1, Sub2 2 1 Sub1 1 Sub2 4 2 Sub1 2 Sub2",
		"agent_standard 2 1 Sub1, 1 Sub2 Sub1", "For a peak on 2026-10-14 R16")
	analyst.hides(t, "Change telephony", "Edit the document", `style="`)
	openPage(t, s, "operator", "/tenants/acme"+accountAt).shows(t, 200, "Change telephony", "Edit the document")
	openPage(t, s, "tenant", "/tenants/acme?at=2027-06-01T10:00:00Z").shows(t, 200, "none, since no subscription is active on",
		"there is no pool, nobody pays")
	openPage(t, s, "foreign", "/tenants/acme").shows(t, 404)
	openPage(t, s, "publisher", "/tenants/acme").shows(t, 403)

	only := openPage(t, s, "tenant", "/tenants")
	only.shows(t, 302)
	if to := only.Header.Get("Location"); to != "/tenants/acme" {
		t.Errorf("who administers one tenant is sent to %q", to)
	}
	openPage(t, s, "analyst", "/tenants").shows(t, 200, "acme Acme AB", "named Named AB")
	openPage(t, s, "tenant", "/tenants?q=zzz").shows(t, 200, "No tenant has “zzz”")
}

// A subscription's page has its terms, versions and invoices; what a form of it would do is compared before it is done.
func TestConsoleSubscription(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const sub2 = "/tenants/acme/subscriptions/Sub2" + accountAt
	openPage(t, s, "tenant", sub2).shows(t, 200, "Department Y", "2 users mapped to it on 2026-10-14 R7", "2026-10-10 2027-01-01 now",
		"from 2026-01-01 now Commitments agent_standard 1 Prices of commitment agent_standard 100", "INV-Sub2-202610 2026-10")
	openPage(t, s, "analyst", sub2).hides(t, "users mapped")
	openPage(t, s, "operator", sub2).hides(t, "INV-Sub2-202610")
	openPage(t, s, "tenant", "/tenants/acme/subscriptions/Sub9").shows(t, 404, "The tenant acme has no subscription Sub9.")

	cancel := url.Values{"action": {"cancel"}, "from": {"2026-10-20"}, "do": {"check"}}
	would := openPage(t, s, "operator", sub2, cancel)
	would.shows(t, 200, "It would be accepted. Nothing is done yet.", "+ subscription Sub2 cancelled 2026-10-20",
		"Access lost: 2 stretches of dates", "a , agent: from 2026-10-20 to 2027-01-01",
		"2026-10 SEK 172.97 134.26 10.00 10.00 185.47 146.76 −38.71 less", "Apply")
	openPage(t, s, "analyst", sub2, cancel).shows(t, 200, "a user, agent: from 2026-10-20 to 2027-01-01", "An operator can apply it.")
	openPage(t, s, "analyst", sub2, url.Values{"action": {"cancel"}, "from": {"2026-10-20"}, "do": {"apply"}}).shows(t, 403)
	openPage(t, s, "operator", sub2, url.Values{"action": {"renew"}, "from": {"2026-12-01"}, "to": {"2027-12-01"}, "do": {"check"}}).
		shows(t, 200, "It would be refused:", "invalid_terms")
	openPage(t, s, "operator", sub2, url.Values{"action": {"version"}, "from": {"2026-11-01"}, "commitments.agent_standard": {"x1"},
		"do": {"check"}}).shows(t, 400, "commitments")
}

// Another document is compared, and is refused where it is entered, with the rule.
func TestConsoleWhatIf(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const whatIf, document = "/tenants/acme/what-if" + accountAt, "/tenants/acme/document"
	// Two more seats would have cost 200, and the overage of one until then, which is 10, would not have been.
	openPage(t, s, "tenant", whatIf+"&compare=yes&months=1&from=2026-10-01&Sub1/agent_standard=3&Sub1/agent_premium=").
		shows(t, 200, "2026-10 SEK 172.97 372.97 10.00 0.00 185.47 375.47 190.00 more", "Nobody would gain or lose access.", "An operator can apply it.")
	openPage(t, s, "analyst", "/tenants/acme/what-if?at=2026-11-02T10:00:00Z&advice=yes").
		shows(t, 200, "What would have cost least", "agent_standard Sub1 1 of 3", "best")

	present := s.ask(t, "operator", "GET", "/tenants/acme", "").want(t, 200)["document"].(map[string]any)
	with := func(change func(s map[string]any)) url.Values {
		t.Helper()
		body, err := json.Marshal(present)
		if err != nil {
			t.Fatal(err)
		}
		var changed map[string]any
		if err := json.Unmarshal(body, &changed); err != nil {
			t.Fatal(err)
		}
		added := maps.Clone(changed["subscriptions"].([]any)[0].(map[string]any))
		added["id"] = "Sub7"
		change(added)
		changed["subscriptions"] = append(changed["subscriptions"].([]any), added)
		if body, err = json.Marshal(changed); err != nil {
			t.Fatal(err)
		}
		return url.Values{"document": {string(body)}, "do": {"check"}, "months": {"1"}, "etag": {`"9999"`}}
	}
	named := with(func(s map[string]any) { s["licenceModel"] = "named" })
	openPage(t, s, "operator", whatIf, named).shows(t, 200, "It would be refused:", "R5", "mixed_licence_model", "Sub7")
	openPage(t, s, "operator", document, named).shows(t, 409, "R5", "mixed_licence_model")
	vpop := openPage(t, s, "operator", document, with(func(s map[string]any) { s["telephony"] = "vpop" }))
	vpop.shows(t, 409, "R6", "telephony_mismatch")
	if !strings.Contains(vpop.html, "Sub7") {
		t.Error("a document that is refused is not in the form any more")
	}
	sound := with(func(map[string]any) {})
	sound.Set("etag", s.ask(t, "operator", "GET", "/tenants/acme", "").Header.Get("ETag"))
	openPage(t, s, "operator", document, sound).shows(t, 200, "Not done yet.", "+ subscription Sub7")
	sound.Set("do", "apply")
	sound.Set("etag", `"9999"`)
	openPage(t, s, "operator", document, sound).shows(t, 412, "stale_base", "Begin again with the document as it is now")
	openPage(t, s, "operator", document, url.Values{"document": {"{"}, "do": {"check"}, "etag": {`"1"`}}).shows(t, 400)
	openPage(t, s, "tenant", document, sound).shows(t, 403)
}

// What a form does is said on the page that it leads to; made on what no longer stands, it is refused.
func TestConsoleAccountChanges(t *testing.T) {
	servicetest.Heavy(t, "it changes a registry of its own")
	t.Parallel()
	s := startAPI(t)
	const account, sub3 = "/tenants/acme", "/tenants/acme/subscriptions/Sub3"
	send := func(path string, form url.Values) shownPage {
		t.Helper()
		sent := openPage(t, s, "operator", path, form)
		sent.shows(t, 303)
		return openPage(t, s, "operator", sent.Header.Get("Location"))
	}
	telephony := url.Values{"telephony": {"vpop"}, "reason": {"moved"}, "key": {"change-1"}, "do": {"check"}}
	openPage(t, s, "operator", account, telephony).shows(t, 200, "Not done yet.", "vpop", "Webex Calling, the same")
	telephony.Set("do", "apply")
	send(account, telephony).shows(t, 200, "Accepted at offset", "VPOP, the same for every subscription")
	send(account, telephony).shows(t, 200, "Accepted at offset") // the same form, sent twice, is done once
	telephony.Set("telephony", "carrier_pigeon")
	openPage(t, s, "operator", account, telephony).shows(t, 422)
	telephony.Del("key")
	openPage(t, s, "operator", account, telephony).shows(t, 409, "telephony")

	etag := func() string { return s.ask(t, "operator", "GET", "/tenants/acme", "").Header.Get("ETag") }
	renew := url.Values{"action": {"renew"}, "from": {"2028-01-01"}, "to": {"2029-01-01"}, "etag": {etag()}, "do": {"apply"}}
	send(sub3, renew).shows(t, 200, "Accepted at offset", "2027-10-10 2029-01-01")
	renew.Set("from", "2029-01-01")
	renew.Set("to", "2030-01-01")
	openPage(t, s, "operator", sub3, renew).shows(t, 412, "stale_base") // made from what no longer stands
	send(sub3, url.Values{"action": {"version"}, "from": {"2028-01-01"}, "commitments.agent_standard": {"4"},
		"prices.commitment.agent_standard": {"99.5"}, "etag": {etag()}, "do": {"apply"}}).
		shows(t, 200, "agent_standard – 4 changed", "agent_standard – 99.5 changed")
	send(sub3, url.Values{"action": {"cancel"}, "from": {"2028-06-01"}, "etag": {etag()}, "do": {"apply"}}).
		shows(t, 200, "cancelled from 2028-06-01")
}

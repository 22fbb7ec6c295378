package main

import (
	"net/url"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// Users are found, with their access and until when; whoever may is led through the steps to their licences.
func TestConsoleUsers(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const at = "?at=2026-11-20T12:00:00Z"
	list := openPage(t, s, "tenant", "/tenants/acme/users"+at)
	list.shows(t, 200, "As of 2026-11-20", "a agent standard Sub2 yes until 2027-01-01", "b agent standard Sub2 yes until 2027-01-01",
		"Map the chosen users", "Sub3, Z (not active on 2026-11-20)", "Add a user")
	if !strings.Contains(list.html, `data-ticks="user"`) {
		t.Error("no box chooses all")
	}
	openPage(t, s, "operator", "/tenants/acme/users"+at+"&q=B&losesAccessBefore=2027-01-02").shows(t, 200,
		"of those who lose access before 2027-01-02", "b agent standard")
	openPage(t, s, "operator", "/tenants/acme/users"+at+"&losesAccessBefore=2027-01-01").shows(t, 200, "No user is like that",
		"nobody who is looked for loses it before 2027-01-01")
	openPage(t, s, "finance", "/tenants/acme/users").shows(t, 403, "not for you")
	openPage(t, s, "foreign", "/tenants/acme/users").shows(t, 404, "not there")

	user := openPage(t, s, "tenant", "/tenants/acme/users/a"+at)
	user.shows(t, 200, "Summary", "Licenses", "Sub2 Y concurrent standard 2026-01-01 goes on yes", "Edit licenses", "History",
		"mapped to Sub2 until 2027-01-01, when the term of Sub2 ends")
	openPage(t, s, "tenant", "/tenants/acme/users/a?at=2027-11-01T00:00:00Z").shows(t, 200, "none since 2027-01-01",
		"No access, although Sub3 is active.")
	openPage(t, s, "tenant", "/tenants/acme/users/a/licences").shows(t, 200, "Licensed services", "Edit licenses")
	openPage(t, s, "tenant", "/tenants/acme/users/a/licences/edit").shows(t, 200, "Edit licenses", "Contact Center")
	step := openPage(t, s, "tenant", "/tenants/acme/users/a/licences/contact-center"+at)
	step.shows(t, 200, "Sub1 Primary X , not mapped concurrent 2026-01-01 to 2027-01-01",
		"Sub2 Y , mapped since 2026-01-01 concurrent", "Sub3 Z , not mapped concurrent 2027-10-10 to 2028-01-01 not active", "Save")
	if strings.Count(step.html, " checked") != 1 {
		t.Error("not the one subscription of a is ticked")
	}
	openPage(t, s, "analyst", "/tenants/acme/users/a/licences/contact-center").shows(t, 403)

	// What a form would do is said before it is done, beside the subscription; what a rule refuses, too (R7).
	form := url.Values{"do": {"check"}, "from": {"2026-11-20"}, "role": {"agent"}, "subscription": {"Sub1", "Sub2"}}
	openPage(t, s, "tenant", "/tenants/acme/users/a/licences/contact-center"+at, form).shows(t, 200, "Not done yet.",
		"Would change: + licence a agent standard on Sub1 from 2026-11-20")
	form["subscription"] = []string{"Sub2", "Sub3"}
	openPage(t, s, "tenant", "/tenants/acme/users/a/licences/contact-center"+at, form).shows(t, 409, "R7",
		"Refused: Sub3 is not active on 2026-11-20, and will be from 2027-10-10 inactive_subscription")
	many := url.Values{"do": {"check"}, "user": {"a", "b"}, "subscription": {"Sub1"}, "from": {"2026-11-20"}}
	openPage(t, s, "tenant", "/tenants/acme/users"+at, many).shows(t, 200, "+ licence b agent standard on Sub1 from 2026-11-20")
	many.Del("user")
	openPage(t, s, "tenant", "/tenants/acme/users"+at, many).shows(t, 400, "Nobody is chosen")
}

// Twelve months show who loses access when and why, and what would keep it; the same can be had as files.
func TestConsoleAccess(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	page := openPage(t, s, "tenant", "/tenants/acme/access?from=2026-12")
	page.shows(t, 200, "2026-12 to 2027-11", "December 2026", "November 2027", "1 2 agents lose access", "2027-01-01 2 0 none")
	openPage(t, s, "operator", "/tenants/acme/access?from=2026-12&date=2027-01-01").shows(t, 200, "Friday 1 January 2027",
		"2 agents lose access", "a agent Sub2 the term of Sub2 ends nothing: none is active",
		"No subscription of the tenant is active on that date")
	openPage(t, s, "operator", "/tenants/acme/access?from=2026-12&date=2027-01-02").shows(t, 200, "Nobody loses access on 2027-01-02")
	openPage(t, s, "foreign", "/tenants/named/access?from=2026-12").shows(t, 200, "Nobody loses access from 2026-12 to 2027-11")
	openPage(t, s, "operator", "/tenants/acme/access?from=December").shows(t, 400, "No such month")
	csv := openPage(t, s, "tenant", "/tenants/acme/access.csv?from=2026-12")
	if csv.Header.Get("Content-Disposition") != "attachment; filename=access-acme-2026-12.csv" ||
		!strings.Contains(csv.html, "\r\n2027-01-01,agent,b,") {
		t.Errorf("%v\n%s", csv.Header, csv.html)
	}
	if ics := openPage(t, s, "tenant", "/tenants/acme/access.ics?from=2026-12"); !strings.Contains(ics.html, "SUMMARY:Acme AB: 2 users lose access\r\n") {
		t.Errorf("%v\n%s", ics.Header, ics.html)
	}
	openPage(t, s, "analyst", "/tenants/acme/access").shows(t, 403)
	openPage(t, s, "analyst", "/tenants/acme/access.csv").shows(t, 403)
}

// mapOnPages maps users with the forms of the console: by hand, and all who lose access.
func (s *apiServer) mapOnPages(t *testing.T) {
	t.Helper()
	added := openPage(t, s, "foreign", "/tenants/named/users", url.Values{"do": {"new"}, "new": {" kim@x/y "}})
	steps := added.Header.Get("Location")
	if added.StatusCode != 303 || steps != "/tenants/named/users/kim@x%2Fy/licences/contact-center" {
		t.Fatalf("%d %s", added.StatusCode, steps)
	}
	openPage(t, s, "foreign", steps).shows(t, 200, "kim@x/y", "not mapped")
	form := url.Values{"do": {"apply"}, "key": {"kim-1"}, "from": {"2027-06-01"}, "role": {"agent"}, "subscription": {"Named1"},
		"class.Named1": {"premium"}, "to.Named1": {"2026-12-24"}}
	openPage(t, s, "foreign", steps, form).shows(t, 409, "Refused: Named1 is not active on 2027-06-01, nor later, as its terms are now")
	form.Set("from", "2026-12-01")
	saved := openPage(t, s, "foreign", steps, form)
	if saved.StatusCode != 303 {
		t.Fatalf("%d\n%s", saved.StatusCode, saved.text)
	}
	openPage(t, s, "foreign", saved.Header.Get("Location")+"&at=2026-12-05T00:00:00Z").shows(t, 200, "Accepted at offset",
		"Saved: + licence kim@x/y agent premium on Named1 from 2026-12-01 to 2026-12-24", "yes until 2026-12-24")
	if again := openPage(t, s, "foreign", steps, form); again.Header.Get("Location") != saved.Header.Get("Location") {
		t.Errorf("a form that is sent twice: %d %s", again.StatusCode, again.Header.Get("Location"))
	}

	day := "/tenants/named/access?from=2026-12&date=2026-12-24"
	openPage(t, s, "foreign", day).shows(t, 200, "1 agent loses access", "kim@x/y agent Named1 the mapping to Named1 ends a mapping to Named1", "Map all to")
	all := url.Values{"do": {"check"}, "key": {"all-1"}, "on": {"2026-12-24"}, "from": {"2026-12-24"}, "subscription": {"Named1"}}
	openPage(t, s, "foreign", day, all).shows(t, 200, "Not done yet.", "+ licence kim@x/y agent premium on Named1 from 2026-12-24")
	all.Set("do", "apply")
	mapped := openPage(t, s, "foreign", day, all)
	if mapped.StatusCode != 303 {
		t.Fatalf("%d\n%s", mapped.StatusCode, mapped.text)
	}
	openPage(t, s, "foreign", mapped.Header.Get("Location")).shows(t, 200, "Accepted at offset", "Nobody loses access on 2026-12-24",
		"2027-01-01 1 0 none")
}

// Concurrency is shown against the pool, with the peak, the excess and each department, as a picture and as a table.
func TestConsoleUsage(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	day := openPage(t, s, "analyst", "/tenants/acme/usage?from=2026-10-14")
	day.shows(t, 200, "Agents, standard, Wednesday 14 October 2026", "4 live of 2 in the pool at 2026-10-14 12:00:00",
		"peak: 4 of 2 at 12:00:00", "2026-10-14 12:00 2026-10-14 13:30 4 over the pool 2", "2026-10-14 10:00 2026-10-14 11:00 2 2")
	for _, part := range []string{`<svg class="chart wide" viewBox="0 0 960 320" role="img" aria-labelledby="usage-t usage-d">`,
		`<path fill="url(#usage-h)" d="M`, `aria-current="date"><title>2026-10-14: peak 4, pool 2, over the pool</title>`,
		`<title>2026-10-01: peak 0, pool 0</title>`, `href="/tenants/acme/usage?from=2026-10-15"`, `&amp;step=1m`} {
		if !strings.Contains(day.html, part) {
			t.Errorf("the page of a day lacks %s\n%s", part, day.html)
		}
	}
	month := openPage(t, s, "tenant", "/tenants/acme/usage?from=2026-10-01&to=2026-11-01&by=subscription")
	month.shows(t, 200, "1 to 31 October 2026", "each step of 30 minutes", "What it costs", "peak: 4 of 2 at 14 Oct 12:00:00",
		"X Sub1 2 1 2026-10-14 12:00:00", "Y Sub2 2 1 2026-10-14 10:00:00")
	openPage(t, s, "operator", "/tenants/acme/usage?from=2026-10-20&meter=ivr_port").shows(t, 200, "IVR ports", "Nobody was live.", "never")
	openPage(t, s, "operator", "/tenants/acme/usage?from=2099-01-01").shows(t, 200, "There is nothing yet")
	openPage(t, s, "operator", "/tenants/acme/usage?from=2026-10-01&to=2026-12-01").shows(t, 400, "31")
	openPage(t, s, "operator", "/tenants/acme/usage?from=yesterday").shows(t, 400, "No such date")
	openPage(t, s, "publisher", "/tenants/acme/usage").shows(t, 403)
	openPage(t, s, "foreign", "/tenants/acme/usage").shows(t, 404)
	live := openPage(t, s, "analyst", "/tenants/acme/live")
	live.shows(t, 200, "Live", "as current as what is taken in", "Stop refreshing")
	if !strings.Contains(live.html, `<noscript><meta http-equiv="refresh" content="15"></noscript>`) || !strings.Contains(live.html, `hx-trigger="every 5s"`) {
		t.Error("the page of what is live does not refresh by itself")
	}
	openPage(t, s, "analyst", "/tenants/acme/live?pause=1").hides(t, "http-equiv", "hx-trigger")
}

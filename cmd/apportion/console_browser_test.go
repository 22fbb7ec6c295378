package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"apportion/billing/web/access"
	"apportion/billing/web/console"
	"apportion/deploy/embedded/servicetest"
)

// pictures is a directory that the tests of pages write pictures to, to be looked at.
var pictures = flag.String("pictures", "", "write pictures of the console's pages to this `directory`")

// consoleRoles are the holders of tokens that pages are opened as, by the role of each.
var consoleRoles = map[string]access.Role{
	"operator": access.Operator, "finance": access.Finance, "analyst": access.Analyst, "tenant": access.Tenant,
	"publisher": access.Publisher,
}

// shown is what the parts of a page's path stand for in the month that tests share.
var shown = map[string]string{
	"tenant": "acme", "subscription": "Sub1", "user": "a", "period": "2026-10", "invoice": "INV-Sub1-202610", "line": "5",
	"offset": "0", "page": "codes", "form": "csv",
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// pathOf returns a page of the month that tests share; a page whose path has a part that is not known here fails.
func pathOf(t *testing.T, page console.Page) string {
	path := strings.TrimSuffix(page.Path, "{$}")
	return placeholder.ReplaceAllStringFunc(path, func(part string) string {
		value, known := shown[strings.Trim(part, "{}")]
		if !known {
			t.Errorf("%s: what is %s in the tests' month? Add it to shown", page.Path, part)
		}
		return value
	})
}

// consolePages are all pages but those of one rejected event, of which the month has none.
func consolePages() []console.Page {
	return slices.DeleteFunc(console.New(console.Deps{}).Pages(), func(p console.Page) bool {
		return strings.HasPrefix(p.Path, "/rejected/")
	})
}

// isFile reports whether what a page's path has is a file to keep, which no browser shows.
func isFile(path string) bool {
	return strings.HasSuffix(path, ".csv") || strings.HasSuffix(path, ".ics") || strings.Contains(path, "/as/")
}

// TestConsoleRoles opens every page as every role, and as nobody: who may not ask for what is on it is told so, and what
// is another tenant's is not there.
func TestConsoleRoles(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	for _, page := range consolePages() {
		path := pathOf(t, page)
		openPage(t, s, "", path).shows(t, 401, "Open the link that was printed")
		for name, role := range consoleRoles {
			answer := openPage(t, s, name, path)
			if slices.Contains(access.Operations()[page.Needs], role) {
				if to := answer.Header.Get("Location"); to != "" { // whoever has one tenant does not choose one
					answer = openPage(t, s, name, to)
				}
				answer.shows(t, 200)
				holdsCommand(t, answer)
			} else {
				answer.shows(t, 403, "This page is not for you", name)
			}
			if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") ||
				strings.Contains(policy, "unsafe") {
				t.Errorf("%s: the policy of the page's content is %q", path, policy)
			}
		}
		if strings.Contains(page.Path, "{tenant}") || strings.Contains(page.Path, "{invoice}") {
			openPage(t, s, "foreign", path).shows(t, map[bool]int{true: 404, false: 403}[slices.Contains(
				access.Operations()[page.Needs], access.Tenant)])
		}
	}
}

// shownCommand finds the command that prints the same as a page.
var shownCommand = regexp.MustCompile(`The same in a terminal: <code>apportion ([^<]*)</code>`)

// holdsCommand fails where the program does not take the command that a page says to print the same.
func holdsCommand(t *testing.T, page shownPage) {
	t.Helper()
	found := shownCommand.FindStringSubmatch(page.html)
	if found == nil {
		return
	}
	cmd, rest, err := newRoot(&app{}).Find(strings.Fields(html.UnescapeString(found[1])))
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err == nil {
		err = cmd.ValidateRequiredFlags()
	}
	if err != nil || !cmd.Runnable() {
		t.Errorf("%s: %q is no command: %v", page.Request.URL, found[1], err)
	}
}

// TestConsoleBrowsed opens every page in Chromium.
func TestConsoleBrowsed(t *testing.T) {
	servicetest.Heavy(t, "it opens pages in Chromium")
	t.Parallel()
	s := apiFixture(t)
	tab := servicetest.NewTab(t, s.url)
	for _, page := range consolePages() {
		path := pathOf(t, page)
		if isFile(path) {
			continue
		}
		as := "finance"
		for _, name := range []string{"operator", "tenant", "publisher"} {
			if !slices.Contains(access.Operations()[page.Needs], consoleRoles[as]) {
				as = name
			}
		}
		if path == "/api" { // all routes are drawn alike, and there are very many
			path += "?q=events"
		}
		browse(t, s, tab, as, path)
	}
}

// browse opens a page in a tab, light and dark, wide and narrow: axe-core finds nothing, no script fails, nothing is
// asked of other hosts, and nothing is wider than a narrow window. The page as it is sent, which is what a browser
// without scripts shows, has the same headings.
func browse(t *testing.T, s *apiServer, tab *servicetest.Tab, as, path string) {
	t.Helper()
	tab.As(s.tokens[as])
	if status := tab.Open(path); status != 200 {
		t.Errorf("%s as %s: %d", path, as, status)
		return
	}
	for _, wrong := range tab.Inaccessible() {
		t.Errorf("%s: %s", path, wrong)
	}
	tab.Dark(true)
	for _, wrong := range tab.Inaccessible("color-contrast") {
		t.Errorf("%s, dark: %s", path, wrong)
	}
	tab.Dark(false)
	with := servicetest.Eval[string](tab, `[...document.querySelectorAll("h1,h2,h3")].map((h) => h.textContent).join("|")`)
	if sent := headings(t, openPage(t, s, as, path).html); with == "" || with != sent {
		t.Errorf("%s: without scripts the headings are %q, with them %q", path, sent, with)
	}
	tab.Size(360, 740)
	if wide := servicetest.Eval[int](tab, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("%s is %d wide in a window of 360: %s", path, wide, servicetest.Eval[string](tab, tooWide))
	}
	tab.Size(1024, 900)
	if *pictures != "" {
		takePictures(t, tab, path)
	}
}

// tooWide is the first element that is wider than the window, and that nothing around it scrolls.
const tooWide = `[...document.querySelectorAll("body *")].find((e) => e.getBoundingClientRect().right > innerWidth &&
	!e.parentElement.closest(".scroll"))?.outerHTML.slice(0, 200) ?? ""`

// headings are the texts of a page's headings.
func headings(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for n := range root.Descendants() {
		if n.DataAtom != atom.H1 && n.DataAtom != atom.H2 && n.DataAtom != atom.H3 {
			continue
		}
		text := ""
		for part := range n.Descendants() {
			if part.Type == html.TextNode {
				text += part.Data
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, "|")
}

// takePictures writes pictures of a page as people see it.
func takePictures(t *testing.T, tab *servicetest.Tab, path string) {
	name := strings.Trim(regexp.MustCompile(`[^\w-]+`).ReplaceAllString(path, "_"), "_")
	if name == "" {
		name = "home"
	}
	for _, form := range []struct {
		suffix string
		width  int64
		dark   bool
	}{{"360", 360, false}, {"1024", 1024, false}, {"1600", 1600, false}, {"dark", 1024, true}} {
		tab.Size(form.width, 900)
		tab.Dark(form.dark)
		if err := os.WriteFile(filepath.Join(*pictures, name+"-"+form.suffix+".png"), tab.Picture(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tab.Size(1024, 900)
	tab.Dark(false)
}

// consoleDay is when the tests of forms are: within the terms of what they map to.
var consoleDay = time.Date(2026, 10, 14, 10, 0, 0, 0, time.UTC)

// TestConsoleEightSteps is the vendor's article on assigning a user to a subscription, by the words that are seen, with
// the mouse and again with keys alone.
func TestConsoleEightSteps(t *testing.T) {
	servicetest.Heavy(t, "it opens pages in Chromium")
	t.Parallel()
	s := startConsole(t)
	tab := servicetest.NewTab(t, s.url)
	tab.As(s.tokens["tenant"]) // 1: sign in
	tab.Open("/tenants/acme")
	tab.Follow("Users") // 2: Management > Users
	tab.Follow("a")     // 3: the user
	if text := tab.Text(); !strings.Contains(text, "Summary") || !strings.Contains(text, "Licenses") {
		t.Fatalf("the tab Summary, or its section Licenses, is not there:\n%s", text)
	}
	tab.Follow("Edit licenses") // 4: Summary, Licenses, Edit licenses
	tab.Follow("Edit licenses") // 5: again
	tab.Follow("Contact Center")
	text := tab.Text()
	for _, word := range []string{"Sub1", "Sub2", "concurrent", "2026-01-01 to 2027-01-01"} {
		if !strings.Contains(text, word) {
			t.Errorf("the subscriptions lack %q:\n%s", word, text)
		}
	}
	tab.Click("Sub1")  // 7: tick
	tab.Follow("Save") // 8
	if text := tab.Text(); !strings.Contains(text, "Accepted at offset") || !strings.Contains(text, "mapped to Sub1, Sub2 until") {
		t.Errorf("after Save:\n%s", text)
	}
	s.ask(t, "tenant", "GET", "/tenants/acme/users/a?at=2026-10-14T10:00:00Z", "").
		want(t, 200, `{"user":"a","role":"agent","class":"standard","subscription":"Sub1","from":"2026-10-14"}`)

	// An untick ends the mapping, by keys alone: Enter in a field of the form asks what it would change.
	tab.Open("/tenants/acme/users/a/licences/contact-center")
	focus := func(selector string) {
		t.Helper()
		servicetest.Eval[bool](tab, `document.querySelector('`+selector+`').focus(), true`)
	}
	focus(`input[name="subscription"][value="Sub1"]`)
	tab.Press(" ", false)
	tab.Press("\r", true)
	if text := tab.Text(); !strings.Contains(text, "Not done yet") || !strings.Contains(text, "- licence a agent standard on Sub1") {
		t.Errorf("what an untick would change:\n%s", text)
	}
	focus(`button[value="apply"]`)
	tab.Press("\r", true)
	if text := tab.Text(); !strings.Contains(text, "Accepted at offset") || !strings.Contains(text, "mapped to Sub2 until") {
		t.Errorf("after an untick:\n%s", text)
	}
}

// TestConsoleNames: names that are no names, of another script, and of ten thousand, are shown as they are and run
// nothing.
func TestConsoleNames(t *testing.T) {
	servicetest.Heavy(t, "it opens pages in Chromium")
	t.Parallel()
	s := startConsole(t)
	const image, arabic, script = `<img src=x onerror="window.ran=1">`, "قسم المبيعات", `"><script>window.ran=1</script>`
	document, err := json.Marshal(map[string]any{
		"id": "odd", "name": image, "timeZone": "Asia/Riyadh", "telephony": "webex_calling",
		"subscriptions": []any{map[string]any{
			"id": "Odd1", "name": arabic, "licenceModel": "concurrent", "plan": "flex", "deployment": "cloud", "currency": "SAR",
			"billing": "monthly", "terms": []any{map[string]any{"from": "2026-01-01", "to": "2027-01-01"}},
			"versions": []any{map[string]any{"from": "2026-01-01"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ask(t, "operator", "PUT", "/tenants/odd", string(document), "If-None-Match", "*").want(t, 200)
	users := []string{script, arabic}
	for i := range 10_000 {
		users = append(users, fmt.Sprintf("user-%05d@example.com", i))
	}
	mapping, err := json.Marshal(map[string]any{"users": users, "subscription": "Odd1", "from": "2026-01-01", "role": "agent"})
	if err != nil {
		t.Fatal(err)
	}
	s.ask(t, "operator", "POST", "/tenants/odd/licences:map", string(mapping)).want(t, 200)

	tab := servicetest.NewTab(t, s.url)
	tab.As(s.tokens["operator"])
	for path, texts := range map[string][]string{
		"/tenants":                                {image},
		"/tenants/odd":                            {image, arabic},
		"/tenants/odd/users":                      {image, script, "user-00000@example.com"},
		"/tenants/odd/users?q=" + "09999":         {"user-09999@example.com"},
		"/tenants/odd/users?q=%D9%82%D8%B3%D9%85": {arabic},
		"/tenants/odd/access":                     {"10002"},
		"/log":                                    {"odd"},
	} {
		tab.Open(path)
		text := strings.ReplaceAll(tab.Text(), "\u202f", "")
		for _, want := range texts {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", path, want, text[:min(len(text), 2000)])
			}
		}
		if servicetest.Eval[bool](tab, `window.ran !== undefined`) {
			t.Errorf("%s ran what a name says", path)
		}
		for _, wrong := range tab.Inaccessible() {
			t.Errorf("%s: %s", path, wrong)
		}
	}
}

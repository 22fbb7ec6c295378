package main

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// accountPage is a page of the console as somebody sees it: its words, without what is not shown.
type accountPage struct {
	*http.Response
	html, text string
}

var (
	accountTags  = regexp.MustCompile(`(?s)<(script|style).*?</(script|style)>|<[^>]*>`)
	accountSpace = regexp.MustCompile(`\s+`)
)

// openPage opens a page as the holder of a token or, with a form, sends the form; redirects are not followed.
func openPage(t *testing.T, s *apiServer, as, path string, form ...url.Values) accountPage {
	t.Helper()
	method, body := http.MethodGet, ""
	if len(form) > 0 {
		method, body = http.MethodPost, form[0].Encode()
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.tokens[as])
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := accountTags.ReplaceAllString(string(content), " ")
	text = strings.ReplaceAll(html.UnescapeString(text), "\u202f", "")
	return accountPage{response, string(content), strings.TrimSpace(accountSpace.ReplaceAllString(text, " "))}
}

// shows fails unless a page has a status, and each of some texts among its words.
func (p accountPage) shows(t *testing.T, status int, texts ...string) {
	t.Helper()
	if p.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d\n%s", p.Request.Method, p.Request.URL, p.StatusCode, status, p.text)
	}
	for _, text := range texts {
		if !strings.Contains(p.text, text) {
			t.Errorf("%s %s lacks %q:\n%s", p.Request.Method, p.Request.URL, text, p.text)
		}
	}
}

// hides fails where a page has one of some texts.
func (p accountPage) hides(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(p.html, text) {
			t.Errorf("%s %s has %q:\n%s", p.Request.Method, p.Request.URL, text, p.text)
		}
	}
}

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
	tenant.shows(t, 200, "Acme AB", "agent_standard now", "Next renewal 2027-01-01", "The term of Sub1 ends then.",
		"lose access within 90 days")
	tenant.hides(t, "To decide", "Freshness", "named")
	publisher := openPage(t, s, "publisher", "/")
	publisher.shows(t, 200, "Your sources", "/t 0", "Try an event")
	publisher.hides(t, "To decide", "Next renewal")
	stranger := openPage(t, s, "", "/")
	stranger.shows(t, 401, "Sign in")
	stranger.hides(t, "To decide")
}

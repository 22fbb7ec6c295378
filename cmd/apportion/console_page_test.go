package main

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// shownPage is a page of the console as somebody sees it: its words, without what is not shown.
type shownPage struct {
	*http.Response
	html, text string
}

var (
	pageTags  = regexp.MustCompile(`(?s)<(script|style).*?</(script|style)>|<[^>]*>`)
	pageSpace = regexp.MustCompile(`\s+`)
)

// openPage opens a page as the holder of a token, "" for nobody, or, with a form, sends the form; redirects are not followed.
func openPage(t *testing.T, s *apiServer, as, path string, form ...url.Values) shownPage {
	t.Helper()
	method, body := http.MethodGet, ""
	if len(form) > 0 {
		method, body = http.MethodPost, form[0].Encode()
	}
	request := s.request(t, as, method, path, "application/x-www-form-urlencoded", body)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := pageTags.ReplaceAllString(string(content), " ")
	text = strings.ReplaceAll(html.UnescapeString(text), "\u202f", "")
	return shownPage{response, string(content), strings.TrimSpace(pageSpace.ReplaceAllString(text, " "))}
}

// shows fails unless a page has a status, and each of some texts among its words.
func (p shownPage) shows(t *testing.T, status int, texts ...string) {
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
func (p shownPage) hides(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(p.html, text) {
			t.Errorf("%s %s has %q:\n%s", p.Request.Method, p.Request.URL, text, p.text)
		}
	}
}

// has fails unless a page has each of some texts in its source.
func (p shownPage) has(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.html, text) {
			t.Errorf("%s %s lacks %q:\n%s", p.Request.Method, p.Request.URL, text, p.html)
		}
	}
}

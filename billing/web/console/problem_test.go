package console

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"apportion/billing/web/access"
)

// problemConsole serves the console to somebody, on an API that answers every request with one problem.
func problemConsole(status int, problem, subject string, canSignIn bool) http.Handler {
	who := access.Identity{Subject: subject, Grants: []access.Grant{{Role: access.Finance}}}
	if subject == "" {
		who.Grants = nil
	}
	return New(Deps{
		API: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, problem)
		}),
		Identity: func(*http.Request) access.Identity { return who }, CanSignIn: canSignIn,
		Log: slog.New(slog.DiscardHandler), Clock: time.Now,
	})
}

var problemPages = []struct {
	name, path, subject string
	canSignIn           bool
	status              int
	problem             string
	says, without       []string
}{
	{"sign in with an issuer", "/log?actor=eva", "", true, 401, ``,
		[]string{"sign in", `href="/login?to=%2flog%3factor%3deva"`, "no passwords"}, []string{"Sign out", "Periods"}},
	{"sign in by link", "/log", "", false, 401, ``, []string{"Open the link that was printed"}, []string{"/login"}},
	{"not for the role", "/rejected", "eva", true, 403, ``,
		[]string{"This page is not for you", "You are</dt><dd><bdi>eva", "Your roles</dt><dd>finance",
			"The page is for</dt><dd>operator, publisher", `href="/">Start page`}, []string{"Try again"}},
	{"forbidden", "/log", "eva", true, 403,
		`{"title":"the roles of the sender do not allow it","status":403,"code":"forbidden",` +
			`"detail":"eva may not see the ids of agents","advice":"ask somebody who has the role","requestId":"r-1"}`,
		[]string{"not for you", "/docs/reference/codes#forbidden", "<p>eva may not see the ids of agents.", "Ask somebody who has the role.",
			"<h1><bdi>The roles of the sender do not allow it", "r-1"}, []string{"Try again"}},
	{"not there", "/log/9", "eva", true, 404,
		`{"title":"there is nothing of that name","status":404,"code":"not_found","detail":"there is no command 9 that you may see"}`,
		[]string{"not there", "There is no command 9 that you may see.", `<a class="button second" href="/log">Log</a>`,
			`<a class="button second" href="/">Start page</a>`}, []string{"Try again", "What to do"}},
	{"no page", "/nowhere", "eva", true, 404, ``, []string{"There is no such page", "/nowhere is no page"}, nil},
	{"stopped", "/log", "eva", true, 409,
		`{"title":"a line needs a price that the price list lacks","status":409,"code":"missing_price","rule":"R19",` +
			`"detail":"Sub1 has no price of ivr_port","advice":"add the price","errors":[{"code":"missing_price","field":"tenantId","value":"acme","message":"Sub1 has no price of ivr_port"}]}`,
		[]string{"stopped", "/docs/reference/rules#r19", "Sub1 has no price of ivr_port.", "Add the price.", "Load the page again"},
		[]string{`class="faults"`}},
	{"too often", "/log", "eva", true, 429,
		`{"title":"the sender asks too often","status":429,"code":"too_many_requests","detail":"eva asks more often than one subject may"}`,
		[]string{"too often", "Try again", `http-equiv="refresh" content="10"`}, nil},
	{"away", "/log", "eva", true, 503,
		`{"title":"it cannot be done now","status":503,"code":"unavailable","detail":"Kafka or ClickHouse do not answer","requestId":"r-2"}`,
		[]string{"away", "Kafka or ClickHouse do not answer.", "Try again", "r-2", `http-equiv="refresh" content="10"`}, nil},
	{"away without a word", "/log", "eva", true, 200, `no JSON`,
		[]string{"This page cannot be made now", "Try again in a minute.", "Try again"}, []string{"no JSON"}},
}

// Where there is no page, one says why, what to do, and where to go on.
func TestProblemPages(t *testing.T) {
	for _, c := range problemPages {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			w := httptest.NewRecorder()
			problemConsole(c.status, c.problem, c.subject, c.canSignIn).ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.path, nil))
			want := c.status
			switch {
			case want == 200:
				want = 503
			case c.subject == "":
				want = 401
			}
			body := w.Body.String()
			if w.Code != want || (want == 503) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%d, Retry-After %q\n%s", w.Code, w.Header().Get("Retry-After"), body)
			}
			for _, text := range c.says {
				if !strings.Contains(body, text) {
					t.Errorf("it lacks %q:\n%s", text, body)
				}
			}
			for _, text := range c.without {
				if strings.Contains(body, text) {
					t.Errorf("it has %q:\n%s", text, body)
				}
			}
			if script := regexp.MustCompile(`<script(>| [^>]*>[^<])| style=| on[a-z]+=`).FindString(body); script != "" {
				t.Errorf("it has %q, which no browser may run", script)
			}
		})
	}
}

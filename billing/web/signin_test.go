package web

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"apportion/billing/web/access"
	"apportion/billing/web/auth"
)

// signInServer is a server without use cases, by a clock that stands still.
func signInServer(t *testing.T, cfg Config, door auth.Config) (handler http.Handler, log *bytes.Buffer) {
	t.Helper()
	clock := func() time.Time { return time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC) }
	d, err := auth.NewDoor(door, clock)
	if err != nil {
		t.Fatal(err)
	}
	log = new(bytes.Buffer)
	return New(cfg, Deps{Auth: d, SignIn: d, Log: slog.New(slog.NewTextHandler(log, nil)), Clock: clock}).Handler(), log
}

func answer(handler http.Handler, method, path, remote string, headers ...string) *http.Response {
	r, w := httptest.NewRequest(method, path, nil), httptest.NewRecorder()
	r.RemoteAddr = remote
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	handler.ServeHTTP(w, r)
	return w.Result()
}

// One address may try to sign in only so often, and others meanwhile as before.
func TestSignInsAreLimited(t *testing.T) {
	handler, log := signInServer(t, DefaultConfig(), auth.Config{})
	for i := range signInBurst {
		if r := answer(handler, "GET", "/login?once=x", fmt.Sprintf("10.0.0.1:%d", i+1)); r.StatusCode != http.StatusUnauthorized {
			t.Fatalf("try %d: %d", i, r.StatusCode)
		}
	}
	for path, remote := range map[string]string{"/login?once=x": "10.0.0.1:9", auth.CallbackPath: "[::ffff:10.0.0.1]:9"} {
		if r := answer(handler, "GET", path, remote); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "5" {
			t.Errorf("%s from %s: %d, to be asked again after %q", path, remote, r.StatusCode, r.Header.Get("Retry-After"))
		}
	}
	for remote, want := range map[string]int{"10.0.0.2:9": http.StatusUnauthorized, "[2001:db8::1]:9": http.StatusUnauthorized} {
		if r := answer(handler, "GET", "/login?once=x", remote); r.StatusCode != want {
			t.Errorf("from %s: %d, want %d", remote, r.StatusCode, want)
		}
	}
	if !strings.Contains(log.String(), `msg="a request is refused"`) || strings.Contains(log.String(), "once=") {
		t.Errorf("the log is %s", log)
	}
	var limit addressLimit
	now := time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC)
	for i := range signInBurst {
		limit.allow(fmt.Sprintf("[2001:db8::%x]:1", i), now)
	}
	if limit.allow("[2001:db8::ffff]:1", now) || !limit.allow("[2001:db8:0:1::1]:1", now) {
		t.Error("addresses of one network of IPv6 are not one")
	}
	for i := range 2 * maxAddresses {
		limit.allow(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), now)
	}
	if n := len(limit.by); n > maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
}

// Over https a browser is told to stay with it, and its cookie is for this host alone; a session goes by the cookie's name.
func TestSignInOverHTTPS(t *testing.T) {
	token, err := access.NewToken(strings.NewReader(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	door := auth.Config{Once: "s3cret", OnceToken: "local", Secure: true,
		Tokens: []auth.Token{{Name: "local", SHA256: access.HashToken(token), Grants: []access.Grant{{Role: access.Operator}}},
			{Name: "none", SHA256: strings.Repeat("0", 64)}}}
	cfg := DefaultConfig()
	cfg.Secure = true
	handler, log := signInServer(t, cfg, door)
	r := answer(handler, "GET", "/login?once=s3cret", "10.0.0.1:9")
	cookies := r.Cookies()
	if r.StatusCode != http.StatusSeeOther || len(cookies) != 1 || cookies[0].Name != "__Host-apportion" || !cookies[0].Secure {
		t.Fatalf("%d, %+v", r.StatusCode, cookies)
	}
	if got := r.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("HSTS is %q", got)
	}
	if r := answer(handler, "GET", Prefix+"/me", "10.0.0.1:9", "Cookie", cookies[0].Name+"="+cookies[0].Value); r.StatusCode != http.StatusOK {
		t.Errorf("by the session: %d", r.StatusCode)
	}
	for _, cookie := range []string{"apportion=" + cookies[0].Value, "__Host-apportion-sign-in=" + cookies[0].Value} {
		if r := answer(handler, "GET", Prefix+"/me", "10.0.0.1:9", "Cookie", cookie); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("by another cookie: %d", r.StatusCode)
		}
	}
	if out := answer(handler, "POST", "/logout", "10.0.0.1:9", "Cookie", cookies[0].Name+"="+cookies[0].Value); out.StatusCode != http.StatusSeeOther ||
		len(out.Cookies()) != 1 || out.Cookies()[0].MaxAge >= 0 || out.Cookies()[0].Value != "" {
		t.Errorf("%d, %+v", out.StatusCode, out.Cookies())
	}
	if strings.Contains(log.String(), "s3cret") || strings.Contains(log.String(), cookies[0].Value) || !strings.Contains(log.String(), `subject="local operator"`) {
		t.Errorf("the log is %s", log)
	}
	plain, _ := signInServer(t, DefaultConfig(), auth.Config{})
	if got := answer(plain, "GET", "/login", "10.0.0.1:9").Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("over plain http HSTS is %q", got)
	}
}

// somebody authenticates everybody as one who is granted nothing.
type somebody struct{}

func (somebody) Authenticate(http.ResponseWriter, *http.Request) (access.Identity, error) {
	return access.Identity{Subject: "eva"}, nil
}

// Whom the issuer knows and nothing is granted to is refused everywhere, by name.
func TestGrantedNothing(t *testing.T) {
	handler := New(DefaultConfig(), Deps{Auth: somebody{}, Log: slog.New(slog.DiscardHandler), Clock: time.Now}).Handler()
	for _, path := range []string{"/me", "/tenants", "/tenants/acme", "/openapi.json", "/nothing"} {
		r := answer(handler, "GET", Prefix+path, "10.0.0.1:9")
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		if r.StatusCode != http.StatusForbidden || !strings.Contains(body.String(), "eva is granted nothing") {
			t.Errorf("%s: %d %s", path, r.StatusCode, &body)
		}
	}
}

// Answers are counted by the pattern of their route, whatever is asked for, and sign-ins by whether they were accepted.
func TestAnswersAreCounted(t *testing.T) {
	var answers, signIns []string
	door, err := auth.NewDoor(auth.Config{Once: "s3cret", OnceToken: "local"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC) }
	handler := New(DefaultConfig(), Deps{
		Auth: somebody{}, SignIn: door, Log: slog.New(slog.DiscardHandler), Clock: clock,
		Answered: func(a Answer) { answers = append(answers, fmt.Sprint(a.Method, " ", a.Route, " ", a.Status)) },
		SignedIn: func(accepted bool) { signIns = append(signIns, fmt.Sprint(accepted)) },
	}).Handler()
	for _, asked := range []struct{ method, path string }{
		{"GET", Prefix + "/tenants/acme"}, {"GET", Prefix + "/tenants/beta"}, {"BREW", Prefix + "/tenants/acme"},
		{"GET", Prefix + "//tenants"}, {"GET", "/static/0/none.js"}, {"GET", "/wp-login.php"}, {"GET", "/login?once=wrong"},
		{"GET", "/login?once=s3cret"},
	} {
		answer(handler, asked.method, asked.path, "10.0.0.1:9")
	}
	want := []string{"GET /api/v1/tenants/{tenant} 403", "GET /api/v1/tenants/{tenant} 403", "other /api/v1/ 403", "GET / 403",
		"GET / 404", "GET / 404", "GET /login 401", "GET /login 303"}
	if !slices.Equal(answers, want) {
		t.Errorf("answers\n%q, want\n%q", answers, want)
	}
	if !slices.Equal(signIns, []string{"false", "true"}) {
		t.Errorf("sign-ins: %q", signIns)
	}
}

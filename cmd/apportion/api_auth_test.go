package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"apportion/deploy/embedded/servicetest"
)

// buffer is what a program writes while a test reads it.
type buffer struct {
	lock chan struct{}
	b    bytes.Buffer
}

func newBuffer() *buffer { return &buffer{lock: make(chan struct{}, 1)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.lock <- struct{}{}
	defer func() { <-b.lock }()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.lock <- struct{}{}
	defer func() { <-b.lock }()
	return b.b.String()
}

// started runs the program until the test ends, and returns what it writes to stdout and stderr.
func started(t *testing.T, args ...string) (stdout, stderr *buffer) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stdout, stderr = newBuffer(), newBuffer()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, os.Environ(), strings.NewReader(""), stdout, stderr) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitDone {
			t.Errorf("apportion %v: exit code %d\n%s", args, code, stderr)
		}
	})
	return stdout, stderr
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to be that %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What dev serves is asked by its token, and by a browser that its link signed in, once; by nobody else.
func TestDevServes(t *testing.T) {
	servicetest.Heavy(t, "it starts servers of its own")
	servicetest.ClickHouse(t)
	data := filepath.Join(t.TempDir(), "data")
	stdout, stderr := started(t, "dev", "--data", data, "--json")
	waitFor(t, "dev is ready", func() bool { return strings.Contains(stderr.String(), "ready; pass --config") })
	var is struct{ API, Ops, Token, SignIn, Config string }
	if err := json.Unmarshal([]byte(stdout.String()), &is); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if info, err := os.Stat(is.Token); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v, %v", is.Token, info.Mode(), err)
	}
	token, err := os.ReadFile(is.Token)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(client *http.Client, method, url string, headers ...string) (*http.Response, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	wants := func(status int, text string) func(*http.Response, string) {
		return func(r *http.Response, body string) {
			t.Helper()
			if r.StatusCode != status || !strings.Contains(body, text) {
				t.Errorf("%s %s: %d, want %d with %s\n%s", r.Request.Method, r.Request.URL.Path, r.StatusCode, status, text, body)
			}
		}
	}
	me := is.API + "/api/v1/me"
	wants(401, `"code":"unauthenticated"`)(ask(browser, "GET", me))
	wants(401, `"code":"unauthenticated"`)(ask(browser, "GET", me, "Authorization", "Bearer app_x"))
	wants(200, `"subject":"local"`)(ask(browser, "GET", me, "Authorization", "Bearer "+strings.TrimSpace(string(token))))
	wants(200, "ok")(ask(browser, "GET", is.Ops+"/healthz"))
	wants(200, "apportion_zone_data_age_days")(ask(browser, "GET", is.Ops+"/metrics"))
	if r, _ := ask(browser, "GET", is.API+"/metrics"); r.StatusCode == http.StatusOK {
		t.Error("the API's listener serves metrics")
	}

	wants(401, "not valid")(ask(browser, "GET", is.API+"/login?once=x"))
	wants(401, "no issuer")(ask(browser, "GET", is.API+"/login"))
	signedIn, _ := ask(browser, "GET", is.SignIn)
	if signedIn.StatusCode != http.StatusSeeOther || signedIn.Header.Get("Location") != "/" {
		t.Fatalf("%d to %q", signedIn.StatusCode, signedIn.Header.Get("Location"))
	}
	if c := signedIn.Cookies(); len(c) != 1 || c[0].Name != "apportion" || !c[0].HttpOnly || c[0].Secure || c[0].SameSite != http.SameSiteLaxMode || c[0].Path != "/" {
		t.Errorf("%+v", c)
	}
	wants(200, `"subject":"local operator"`)(ask(browser, "GET", me))
	wants(200, `"items":[]`)(ask(browser, "GET", is.API+"/api/v1/tenants"))
	wants(401, "used already")(ask(&http.Client{}, "GET", is.SignIn))
	wants(403, "another site")(ask(browser, "POST", is.API+"/logout", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"))
	wants(200, `"subject":"local operator"`)(ask(browser, "GET", me))
	wants(303, "")(ask(browser, "POST", is.API+"/logout"))
	wants(401, `"code":"unauthenticated"`)(ask(browser, "GET", me))

	log := stderr.String()
	for _, want := range []string{`msg="signed in"`, `subject="local operator"`, `msg="signed out"`, `msg="a sign-in is refused"`, `msg="a request is refused"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s\n%s", want, log)
		}
	}
	for _, secret := range []string{strings.TrimSpace(string(token)), is.SignIn[strings.Index(is.SignIn, "once="):], signedIn.Cookies()[0].Value} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has a secret\n%s", log)
		}
	}
}

// issuerOf serves an OpenID Connect issuer at which everybody is eva, of some groups.
func issuerOf(t *testing.T, groups ...string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	answer := func(path string, what func(r *http.Request) any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(what(r))
		})
	}
	answer("/.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize",
			"token_endpoint": server.URL + "/token", "jwks_uri": server.URL + "/keys"}
	})
	answer("/keys", func(*http.Request) any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public()}}}
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query() // the code is the nonce
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {q.Get("nonce")}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
	})
	answer("/token", func(r *http.Request) any {
		token, err := jwt.Signed(signer).Claims(map[string]any{"iss": server.URL, "aud": "apportion", "sub": "eva", "groups": groups,
			"nonce": r.FormValue("code"), "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
		if err != nil {
			t.Error(err)
		}
		return map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": token}
	})
	return server.URL
}

// Somebody signs in with the issuer at what serve serves, and sees the tenants of its groups, and no others.
func TestServeSignsIn(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	content, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	file := filepath.Join(t.TempDir(), "apportion.yaml")
	if err := os.WriteFile(file, fmt.Appendf(content, "http: {listen: '%s', ops: '127.0.0.1:0'}\n"+
		"auth:\n  oidc: {issuer: '%s', clientId: apportion}\n  grants: [{group: 'cc-admin:{tenant}', roles: [tenant]}]\n"+
		"  sessionKeys: ['MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=']\n", listen, issuerOf(t, "staff", "cc-admin:acme")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr := started(t, "serve", "--config", file)
	waitFor(t, "the API is served", func() bool { return strings.Contains(stderr.String(), "serving the API") })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	if status, body := get(t, browser, "http://"+listen+"/api/v1/tenants"); status != 401 {
		t.Fatalf("a stranger: %d %s", status, body)
	}
	if status, body := get(t, browser, "http://"+listen+"/login?to=/api/v1/tenants"); status != 200 || !strings.Contains(body, `"tenantId":"acme"`) || strings.Contains(body, "named") {
		t.Errorf("after signing in: %d %s\n%s", status, body, stderr)
	}
	if status, body := get(t, browser, "http://"+listen+"/api/v1/me"); status != 200 || !strings.Contains(body, `"subject":"eva"`) || !strings.Contains(body, `"tenants":["acme"]`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, browser, "http://"+listen+"/api/v1/tenants/named"); status != 404 {
		t.Errorf("a foreign tenant: %d %s", status, body)
	}
}

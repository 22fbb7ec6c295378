package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apportion/billing/web"
	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/deploy/embedded/servicetest"
)

// wrongBodies are wrong for every route that takes JSON.
var wrongBodies = []struct{ what, body string }{
	{"an unknown member", `{"noSuchMember":1}`},
	{"a repeated member", `{"reason":"x","reason":"x"}`},
	{"a list", `[]`}, {"a text", `"x"`}, {"a number", `1`}, {"null", `null`}, {"half an object", `{"reason":`}, {"two objects", `{} {}`},
	{"not UTF-8", "{\"reason\":\"\xff\"}"}, {"UTF-16", "\xff\xfe{\x00}\x00"}, {"a NUL", "\x00"},
	{"too deep", `{"reason":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + `}`},
	{"too deep objects", strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)},
}

// eventRoutes take what the event contract is checked against, event by event.
var eventRoutes = []string{"postEvents", "checkEvents"}

// mayAsk is a role that may ask for a route.
func mayAsk(o apiOperation) string { return o.Roles[len(o.Roles)-1] }

// A wrong request is refused with what is wrong with it, and nothing of it is done.
func TestAPIWrongBodies(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	was := s.ask(t, "operator", "GET", "/tenants/acme", "")
	asked := 0
	for _, o := range operations {
		if o.RequestBody == nil {
			continue
		}
		r := scopeFill(t, o, ofAcme, ofAcme)
		role := mayAsk(o)
		statuses := []int{400}
		if slices.Contains(eventRoutes, o.ID) {
			statuses = []int{200, 202, 400, 413}
		}
		for _, wrong := range wrongBodies {
			a := s.ask(t, role, r.method, r.path, wrong.body, r.headers...)
			asked++
			if !slices.Contains(statuses, a.StatusCode) {
				t.Errorf("%s with %s: %d\n%.1000s", o.ID, wrong.what, a.StatusCode, a.body)
			}
		}
		var large apiAnswer
		for _, size := range []int{1 << 20, 4 << 20, 8 << 20} { // a route may take more than others
			large = s.ask(t, role, r.method, r.path, `{"reason":"`+strings.Repeat("a", size)+`"}`, r.headers...)
			if large.StatusCode == http.StatusRequestEntityTooLarge {
				break
			}
		}
		if large.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(large.body, `"code":"body_too_large"`) {
			t.Errorf("%s with a large body: %d\n%.1000s", o.ID, large.StatusCode, large.body)
		}
		headers := append(slices.Clone(r.headers), "Content-Type", "text/plain")
		if plain := s.ask(t, role, r.method, r.path, r.body, headers...); plain.StatusCode != http.StatusUnsupportedMediaType &&
			!slices.Contains(eventRoutes, o.ID) {
			t.Errorf("%s with text/plain: %d\n%s", o.ID, plain.StatusCode, plain.body)
		}
	}
	if asked == 0 {
		t.Error("no route takes a body")
	}
	if is := s.ask(t, "operator", "GET", "/tenants/acme", ""); is.Header.Get("ETag") != was.Header.Get("ETag") {
		t.Errorf("acme was changed: %s", is.body)
	}
}

// A parameter that is unknown, repeated, in another case or of a wrong type is refused, and a form that there is not.
func TestAPIWrongParameters(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	for _, o := range operations {
		r := scopeFill(t, o, ofAcme, ofAcme)
		role := mayAsk(o)
		ask := func(path string, headers ...string) apiAnswer {
			return s.ask(t, role, r.method, path, r.body, append(slices.Clone(r.headers), headers...)...)
		}
		and := "?"
		if strings.Contains(r.path, "?") {
			and = "&"
		}
		ask(r.path+and+"noSuchParameter=1").want(t, http.StatusBadRequest, `"code":"malformed_request"`)
		ask(r.path+and+"%zz=1").want(t, http.StatusBadRequest, `"code":"malformed_request"`)
		ask(r.path, "Accept", "application/x-no-such").want(t, http.StatusNotAcceptable, `"code":"not_acceptable"`)
		for _, p := range o.Parameters {
			if p.In != "query" {
				continue
			}
			ask(r.path+and+p.Name+"=1&"+p.Name+"=1").want(t, http.StatusBadRequest, "repeated")
			ask(withQuery(r.path, strings.ToUpper(p.Name), "1")).want(t, http.StatusBadRequest)
			wrong := ""
			switch p.Schema["type"] {
			case "integer", "boolean":
				wrong = "x"
			}
			if p.Schema["format"] != nil {
				wrong = "yesterday"
			}
			if wrong != "" {
				ask(withQuery(r.path, p.Name, wrong)).want(t, http.StatusBadRequest, p.Name)
			}
			switch p.Name {
			case "limit":
				for _, limit := range []string{"0", "501", "-1", "1.5", "99999999999999999999"} {
					ask(withQuery(r.path, "limit", limit)).want(t, http.StatusBadRequest, "limit")
				}
			case "after":
				for _, after := range []string{"x", "AAAA", "%00", strings.Repeat("A", 5000), "'"} {
					ask(withQuery(r.path, "after", after)).want(t, http.StatusBadRequest, `"code":"invalid_cursor"`)
				}
			}
		}
	}
}

// A path takes the methods that the document has for it, and says which where it is asked with another.
func TestAPIMethods(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	takes := map[string][]string{}
	for _, o := range operations {
		takes[o.Path] = append(takes[o.Path], o.Method)
		if o.Method == "GET" {
			takes[o.Path] = append(takes[o.Path], "HEAD")
		}
	}
	for path, methods := range takes {
		concrete := path
		for name, values := range scopeValues {
			concrete = strings.ReplaceAll(concrete, "{"+name+"}", values[ofAcme])
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
			if slices.Contains(methods, method) {
				continue
			}
			s.ask(t, "", method, concrete, "").want(t, http.StatusUnauthorized)
			a := s.ask(t, "operator", method, concrete, "")
			a.want(t, http.StatusMethodNotAllowed)
			allowed := strings.Split(a.Header.Get("Allow"), ", ")
			slices.Sort(allowed)
			slices.Sort(methods)
			if !slices.Equal(allowed, methods) {
				t.Errorf("%s %s: Allow is %q, and the document has %q", method, concrete, allowed, methods)
			}
		}
	}
	head := s.ask(t, "operator", "HEAD", "/tenants", "")
	if head.want(t, http.StatusOK); head.body != "" {
		t.Errorf("HEAD has the body %s", head.body)
	}
	for _, path := range []string{"/", "/no/such", "/tenants/", "//tenants", "/tenants/acme/../named", "/tenants/./acme", "/%2e%2e/v1/me"} {
		s.ask(t, "", "GET", path, "").want(t, http.StatusUnauthorized)
		s.ask(t, "tenant", "GET", path, "").want(t, http.StatusNotFound, `"code":"not_found"`)
	}
}

// An id may have any characters: what is escaped in a path is the id as it is, and none leads elsewhere.
func TestAPIEscapedIDs(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	s.ask(t, "tenant", "GET", "/tenants/%61cme", "").want(t, http.StatusOK, `"tenantId":"acme"`)
	for escaped, id := range map[string]string{
		"a%2Fb": "a/b", "..%2Facme": "../acme", "%C3%A5": "å", "%F0%9F%8F%A2": "🏢", "a%20b": "a b", "a%3Fb": "a?b", "a%23b": "a#b", "a+b": "a+b",
	} {
		s.ask(t, "operator", "GET", "/tenants/"+escaped, "").want(t, http.StatusNotFound, "there is no tenant "+id+" that you may see")
	}
}

// Every answer has the headers that keep browsers from doing what it is not for, and a page of another site may not write.
func TestAPIHeaders(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	for _, a := range []apiAnswer{
		s.ask(t, "tenant", "GET", "/tenants", ""), s.ask(t, "", "GET", "/tenants", ""), s.ask(t, "tenant", "GET", "/nothing", ""),
		s.ask(t, "tenant", "GET", "/openapi.json", ""), s.ask(t, "tenant", "GET", "/tenants?x=1", ""),
	} {
		for name, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if a.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", a.Request.URL, name, a.Header.Get(name), value)
			}
		}
	}
	const telephony = `{"telephony":"webex_calling"}`
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		s.ask(t, "operator", "POST", "/tenants/acme/telephony?dryRun=true", telephony, headers...).
			want(t, http.StatusForbidden, `"code":"forbidden"`, "a page of another site")
	}
	s.ask(t, "operator", "POST", "/tenants/acme/telephony?dryRun=true", telephony, "Sec-Fetch-Site", "same-origin").want(t, http.StatusOK)
	s.ask(t, "operator", "GET", "/tenants", "", "Sec-Fetch-Site", "cross-site").want(t, http.StatusOK)
	for _, authorization := range []string{"Bearer", "Bearer ", "Bearer x", "Basic YTpi", "bearer " + s.tokens["tenant"] + "x", s.tokens["tenant"]} {
		a := s.ask(t, "", "GET", "/tenants", "", "Authorization", authorization)
		if a.want(t, http.StatusUnauthorized); a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: no WWW-Authenticate", authorization)
		}
	}
}

// Who asks too often is told when to ask again, and others are not.
func TestAPIRate(t *testing.T) {
	limits := web.DefaultConfig()
	limits.Rate, limits.Burst = 1, 3
	s := &apiServer{tokens: map[string]string{}}
	var tokens []auth.Token
	for i, name := range []string{"often", "seldom"} {
		token, err := access.NewToken(strings.NewReader(strings.Repeat(fmt.Sprint(i), 32)))
		if err != nil {
			t.Fatal(err)
		}
		s.tokens[name] = token
		tokens = append(tokens, auth.Token{Name: name, SHA256: access.HashToken(token), Grants: []access.Grant{{Role: access.Operator}}})
	}
	now := time.Date(2026, 10, 14, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	server := httptest.NewServer(web.New(limits, web.Deps{
		Auth: auth.NewTokens(tokens, clock), Log: slog.New(slog.DiscardHandler), Clock: clock,
	}).Handler())
	defer server.Close()
	s.url = server.URL
	for range limits.Burst {
		s.ask(t, "often", "GET", "/me", "").want(t, http.StatusOK)
	}
	a := s.ask(t, "often", "GET", "/me", "")
	a.want(t, http.StatusTooManyRequests, `"code":"too_many_requests"`)
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	s.ask(t, "seldom", "GET", "/me", "").want(t, http.StatusOK)
	now = now.Add(time.Second)
	s.ask(t, "often", "GET", "/me", "").want(t, http.StatusOK)
	s.ask(t, "often", "GET", "/me", "").want(t, http.StatusTooManyRequests)
}

// Where Kafka and ClickHouse are away, who asks is told so, and when to ask again.
func TestAPIServersAway(t *testing.T) {
	servicetest.Heavy(t, "it waits for connections that are refused")
	t.Parallel()
	config := filepath.Join(t.TempDir(), "apportion.yaml")
	if err := os.WriteFile(config, []byte("kafka: {brokers: ['127.0.0.1:1']}\nclickhouse: {addr: ['127.0.0.1:1'], database: away}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &apiServer{config: config, tenant: "acme", tokens: map[string]string{}}
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	_, operations, _ := apiDocument(t)
	t.Run("routes", func(t *testing.T) {
		for _, o := range operations {
			t.Run(o.ID, func(t *testing.T) {
				t.Parallel()
				r := scopeFill(t, o, ofAcme, ofAcme)
				if o.ID == "postEvents" { // what is refused needs no server
					r.body = strings.Replace(r.body, `"no.such"`, `"agent.session"`, 1)
					r.body = strings.Replace(r.body, `"data":{}`, `"data":{"agentId":"a","startTime":"2026-10-14T08:00:00Z"}`, 1)
				}
				a := r.ask(t, s, mayAsk(o))
				if slices.Contains([]string{"getMe", "listFiles", "getFile"}, o.ID) {
					return // they need neither
				}
				a.want(t, http.StatusServiceUnavailable, `"code":"unavailable"`)
				if after, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || after < 1 {
					t.Errorf("%s is to be asked again after %q", o.ID, a.Header.Get("Retry-After"))
				}
				if strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "fault of the program") {
					t.Errorf("%s tells of the servers, or of a fault: %s", o.ID, a.body)
				}
			})
		}
	})
}

// Where a broker takes connections and acknowledges nothing, who publishes is told so, and when to send again.
func TestAPINotAcknowledged(t *testing.T) {
	servicetest.Heavy(t, "it waits for an acknowledgement")
	t.Parallel()
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() }) // the requests go on after this function
	s := &apiServer{config: filepath.Join(t.TempDir(), "apportion.yaml"), tokens: map[string]string{}}
	if err := os.WriteFile(s.config, fmt.Appendf(nil, "kafka: {brokers: ['%s']}\nclickhouse: {addr: ['127.0.0.1:1'], database: away}\n",
		broker.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ as, method, path, body string }{
		{"publisher", "POST", "/events", sentSession("n", "")},
		{"operator", "PUT", "/tenants/acme/users/a/licences", `{"from":"2026-11-01","subscriptions":[]}`},
	} {
		t.Run(r.path, func(t *testing.T) {
			t.Parallel()
			a := s.ask(t, r.as, r.method, r.path, r.body)
			a.want(t, http.StatusServiceUnavailable, `"code":"unavailable"`)
			if a.Header.Get("Retry-After") == "" {
				t.Errorf("%s is not said when to be asked again", r.path)
			}
		})
	}
}

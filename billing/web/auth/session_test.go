package auth

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"apportion/billing/web/access"
)

var (
	oldKey = []byte("0123456789abcdef0123456789abcdef")
	newKey = []byte("fedcba9876543210fedcba9876543210")
)

// clock is one that tests move.
type clock struct{ at time.Time }

func newClock() *clock                  { return &clock{time.Date(2026, 10, 14, 8, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time         { return c.at }
func (c *clock) passes(d time.Duration) { c.at = c.at.Add(d) }
func sessionsOf(t *testing.T, c *clock, secure bool, keys ...[]byte) *Sessions {
	t.Helper()
	s, err := NewSessions(keys, secure, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// started returns the cookie of a session that has begun.
func startedSession(t *testing.T, s *Sessions, session Session) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	if err := s.Start(w, session); err != nil {
		t.Fatal(err)
	}
	return w.Result().Cookies()[0]
}

// of asks with a cookie, and returns the session, whether it goes on, and the cookie that it is renewed by.
func of(s *Sessions, cookie *http.Cookie) (session Session, ok bool, renewed *http.Cookie) {
	r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	r.AddCookie(cookie)
	session, ok = s.Of(w, r)
	if cookies := w.Result().Cookies(); len(cookies) > 0 {
		renewed = cookies[0]
	}
	return session, ok, renewed
}

// A session ends 30 minutes after its last request, and 8 hours after it began however often it is renewed.
func TestSessionEnds(t *testing.T) {
	c := newClock()
	s := sessionsOf(t, c, true, oldKey)
	cookie := startedSession(t, s, Session{Subject: "eva", Groups: []string{"ops"}})
	if cookie.Name != "__Host-apportion" || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("the cookie is %+v", cookie)
	}
	if name := sessionsOf(t, c, false, oldKey).CookieName(); name != "apportion" {
		t.Errorf("over plain http it is %s", name)
	}
	c.passes(59 * time.Second)
	session, ok, renewed := of(s, cookie)
	if !ok || session.Subject != "eva" || len(session.Groups) != 1 || renewed != nil {
		t.Fatalf("%+v, %t, renewed %v", session, ok, renewed)
	}
	c.passes(sessionIdle - 59*time.Second)
	if _, ok, _ := of(s, cookie); ok {
		t.Error("it goes on after 30 idle minutes")
	}
	c.at = newClock().at
	for range 16 {
		c.passes(29*time.Minute + 59*time.Second)
		if _, ok, renewed = of(s, cookie); !ok || renewed == nil {
			t.Fatalf("it ended by %s", c.at)
		}
		cookie = renewed
	}
	c.at = newClock().at.Add(8*time.Hour - time.Second)
	if _, ok, _ := of(s, cookie); !ok {
		t.Error("it ended before 8 hours")
	}
	c.passes(time.Second)
	if _, ok, _ := of(s, cookie); ok {
		t.Error("it goes on after 8 hours")
	}
	c.at = newClock().at.Add(-time.Hour)
	if _, ok, _ := of(s, cookie); ok {
		t.Error("a session of the future goes on")
	}
}

// While keys are changed a session goes on, whichever replica is asked; without its key it does not.
func TestSessionKeys(t *testing.T) {
	c := newClock()
	cookie := startedSession(t, sessionsOf(t, c, true, oldKey), Session{Subject: "eva"})
	rotating := sessionsOf(t, c, true, newKey, oldKey)
	c.passes(2 * time.Minute)
	_, ok, renewed := of(rotating, cookie)
	if !ok || renewed == nil {
		t.Fatal("it ended when a key was added")
	}
	after := sessionsOf(t, c, true, newKey)
	if _, ok, _ := of(after, renewed); !ok {
		t.Error("it was not renewed by the new key")
	}
	if _, ok, _ := of(after, cookie); ok {
		t.Error("it goes on without its key")
	}
	if _, err := NewSessions([][]byte{oldKey[:16]}, true, c.now); err == nil {
		t.Error("a key of 16 bytes is taken")
	}
	if _, err := NewSessions(nil, true, c.now); err == nil {
		t.Error("no key is taken")
	}
}

// What is sealed for another purpose is no session, nor is one of which any bit is changed.
func TestSessionIsWhole(t *testing.T) {
	c := newClock()
	s := sessionsOf(t, c, true, oldKey)
	other, err := s.sealer.seal(signInCookie, Session{Subject: "eva", Issued: c.at.Unix(), Seen: c.at.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	cookie := startedSession(t, s, Session{Subject: "eva"})
	if strings.Contains(cookie.Value, "eva") {
		t.Error("the cookie can be read")
	}
	for _, value := range []string{other, "", "x", cookie.Value + "A", cookie.Value[1:], strings.Repeat("A", 5000)} {
		if session, ok, _ := of(s, &http.Cookie{Name: s.CookieName(), Value: value}); ok {
			t.Errorf("%q is a session: %+v", value, session)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] ^= 1
		if _, ok, _ := of(s, &http.Cookie{Name: s.CookieName(), Value: base64.RawURLEncoding.EncodeToString(raw)}); ok {
			t.Errorf("it is a session with byte %d changed", i)
		}
		raw[i] ^= 1
	}
	var many []string
	for range 1000 {
		many = append(many, "cc-admin:tenant")
	}
	if err := s.Start(httptest.NewRecorder(), Session{Subject: "eva", Groups: many}); err == nil || !strings.Contains(err.Error(), "more groups") {
		t.Errorf("a session of too many groups: %v", err)
	}
}

// Nothing but what was sealed opens, and nothing makes the decoder fail.
func FuzzOpen(f *testing.F) {
	s, err := newSealer([][]byte{newKey, oldKey})
	if err != nil {
		f.Fatal(err)
	}
	sealed := map[string]bool{} // by content: each process that fuzzes seals by nonces of its own
	for _, session := range []Session{{}, {Subject: "eva", Groups: []string{"a", "b"}, Issued: 1, Seen: 2}, {Subject: "x", Token: "local"}} {
		text, err := s.seal("apportion", session)
		if err != nil {
			f.Fatal(err)
		}
		content, err := json.Marshal(session)
		if err != nil {
			f.Fatal(err)
		}
		sealed[string(content)] = true
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Add("")
	f.Add("====")
	f.Fuzz(func(t *testing.T, text string) {
		var session Session
		if s.open("apportion", text, &session) {
			if content, err := json.Marshal(session); err != nil || !sealed[string(content)] {
				t.Errorf("%q opens: %s, %v", text, content, err)
			}
		}
		if s.open("other", text, &session) {
			t.Errorf("%q opens for another purpose", text)
		}
	})
}

// The link of dev signs in once, with what its token is granted as long as it is.
func TestSignInOnce(t *testing.T) {
	c := newClock()
	token, err := access.NewToken(strings.NewReader(string(oldKey)))
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDoor(Config{Once: "s3cret", OnceToken: "local", Tokens: []Token{{Name: "local", SHA256: access.HashToken(token),
		Grants: []access.Grant{{Role: access.Operator}}, Expires: c.at.Add(time.Hour)}}}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.SignInOnce(httptest.NewRecorder(), ""); err == nil {
		t.Error("no secret signs in")
	}
	w := httptest.NewRecorder()
	who, err := d.SignInOnce(w, "s3cret")
	if err != nil || who.Subject != "local operator" || who.Machine || len(who.Grants) != 1 || who.Grants[0].Role != access.Operator {
		t.Fatalf("%+v, %v", who, err)
	}
	if _, err := d.SignInOnce(httptest.NewRecorder(), "s3cret"); err == nil {
		t.Error("it signs in twice")
	}
	ask := func(cookie *http.Cookie, bearer string) access.Identity {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		if cookie != nil {
			r.AddCookie(cookie)
		}
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		who, err := d.Authenticate(httptest.NewRecorder(), r)
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	cookie := w.Result().Cookies()[0]
	if who := ask(cookie, ""); who.Subject != "local operator" || len(who.Grants) != 1 {
		t.Errorf("by its session it is %+v", who)
	}
	if who := ask(cookie, token); who.Subject != "local" || !who.Machine {
		t.Errorf("with a token, too, it is %+v", who)
	}
	if who := ask(nil, ""); who.Subject != "" || who.Grants != nil {
		t.Errorf("a stranger is %+v", who)
	}
}

func TestOwnPath(t *testing.T) {
	for to, want := range map[string]string{
		"/tenants?q=a#b": "/tenants?q=a#b", "/": "/", "": "/", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/",
		"/\t/evil.example": "/", "javascript:alert(1)": "/", "tenants": "/", "/a\nb": "/", "/" + strings.Repeat("a", 3000): "/",
	} {
		if got := OwnPath(to); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
}

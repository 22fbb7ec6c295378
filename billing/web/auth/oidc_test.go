package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"apportion/billing/web/access"
	"apportion/schemas"
)

// testIssuer is an OpenID Connect issuer where everybody is eva.
type testIssuer struct {
	*httptest.Server
	clock *clock
	keys  map[string]crypto.Signer // by id; RS256 and ES256
	codes map[string]url.Values    // the questions that codes answer, each taken once
	away  atomic.Bool
	asked atomic.Int32   // how often it said what it is
	says  map[string]any // claims that it says instead; nil leaves one out
}

func newTestIssuer(t *testing.T, c *clock) *testIssuer {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &testIssuer{clock: c, keys: map[string]crypto.Signer{"rsa": rsaKey, "ec": ecKey}, codes: map[string]url.Values{}, says: map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
			"scopes_supported": []string{"openid", "groups"}, "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		var set jose.JSONWebKeySet
		for id, key := range i.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: id, Key: key.Public(), Use: "sig"})
		}
		json.NewEncoder(w).Encode(set)
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		code := rand.Text()
		i.codes[code] = q
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {i.URL}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked, known := i.codes[r.FormValue("code")]
		delete(i.codes, r.FormValue("code"))
		user, password, _ := r.BasicAuth()
		hash := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !known || asked.Get("code_challenge_method") != "S256" || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(hash[:]) ||
			user != "apportion" || password != "s3cret" || r.FormValue("redirect_uri") != asked.Get("redirect_uri") {
			w.WriteHeader(http.StatusBadRequest)
			json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer",
			"id_token": i.token(t, jose.RS256, "rsa", map[string]any{"nonce": asked.Get("nonce")})})
	})
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

// token returns a token of eva's for 5 minutes, with some claims besides, or instead.
func (i *testIssuer) token(t *testing.T, algorithm jose.SignatureAlgorithm, id string, claims map[string]any) string {
	t.Helper()
	var key any = []byte(oldKey)
	if signer := i.keys[id]; signer != nil {
		key = signer
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{
		"iss": i.URL, "aud": "apportion", "sub": "eva", "groups": []string{"billing-ops", "staff"},
		"iat": i.clock.at.Unix(), "exp": i.clock.at.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(all, claims)
	maps.Copy(all, i.says)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	text, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var testGrants = []access.GroupGrant{
	{Group: "billing-ops", Roles: []access.Role{access.Operator}},
	{Group: "cc-admin:{tenant}", Roles: []access.Role{access.Tenant}},
}

func (i *testIssuer) door(t *testing.T) *Door {
	t.Helper()
	d, err := NewDoor(Config{Grants: testGrants, Keys: [][]byte{oldKey}, OIDC: &OIDC{
		Issuer: i.URL, ClientID: "apportion", ClientSecret: "s3cret", RolesClaim: "groups",
	}}, i.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// code is what an error says to who asks.
func code(err error) schemas.Code {
	if refused := new(Refused); errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// site is our own site, with a door and nothing else, and one browser at it.
type site struct {
	*httptest.Server
	jar     http.CookieJar
	browser *http.Client
	who     access.Identity // of the last sign-in
	err     error           // why it was refused
}

func newSite(t *testing.T, d *Door) *site {
	t.Helper()
	s := &site{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		page, err := d.BeginSignIn(w, r, r.URL.Query().Get("to"))
		if s.err = err; err == nil {
			http.Redirect(w, r, page, http.StatusSeeOther)
		}
	})
	mux.HandleFunc("GET "+CallbackPath, func(w http.ResponseWriter, r *http.Request) {
		var to string
		if s.who, to, s.err = d.FinishSignIn(w, r); s.err == nil {
			http.Redirect(w, r, to, http.StatusSeeOther)
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		who, err := d.Authenticate(w, r)
		if err != nil {
			t.Error(err)
		}
		w.Write([]byte(r.URL.Path + " " + who.Subject))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	var err error
	if s.jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	s.browser = &http.Client{Jar: s.jar}
	return s
}

// get asks as the browser, and returns the body and the last URL that it came to by the issuer's answer.
func (s *site) get(t *testing.T, path string) (body string, callback *url.URL) {
	t.Helper()
	s.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == CallbackPath {
			callback = r.URL
		}
		return nil
	}
	response, err := s.browser.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text := make([]byte, 1000)
	n, _ := response.Body.Read(text)
	return string(text[:n]), callback
}

// Somebody signs in once, with the roles of its groups, and comes to the page that it asked for.
func TestSignIn(t *testing.T) {
	c := newClock()
	issuer := newTestIssuer(t, c)
	issuer.says["groups"] = []string{"billing-ops", "staff", "cc-admin:acme"}
	s := newSite(t, issuer.door(t))
	if body, _ := s.get(t, "/tenants"); body != "/tenants " {
		t.Fatalf("a stranger sees %q", body)
	}
	body, callback := s.get(t, "/login?to=/tenants/acme")
	if s.err != nil || body != "/tenants/acme eva" {
		t.Fatalf("%q, %v", body, s.err)
	}
	if s.who.Machine || len(s.who.Grants) != 2 || s.who.Grants[0].Role != access.Operator || s.who.Grants[1].Tenants[0] != "acme" {
		t.Errorf("%+v", s.who)
	}
	if body, _ := s.get(t, "/x"); body != "/x eva" {
		t.Errorf("later it sees %q", body)
	}
	if s.get(t, callback.RequestURI()); code(s.err) != schemas.Unauthenticated || !strings.Contains(s.err.Error(), "not begun by this browser") {
		t.Errorf("a code is taken again: %v", s.err)
	}
	if body, _ := s.get(t, "/login?to=//evil.example/"); body != "/ eva" {
		t.Errorf("it comes to %q", body)
	}
}

// An answer of the issuer is taken only by the browser that asked, for what it asked, once, and in time.
func TestSignInIsRefused(t *testing.T) {
	for what, c := range map[string]struct {
		want   string
		code   schemas.Code
		tamper func(i *testIssuer, s *site, callback url.Values)
	}{
		"another state": {"another sign-in", schemas.Unauthenticated, func(_ *testIssuer, _ *site, q url.Values) { q.Set("state", "x") }},
		"no state":      {"another sign-in", schemas.Unauthenticated, func(_ *testIssuer, _ *site, q url.Values) { q.Del("state") }},
		"no code":       {"did not let you in", schemas.Unauthenticated, func(_ *testIssuer, _ *site, q url.Values) { q.Del("code"); q.Set("error", "access_denied") }},
		"another code":  {"does not take the code", schemas.Unauthenticated, func(_ *testIssuer, _ *site, q url.Values) { q.Set("code", "x") }},
		"a code that was taken": {"does not take the code", schemas.Unauthenticated, func(i *testIssuer, _ *site, q url.Values) {
			delete(i.codes, q.Get("code"))
		}},
		"another issuer": {"another issuer", schemas.Unauthenticated, func(_ *testIssuer, _ *site, q url.Values) { q.Set("iss", "https://evil.example") }},
		"another browser": {"not begun by this browser", schemas.Unauthenticated, func(_ *testIssuer, s *site, _ url.Values) {
			s.browser.Jar = nil
		}},
		"too late": {"too long ago", schemas.Unauthenticated, func(i *testIssuer, _ *site, _ url.Values) { i.clock.passes(signInLasts) }},
		"another nonce": {"another sign-in", schemas.Unauthenticated, func(i *testIssuer, _ *site, _ url.Values) {
			i.says["nonce"] = "x"
		}},
		"no nonce":         {"another sign-in", schemas.Unauthenticated, func(i *testIssuer, _ *site, _ url.Values) { i.says["nonce"] = nil }},
		"another party":    {"another sign-in", schemas.Unauthenticated, func(i *testIssuer, _ *site, _ url.Values) { i.says["azp"] = "other" }},
		"another audience": {"not for this program", schemas.Unauthenticated, func(i *testIssuer, _ *site, _ url.Values) { i.says["aud"] = "other" }},
		"an expired token": {"has expired", schemas.Unauthenticated, func(i *testIssuer, _ *site, _ url.Values) {
			i.says["exp"] = i.clock.at.Unix()
		}},
		"a verifier that was not asked with": {"does not take the code", schemas.Unauthenticated, func(i *testIssuer, _ *site, q url.Values) {
			i.codes[q.Get("code")].Set("code_challenge", "x")
		}},
		"an issuer that is away": {"does not answer", schemas.Unavailable, func(i *testIssuer, _ *site, _ url.Values) { i.away.Store(true) }},
		"groups that are granted nothing": {"eva is in no group", schemas.Forbidden, func(i *testIssuer, _ *site, _ url.Values) {
			i.says["groups"] = []string{"staff", "cc-admin:"}
		}},
		"no groups":              {"eva is in no group", schemas.Forbidden, func(i *testIssuer, _ *site, _ url.Values) { i.says["groups"] = nil }},
		"groups of another form": {"eva is in no group", schemas.Forbidden, func(i *testIssuer, _ *site, _ url.Values) { i.says["groups"] = map[string]bool{"billing-ops": true} }},
	} {
		t.Run(what, func(t *testing.T) {
			issuer := newTestIssuer(t, newClock())
			s := newSite(t, issuer.door(t))
			// The browser stops before it comes back to us.
			s.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if r.URL.Path == CallbackPath {
					return http.ErrUseLastResponse
				}
				return nil
			}
			response, err := s.browser.Get(s.URL + "/login")
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			back, err := url.Parse(response.Header.Get("Location"))
			if err != nil || back.Path != CallbackPath {
				t.Fatalf("it is sent to %s, %v", back, err)
			}
			q := back.Query()
			c.tamper(issuer, s, q)
			if s.get(t, CallbackPath+"?"+q.Encode()); s.err == nil || code(s.err) != c.code || !strings.Contains(s.err.Error(), c.want) {
				t.Errorf("%v; want %s: %s", s.err, c.code, c.want)
			}
			s.browser.Jar = s.jar
			if body, _ := s.get(t, "/"); body != "/ " {
				t.Errorf("there is a session: %q", body)
			}
		})
	}
}

// A program asks with an access token of the issuer: one for us, signed by a key that only the issuer has, and in time.
func TestAccessTokens(t *testing.T) {
	c := newClock()
	issuer, other := newTestIssuer(t, c), newTestIssuer(t, c)
	d := issuer.door(t)
	who := func(token string) (access.Identity, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return d.Authenticate(httptest.NewRecorder(), r)
	}
	unsigned := func(token string) string {
		parts := strings.Split(token, ".")
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	}
	good := issuer.token(t, jose.RS256, "rsa", nil)
	for what, token := range map[string]string{
		"RS256": good, "ES256": issuer.token(t, jose.ES256, "ec", nil), "PS256": issuer.token(t, jose.PS256, "rsa", nil),
		"several audiences": issuer.token(t, jose.RS256, "rsa", map[string]any{"aud": []string{"other", "apportion"}}),
		"a clock that is 4 minutes ahead": issuer.token(t, jose.RS256, "rsa", map[string]any{
			"iat": c.at.Add(4 * time.Minute).Unix(), "nbf": c.at.Add(4 * time.Minute).Unix()}),
	} {
		if is, err := who(token); err != nil || is.Subject != "eva" || !is.Machine || len(is.Grants) != 1 || is.Grants[0].Role != access.Operator {
			t.Errorf("%s: %+v, %v", what, is, err)
		}
	}
	foreign := other.token(t, jose.RS256, "rsa", map[string]any{"iss": issuer.URL})
	public, err := json.Marshal(issuer.keys["rsa"].Public())
	if err != nil {
		t.Fatal(err)
	}
	confused, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public}, nil)
	if err != nil {
		t.Fatal(err)
	}
	hmac, err := jwt.Signed(confused).Claims(map[string]any{"iss": issuer.URL, "aud": "apportion", "sub": "eva", "exp": c.at.Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{
		"of another issuer":            other.token(t, jose.RS256, "rsa", nil),
		"signed by another issuer":     foreign,
		"for another audience":         issuer.token(t, jose.RS256, "rsa", map[string]any{"aud": "other"}),
		"for no audience":              issuer.token(t, jose.RS256, "rsa", map[string]any{"aud": nil}),
		"that has expired":             issuer.token(t, jose.RS256, "rsa", map[string]any{"exp": c.at.Unix()}),
		"that never expires":           issuer.token(t, jose.RS256, "rsa", map[string]any{"exp": nil}),
		"of 6 minutes later":           issuer.token(t, jose.RS256, "rsa", map[string]any{"nbf": c.at.Add(6 * time.Minute).Unix()}),
		"of nobody":                    issuer.token(t, jose.RS256, "rsa", map[string]any{"sub": nil}),
		"that is not signed":           unsigned(good),
		"signed by a shared secret":    issuer.token(t, jose.HS256, "hmac", nil),
		"signed by the public key":     hmac,
		"that is an ID token":          issuer.token(t, jose.RS256, "rsa", map[string]any{"nonce": "n"}),
		"that is an ID token, by hash": issuer.token(t, jose.RS256, "rsa", map[string]any{"at_hash": "n"}),
		"without its signature":        good[:strings.LastIndex(good, ".")+1],
		"that is none":                 "a.b.c",
	} {
		if is, err := who(token); err == nil || code(err) != schemas.Unauthenticated || is.Subject != "" {
			t.Errorf("a token %s: %+v, %v", what, is, err)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("a token %s is in what is said of it", what)
		}
	}
	is, err := who(issuer.token(t, jose.RS256, "rsa", map[string]any{"groups": "staff"}))
	if err != nil || is.Subject != "eva" || len(is.Grants) != 0 {
		t.Errorf("one who is granted nothing: %+v, %v", is, err)
	}
}

// An issuer that is away keeps nobody from starting, is not asked by each request, and is there once it answers.
func TestIssuerAway(t *testing.T) {
	c := newClock()
	issuer := newTestIssuer(t, c)
	issuer.away.Store(true)
	d := issuer.door(t)
	sign := func() error {
		_, err := d.BeginSignIn(httptest.NewRecorder(), httptest.NewRequest("GET", "/login", nil).WithContext(context.Background()), "/")
		return err
	}
	if err := sign(); code(err) != schemas.Unavailable {
		t.Fatalf("%v", err)
	}
	issuer.away.Store(false)
	if err := sign(); code(err) != schemas.Unavailable || issuer.asked.Load() != 0 {
		t.Errorf("it is asked again at once: %v", err)
	}
	c.passes(awayFor)
	for range 3 {
		if err := sign(); err != nil {
			t.Fatal(err)
		}
	}
	if n := issuer.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times what it is", n)
	}
}

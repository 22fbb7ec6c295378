package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"apportion/billing/web/access"
	"apportion/schemas"
)

// CallbackPath is where the issuer sends people back to who have signed in with it.
const CallbackPath = "/oidc/callback"

const (
	signInLasts = 10 * time.Minute // from being sent to the issuer
	awayFor     = 5 * time.Second  // an issuer that did not answer is not asked again for so long
)

// algorithms are those by which the issuer may sign: with a key that only it has.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512,
}

// OIDC is an OpenID Connect issuer, and what we are to it.
type OIDC struct {
	Issuer, ClientID, ClientSecret string
	RolesClaim                     string // the claim that has a person's groups
	RedirectURL                    string // empty: CallbackPath of the host that was asked
	Client                         *http.Client
}

// issuer is the same, found out about when it is first needed: one that is away does not keep the program from
// starting.
type issuer struct {
	OIDC
	now func() time.Time

	mu       sync.Mutex
	provider *oidc.Provider
	scopes   []string
	failed   time.Time
}

func newIssuer(cfg OIDC, now func() time.Time) *issuer {
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second}
	}
	return &issuer{OIDC: cfg, now: now}
}

// errAway is that an issuer cannot be asked; why is in the log.
func errAway(err error) error {
	return errors.Join(&Refused{schemas.Unavailable, "the issuer that people sign in with does not answer"}, err)
}

// discovered returns what the issuer says of itself.
func (i *issuer) discovered() (*oidc.Provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider != nil {
		return i.provider, nil
	}
	if now := i.now(); now.Sub(i.failed) < awayFor && !now.Before(i.failed) {
		return nil, errAway(errors.New("it did not answer a moment ago"))
	}
	// Not the request's context: what is found here fetches keys for later ones, too.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.Background(), i.Client), i.Issuer)
	if err != nil {
		i.failed = i.now()
		return nil, errAway(err)
	}
	var says struct {
		Scopes []string `json:"scopes_supported"`
	}
	if err := provider.Claims(&says); err != nil {
		return nil, errAway(err)
	}
	i.scopes = []string{oidc.ScopeOpenID}
	if slices.Contains(says.Scopes, i.RolesClaim) && i.RolesClaim != oidc.ScopeOpenID {
		i.scopes = append(i.scopes, i.RolesClaim)
	}
	i.provider = provider
	return provider, nil
}

// verify returns a token of the issuer for us that is valid now.
func (i *issuer) verify(ctx context.Context, raw string) (*oidc.IDToken, error) {
	provider, err := i.discovered()
	if err != nil {
		return nil, err
	}
	token, err := provider.VerifierContext(oidc.ClientContext(ctx, i.Client), &oidc.Config{
		ClientID: i.ClientID, SupportedSigningAlgs: algorithms, Now: i.now,
	}).Verify(ctx, raw)
	switch {
	case err != nil:
	case token.Subject == "":
		err = errors.New("it has no subject")
	case !i.now().Before(token.Expiry): // the library takes one at that instant, RFC 7519 does not
		err = &oidc.TokenExpiredError{Expiry: token.Expiry}
	}
	if err != nil {
		message := "the token of the issuer is not valid: it is not signed by it, or not for this program"
		if expired := new(oidc.TokenExpiredError); errors.As(err, &expired) {
			message = "the token of the issuer has expired"
		}
		return nil, errors.Join(&Refused{schemas.Unauthenticated, message}, err)
	}
	return token, nil
}

// accessToken returns whose an access token of the issuer is. What is said at a sign-in is not for asking with.
func (i *issuer) accessToken(ctx context.Context, raw string) (subject string, groups []string, err error) {
	token, err := i.verify(ctx, raw)
	if err != nil {
		return "", nil, err
	}
	if token.Nonce != "" || token.AccessTokenHash != "" {
		return "", nil, &Refused{schemas.Unauthenticated, "this is an ID token: send the access token"}
	}
	groups, err = i.groups(token)
	return token.Subject, groups, err
}

// groups returns the groups in a token: a list, or a single one.
func (i *issuer) groups(token *oidc.IDToken) (groups []string, err error) {
	var claims map[string]json.RawMessage
	if err := token.Claims(&claims); err != nil {
		return nil, err
	}
	claim := claims[i.RolesClaim]
	var one string
	if json.Unmarshal(claim, &one) == nil && one != "" {
		return []string{one}, nil
	}
	json.Unmarshal(claim, &groups) // another form is none of ours, and grants nothing
	return groups, nil
}

// signIn is what a browser keeps while its user is with the issuer.
type signIn struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	To       string `json:"to"`
	Issued   int64  `json:"issued"` // UTC epoch seconds
}

const signInCookie = "apportion-sign-in"

func (d *Door) oauth(r *http.Request, provider *oidc.Provider) *oauth2.Config {
	redirect := d.issuer.RedirectURL
	if redirect == "" {
		scheme := "http"
		if d.cfg.Secure {
			scheme = "https"
		}
		redirect = scheme + "://" + r.Host + CallbackPath
	}
	return &oauth2.Config{ClientID: d.issuer.ClientID, ClientSecret: d.issuer.ClientSecret, Endpoint: provider.Endpoint(),
		RedirectURL: redirect, Scopes: d.issuer.scopes}
}

// BeginSignIn returns the page of the issuer where somebody signs in (code flow with PKCE, state and nonce), who will
// then come to a path of ours.
func (d *Door) BeginSignIn(w http.ResponseWriter, r *http.Request, to string) (page string, err error) {
	if d.issuer == nil {
		return "", &Refused{schemas.Unauthenticated, "nobody can sign in here: no issuer is configured"}
	}
	provider, err := d.issuer.discovered()
	if err != nil {
		return "", err
	}
	in := signIn{rand.Text(), rand.Text(), oauth2.GenerateVerifier(), OwnPath(to), d.now().Unix()}
	text, err := d.sealer.seal(signInCookie, in)
	if err != nil {
		return "", err
	}
	d.set(w, signInCookie, text, signInLasts)
	return d.oauth(r, provider).AuthCodeURL(in.State, oidc.Nonce(in.Nonce), oauth2.S256ChallengeOption(in.Verifier)), nil
}

// FinishSignIn begins the session of somebody whom the issuer sends back, and returns who it is and the path to go to.
// A sign-in is finished once. Who is granted nothing gets no session.
func (d *Door) FinishSignIn(w http.ResponseWriter, r *http.Request) (who access.Identity, to string, err error) {
	if d.issuer == nil {
		return who, "", &Refused{schemas.Unauthenticated, "nobody can sign in here: no issuer is configured"}
	}
	var in signIn
	query := r.URL.Query()
	known := d.read(r, signInCookie, &in)
	d.set(w, signInCookie, "", 0)
	begun := time.Unix(in.Issued, 0)
	switch now := d.now(); {
	case !known, now.Before(begun.Add(-clockSkew)), !now.Before(begun.Add(signInLasts)):
		return who, "", &Refused{schemas.Unauthenticated, "this sign-in was not begun by this browser, or too long ago"}
	case subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(in.State)) != 1:
		return who, "", &Refused{schemas.Unauthenticated, "this is the answer to another sign-in than this browser began"}
	case query.Has("iss") && query.Get("iss") != d.issuer.Issuer:
		return who, "", &Refused{schemas.Unauthenticated, "this is the answer of another issuer"}
	case query.Get("code") == "":
		return who, "", errors.Join(&Refused{schemas.Unauthenticated, "the issuer did not let you in"},
			errors.New(shortened(query.Get("error")+": "+query.Get("error_description"))))
	}
	subject, groups, err := d.exchange(r, query.Get("code"), in)
	if err != nil {
		return who, "", err
	}
	session := Session{Subject: subject, Groups: access.Granting(d.cfg.Grants, groups)}
	if who = d.identityOf(session); len(who.Grants) == 0 {
		return who, "", &Refused{schemas.Forbidden, subject + " is in no group that is granted anything"}
	}
	return who, in.To, d.Start(w, session)
}

// exchange takes the code of the issuer to it, and returns whom its ID token is of.
func (d *Door) exchange(r *http.Request, code string, in signIn) (subject string, groups []string, err error) {
	provider, err := d.issuer.discovered()
	if err != nil {
		return "", nil, err
	}
	ctx := oidc.ClientContext(r.Context(), d.issuer.Client)
	given, err := d.oauth(r, provider).Exchange(ctx, code, oauth2.VerifierOption(in.Verifier))
	if err != nil {
		if refused := new(oauth2.RetrieveError); errors.As(err, &refused) && refused.Response.StatusCode < 500 {
			return "", nil, errors.Join(&Refused{schemas.Unauthenticated, "the issuer does not take the code that it gave"},
				errors.New(shortened(refused.ErrorCode+": "+refused.ErrorDescription)))
		}
		if network := net.Error(nil); errors.As(err, &network) {
			return "", nil, errAway(network)
		}
		return "", nil, errAway(errors.New("its answer to a code cannot be read"))
	}
	raw, _ := given.Extra("id_token").(string)
	token, err := d.issuer.verify(ctx, raw)
	if err != nil {
		return "", nil, err
	}
	var claims struct {
		Party string `json:"azp"`
	}
	if err := token.Claims(&claims); err != nil {
		return "", nil, err
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(in.Nonce)) != 1 ||
		claims.Party != "" && claims.Party != d.issuer.ClientID {
		return "", nil, &Refused{schemas.Unauthenticated, "the ID token is of another sign-in than this browser began"}
	}
	groups, err = d.issuer.groups(token)
	return token.Subject, groups, err
}

// shortened is a text from elsewhere, for the log.
func shortened(text string) string { return text[:min(len(text), 200)] }

package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"apportion/billing/web/access"
	"apportion/schemas"
)

// Config says who is let in.
type Config struct {
	Tokens []Token
	Grants []access.GroupGrant
	// Keys are of sessions: 32 bytes each, the first of which seals. None: one is made, for this process alone.
	Keys [][]byte
	// Secure says that browsers come over https.
	Secure bool
	// OIDC is the issuer that people sign in with; nil: none.
	OIDC *OIDC
	// Once is a secret that signs one browser in, once, with what the token named OnceToken is granted; empty: none.
	Once, OnceToken string
}

// Door lets people and machines in.
type Door struct {
	*Sessions
	cfg    Config
	tokens *Tokens
	issuer *issuer
	random io.Reader

	mu   sync.Mutex
	once string
}

// NewDoor returns a door. It asks the issuer nothing yet.
func NewDoor(cfg Config, now func() time.Time) (*Door, error) {
	if len(cfg.Keys) == 0 {
		key := make([]byte, KeyBytes)
		if _, err := io.ReadFull(rand.Reader, key); err != nil {
			return nil, err
		}
		cfg.Keys = [][]byte{key}
	}
	sessions, err := NewSessions(cfg.Keys, cfg.Secure, now)
	if err != nil {
		return nil, err
	}
	d := &Door{Sessions: sessions, cfg: cfg, tokens: NewTokens(cfg.Tokens, now), once: cfg.Once}
	if cfg.OIDC != nil {
		d.issuer = newIssuer(*cfg.OIDC, now)
	}
	return d, nil
}

// HasIssuer reports whether there is an issuer that people sign in with.
func (d *Door) HasIssuer() bool { return d.issuer != nil }

// Secure reports whether browsers come over https.
func (d *Door) Secure() bool { return d.cfg.Secure }

// Authenticate returns who sent a request, by its bearer token or else its session, and nobody for one with neither or
// whose session is over. One whom the issuer knows and nothing is granted to is somebody without grants.
func (d *Door) Authenticate(w http.ResponseWriter, r *http.Request) (access.Identity, error) {
	token := Bearer(r)
	switch {
	case token != "" && d.issuer != nil && strings.Count(token, ".") == 2:
		subject, groups, err := d.issuer.accessToken(r.Context(), token)
		if err != nil {
			return access.Identity{}, err
		}
		return access.Identity{Subject: subject, Machine: true, Grants: access.GrantsOf(d.cfg.Grants, groups)}, nil
	case token != "":
		return d.tokens.Identify(token)
	}
	session, ok := d.Of(w, r)
	if !ok {
		return access.Identity{}, nil
	}
	return d.identityOf(session), nil
}

func (d *Door) identityOf(session Session) access.Identity {
	if session.Token != "" {
		return access.Identity{Subject: session.Subject, Grants: d.tokens.grants(session.Token)}
	}
	return access.Identity{Subject: session.Subject, Grants: access.GrantsOf(d.cfg.Grants, session.Groups)}
}

// SignInOnce begins a session for whoever has the secret, the first time.
func (d *Door) SignInOnce(w http.ResponseWriter, secret string) (access.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.once == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(d.once)) != 1 {
		return access.Identity{}, &Refused{schemas.Unauthenticated, "this link is not valid, or was used already"}
	}
	session := Session{Subject: "local operator", Token: d.cfg.OnceToken}
	if err := d.Start(w, session); err != nil {
		return access.Identity{}, err
	}
	d.once = ""
	return d.identityOf(session), nil
}

// OwnPath returns the path on this site that somebody is to come to after signing in: one that was asked for, unless it
// leads elsewhere.
func OwnPath(to string) string {
	odd := func(c rune) bool { return c == '\\' || c <= ' ' || c == 0x7f }
	if len(to) > 2000 || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsFunc(to, odd) {
		return "/"
	}
	return to
}

// Package auth finds out who asks: machines by a bearer token of ours or of the OpenID Connect issuer, people by a
// session cookie. It takes what is configured and a request, and gives an [access.Identity]; what that may do is not
// its business.
package auth

import (
	"net/http"
	"strings"
	"time"

	"apportion/billing/web/access"
	"apportion/schemas"
)

// Token is a machine's token, of which only the hash is configured.
type Token struct {
	Name    string
	SHA256  string // of the token, in hexadecimal digits
	Grants  []access.Grant
	Expires time.Time // zero: never
}

// Refused is why somebody is not let in; it tells nothing that a stranger should not know.
type Refused struct {
	Code    schemas.Code
	Message string
}

// Error is the message.
func (r *Refused) Error() string { return r.Message }

// Tokens lets in the machines whose tokens are configured.
type Tokens struct {
	tokens map[string]Token // by hash
	now    func() time.Time
}

// NewTokens returns what lets in the machines with these tokens.
func NewTokens(tokens []Token, now func() time.Time) *Tokens {
	t := &Tokens{map[string]Token{}, now}
	for _, token := range tokens {
		t.tokens[strings.ToLower(token.SHA256)] = token
	}
	return t
}

// Bearer returns the bearer token of a request, "" for none.
func Bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Identify returns who has a token. Tokens are looked up by their hash, so how long that takes says nothing of others.
func (t *Tokens) Identify(token string) (access.Identity, error) {
	if !access.IsToken(token) {
		return access.Identity{}, &Refused{schemas.Unauthenticated,
			"the token is not whole: its checksum is wrong, or something of it is missing"}
	}
	known, ok := t.tokens[access.HashToken(token)]
	switch {
	case !ok:
		return access.Identity{}, &Refused{schemas.Unauthenticated, "no token like this is configured"}
	case !known.Expires.IsZero() && !t.now().Before(known.Expires):
		return access.Identity{}, &Refused{schemas.Unauthenticated,
			"the token " + known.Name + " expired on " + known.Expires.UTC().Format(time.DateOnly)}
	}
	return access.Identity{Subject: known.Name, Machine: true, Grants: known.Grants}, nil
}

// grants returns what the holder of a token may, by its name; nothing once it has expired.
func (t *Tokens) grants(name string) []access.Grant {
	for _, token := range t.tokens {
		if token.Name == name && (token.Expires.IsZero() || t.now().Before(token.Expires)) {
			return token.Grants
		}
	}
	return nil
}

// Authenticate returns who sent a request with a bearer token, and nobody for one without.
func (t *Tokens) Authenticate(_ http.ResponseWriter, r *http.Request) (access.Identity, error) {
	token := Bearer(r)
	if token == "" {
		return access.Identity{}, nil
	}
	return t.Identify(token)
}

package auth

import (
	"net/http"
	"time"

	"apportion/schemas"
)

const (
	sessionLasts = 8 * time.Hour    // from signing in
	sessionIdle  = 30 * time.Minute // from the last request
	sessionRenew = time.Minute      // a cookie that is older is renewed
	clockSkew    = time.Minute      // by which the clocks of two replicas may differ
)

// Session is of a person who signed in. What it holds is all there is of it, so any replica knows it; what its groups
// may is found out at each request, and a grant that is taken out of the configuration is gone at once.
type Session struct {
	Subject string   `json:"subject"`
	Groups  []string `json:"groups,omitempty"` // those that the configuration grants something
	Token   string   `json:"token,omitempty"`  // or the token whose grants it has, by name: that of a local operator
	Issued  int64    `json:"issued"`           // UTC epoch seconds
	Seen    int64    `json:"seen"`             // of the last renewal
}

// Sessions keeps sessions in cookies, encrypted and authenticated. Nothing is kept elsewhere: who signs out has the
// cookie taken away, and new keys end all sessions.
type Sessions struct {
	sealer *sealer
	secure bool
	now    func() time.Time
}

// NewSessions returns sessions under one or two keys of 32 bytes: the first seals, either opens. They are secure where
// browsers come over https; else the cookies are for plain http on this machine.
func NewSessions(keys [][]byte, secure bool, now func() time.Time) (*Sessions, error) {
	s, err := newSealer(keys)
	if err != nil {
		return nil, err
	}
	return &Sessions{s, secure, now}, nil
}

// CookieName is the name of the session's cookie.
func (s *Sessions) CookieName() string { return s.cookieName("apportion") }

// cookieName has browsers take a cookie only from this host, over https.
func (s *Sessions) cookieName(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return name
}

// set has a browser keep a cookie; an empty value takes it away.
func (s *Sessions) set(w http.ResponseWriter, name, value string, lasts time.Duration) {
	c := &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: int(lasts / time.Second),
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// read returns what a cookie of a request holds into a value, and whether there is one.
func (s *Sessions) read(r *http.Request, name string, value any) bool {
	c, err := r.Cookie(s.cookieName(name))
	return err == nil && s.sealer.open(name, c.Value, value)
}

// Start begins a session.
func (s *Sessions) Start(w http.ResponseWriter, session Session) error {
	session.Issued = s.now().Unix()
	return s.write(w, session)
}

func (s *Sessions) write(w http.ResponseWriter, session Session) error {
	session.Seen = s.now().Unix()
	text, err := s.sealer.seal("apportion", session)
	if err != nil {
		return err
	}
	if len(text) > maxCookie {
		return &Refused{schemas.Forbidden, "you are in more groups that are granted something than a session can hold"}
	}
	s.set(w, "apportion", text, sessionLasts)
	return nil
}

// Of returns the session of a request, if it has one that goes on, and renews its cookie every minute.
func (s *Sessions) Of(w http.ResponseWriter, r *http.Request) (session Session, ok bool) {
	if !s.read(r, "apportion", &session) || session.Subject == "" {
		return Session{}, false
	}
	now := s.now()
	issued, seen := time.Unix(session.Issued, 0), time.Unix(session.Seen, 0)
	if now.Before(seen.Add(-clockSkew)) || seen.Before(issued) ||
		!now.Before(issued.Add(sessionLasts)) || !now.Before(seen.Add(sessionIdle)) {
		return Session{}, false
	}
	if now.Sub(seen) >= sessionRenew {
		if err := s.write(w, session); err != nil {
			return Session{}, false
		}
	}
	return session, true
}

// End takes the session's cookie away.
func (s *Sessions) End(w http.ResponseWriter) { s.set(w, "apportion", "", 0) }

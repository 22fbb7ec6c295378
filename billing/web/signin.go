package web

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/schemas"
)

// signInRoutes are those by which browsers begin and end sessions. They are no part of the API: nobody who asks them is
// known yet.
func (s *Server) signInRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", s.limited(s.login))
	mux.HandleFunc("GET "+auth.CallbackPath, s.limited(s.callback))
	mux.HandleFunc("POST /logout", s.logout)
}

// login sends a browser to the issuer, or takes the secret of a link that is valid once.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !query.Has("once") {
		page, err := s.SignIn.BeginSignIn(w, r, query.Get("to"))
		if err != nil {
			s.refuseSignIn(w, r, "", err)
			return
		}
		http.Redirect(w, r, page, http.StatusSeeOther)
		return
	}
	who, err := s.SignIn.SignInOnce(w, query.Get("once"))
	s.signedIn(w, r, who, "/", err)
}

// callback takes somebody whom the issuer sends back.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	who, to, err := s.SignIn.FinishSignIn(w, r)
	s.signedIn(w, r, who, to, err)
}

func (s *Server) signedIn(w http.ResponseWriter, r *http.Request, who access.Identity, to string, err error) {
	requestOf(r.Context()).identity = who
	if err != nil {
		s.refuseSignIn(w, r, who.Subject, err)
		return
	}
	s.SignedIn(true)
	s.Log.Info("signed in", "request", requestID(r.Context()), "subject", who.Subject)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// refuseSignIn answers that somebody is not let in; the log has the whole reason.
func (s *Server) refuseSignIn(w http.ResponseWriter, r *http.Request, subject string, err error) {
	s.SignedIn(false)
	s.Log.Warn("a sign-in is refused", "request", requestID(r.Context()), "subject", subject, "error", err)
	p := problemOf(err)
	p.headers.Del("WWW-Authenticate") // there is no use in a browser's asking for a password
	writeProblem(w, r, p)
}

// logout ends the session of a browser.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if who, err := s.SignIn.Authenticate(w, r); err == nil && who.Subject != "" {
		requestOf(r.Context()).identity = who
		s.Log.Info("signed out", "request", requestID(r.Context()), "subject", who.Subject)
	}
	s.SignIn.End(w)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// refusal notes in the log that somebody may not do something, or does it too often.
func (s *Server) refusal(ctx context.Context, operation string, p *Problem) {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		of := requestOf(ctx)
		s.Log.Warn("a request is refused", "request", of.id, "subject", of.identity.Subject, "operation", operation,
			"code", string(p.Code))
	}
}

// refuse answers with a refusal.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	s.refusal(r.Context(), "", p)
	writeProblem(w, r, p)
}

// limited lets an address try to sign in only so often.
func (s *Server) limited(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.signIns.allow(r.RemoteAddr, s.Clock()) {
			s.SignedIn(false)
			s.refuse(w, r, newProblem(http.StatusTooManyRequests, schemas.TooManyRequests,
				"from this address sign-ins are begun more often than one address may").with("Retry-After", "5"))
			return
		}
		next(w, r)
	}
}

// addressLimit limits how often something is done from one address, or one network of IPv6.
type addressLimit struct {
	mu sync.Mutex
	by map[netip.Prefix]*rate.Limiter
}

const (
	signInRate  = 2  // a second; a sign-in takes two requests
	signInBurst = 40 // many people may come from one proxy
	// maxAddresses is how many are remembered.
	maxAddresses = 10_000
)

func (l *addressLimit) allow(remote string, now time.Time) bool {
	host, _, _ := net.SplitHostPort(remote)
	address, err := netip.ParseAddr(host)
	bits := 32
	if address = address.Unmap().WithZone(""); address.Is6() {
		bits = 64
	}
	network, err2 := address.Prefix(bits)
	if err != nil || err2 != nil {
		network = netip.Prefix{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.by) >= maxAddresses {
		clear(l.by)
	}
	if l.by == nil {
		l.by = map[netip.Prefix]*rate.Limiter{}
	}
	if l.by[network] == nil {
		l.by[network] = rate.NewLimiter(signInRate, signInBurst)
	}
	return l.by[network].AllowN(now, 1)
}

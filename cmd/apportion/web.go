package main

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"apportion/billing/service"
	"apportion/billing/web"
	"apportion/billing/web/auth"
	"apportion/cmd/apportion/config"
	"apportion/schemas/civil"
)

// verdictWithin is how long a command over HTTP waits for its verdict once Kafka has it.
const verdictWithin = 5 * time.Second

// newWeb returns the API on the use cases, for whom somebody finds out, within limits. With a door,
// people sign in too.
func (a *app) newWeb(cfg web.Config, s *services, who web.Authenticator) *web.Server {
	door, _ := who.(*auth.Door)
	cfg.Secure = door != nil && door.Secure()
	s.registry.VerdictWithin = verdictWithin
	deps := web.Deps{
		Auth: who, SignIn: door, Events: s.events, Deliveries: s.deliveries,
		Registry: s.registry, Invoices: s.invoices, Rejected: s.rejected,
		Figures: s.figures, Pipeline: s.pipeline, Log: a.log, Clock: a.now,
		Answered: s.answered, SignedIn: s.signedIn,
		Evidence: func(ctx context.Context, w io.Writer, of service.IssuedInvoice, file string, agents bool) error {
			_, err := a.writeEvidence(ctx, s.conn, w, of, file, agents)
			return err
		},
	}
	deps.Scheduled, _ = civil.ParseMonth(a.cfg.Schedule.From) // 0 for none; what else is wrong is found as it is read
	if out := a.cfg.Schedule.Out; out != "" {
		deps.Files = os.DirFS(out)
	}
	return web.New(cfg, deps)
}

// serveAPI serves the API on http.listen until it is stopped.
func (a *app) serveAPI(s *services) (stop func(), err error) {
	listener, err := a.listen("http.listen", a.cfg.HTTP.Listen)
	if err != nil {
		return nil, err
	}
	return a.serveAPIOn(listener, s, "")
}

// serveAPIOn serves the API on a listener until it is stopped. The secret, if any, signs a browser in once, with what
// the token of the local operator is granted.
func (a *app) serveAPIOn(listener net.Listener, s *services, once string) (stop func(), err error) {
	who := auth.Config{
		Tokens: a.cfg.Auth.Machines(), Grants: a.cfg.Auth.GroupGrants(), Keys: a.cfg.Auth.Keys(), Secure: a.secure(),
		Once: once, OnceToken: localOperator,
	}
	if oidc := a.cfg.Auth.OIDC; oidc.Issuer != "" {
		who.OIDC = &auth.OIDC{Issuer: oidc.Issuer, ClientID: oidc.ClientID, ClientSecret: oidc.ClientSecret,
			RolesClaim: oidc.RolesClaim, RedirectURL: oidc.RedirectURL}
	}
	door, err := auth.NewDoor(who, a.now)
	if err != nil {
		listener.Close()
		return nil, err
	}
	stop = a.serveOn(listener, a.newWeb(web.DefaultConfig(), s, door).Handler())
	a.log.Info("serving the API", "address", listener.Addr().String())
	return stop, nil
}

// secure reports whether browsers come over https: as the URL that they are sent back to after signing in says, else
// wherever others than this machine reach the API, before which something must then stand that speaks it.
func (a *app) secure() bool {
	if redirect := a.cfg.Auth.OIDC.RedirectURL; redirect != "" {
		return strings.HasPrefix(redirect, "https:")
	}
	return !config.Loopback(a.cfg.HTTP.Listen)
}

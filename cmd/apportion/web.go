package main

import (
	"os"

	"apportion/billing/web"
	"apportion/billing/web/auth"
	"apportion/schemas/civil"
)

// newWeb returns the API on the use cases.
func (a *app) newWeb(s *services, who web.Authenticator) *web.Server {
	deps := web.Deps{
		Auth: who, Events: s.events, Registry: s.registry, Invoices: s.invoices, Rejected: s.rejected, Figures: s.figures,
		Pipeline: s.pipeline, Log: a.log, Clock: a.now,
	}
	deps.Scheduled, _ = civil.ParseMonth(a.cfg.Schedule.From) // 0 for none; what else is wrong is found as it is read
	if out := a.cfg.Schedule.Out; out != "" {
		deps.Files = os.DirFS(out)
	}
	return web.New(web.DefaultConfig(), deps)
}

// serveAPI serves the API on http.listen until it is stopped, and returns the address.
func (a *app) serveAPI(s *services) (stop func(), address string, err error) {
	listener, err := a.listen("http.listen", a.cfg.HTTP.Listen)
	if err != nil {
		return nil, "", err
	}
	who := auth.NewTokens(a.cfg.Auth.Machines(), a.now)
	stop = a.serveOn(listener, a.newWeb(s, who).Handler())
	a.log.Info("serving the API", "address", listener.Addr().String())
	return stop, listener.Addr().String(), nil
}

package main

import (
	"apportion/billing/web"
)

// newWeb returns the API on the use cases.
func (a *app) newWeb(s *services, who web.Authenticator) *web.Server {
	return web.New(web.DefaultConfig(), web.Deps{
		Auth: who, Registry: s.registry, Invoices: s.invoices, Rejected: s.rejected, Figures: s.figures,
		Log: a.log, Clock: a.now,
	})
}

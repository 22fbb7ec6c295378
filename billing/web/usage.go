package web

// usageRoutes registers the routes of usage, concurrency and overage.
func (s *Server) usageRoutes() {}

package web

// eventRoutes registers the routes of events over HTTP.
func (s *Server) eventRoutes() {}

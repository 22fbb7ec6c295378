package web

// commandRoutes registers the routes of the log of commands, and what-if.
func (s *Server) commandRoutes() {}

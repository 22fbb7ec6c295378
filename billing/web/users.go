package web

// userRoutes registers the routes of users, licences, entry points and who loses access.
func (s *Server) userRoutes() {}

package web

// periodRoutes registers the routes of periods, drafts, differences, issues, holds, balances and files.
func (s *Server) periodRoutes() {}

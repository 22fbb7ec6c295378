package web

// pipelineRoutes registers the routes of how current everything is, and findings.
func (s *Server) pipelineRoutes() {}

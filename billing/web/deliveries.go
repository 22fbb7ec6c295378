package web

// deliveryRoutes registers the routes of deliveries and those that were refused.
func (s *Server) deliveryRoutes() {}

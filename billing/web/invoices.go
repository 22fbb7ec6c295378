package web

// invoiceRoutes registers the routes of invoices, their lines and what explains them.
func (s *Server) invoiceRoutes() {}

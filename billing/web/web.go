// Package web serves what people and programs ask of Apportion over HTTP: the API under /api/v1, which the console uses
// too. It takes requests, has [auth] find out who asks and [access] what that may be, calls a use case of
// billing/service, and answers in the wire forms that the program's --json and invoices.json have. It names no store
// and no driver.
package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/billing/web/console"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/traces"
)

// Prefix is before the path of every route.
const Prefix = "/api/v1"

// Config says how requests are limited.
type Config struct {
	// Rate and Burst limit the requests of one subject a second, HeavyRate and HeavyBurst those that bill or read much.
	Rate, HeavyRate   int
	Burst, HeavyBurst int
	// Heavy is how many of the latter are done at once, of all subjects.
	Heavy int
	// Timeout is how long a request may take.
	Timeout time.Duration
	// Issue is how long an issue may take, which goes on when nobody waits for its answer any more.
	Issue time.Duration
	// BodyBytes is how long a body may be that has no limit of its own.
	BodyBytes int64
	// Secure says that browsers come over https, and are to stay with it.
	Secure bool
}

// DefaultConfig lets a subject ask 20 times a second, 2 times for what is heavy.
func DefaultConfig() Config {
	return Config{
		Rate: 20, Burst: 60, HeavyRate: 2, HeavyBurst: 10, Heavy: 4,
		Timeout: time.Minute, Issue: 30 * time.Minute, BodyBytes: 1 << 20,
	}
}

// Authenticator finds out who sent a request: nobody, with no error, where nothing in it says so. It may set cookies of
// the answer.
type Authenticator interface {
	Authenticate(w http.ResponseWriter, r *http.Request) (access.Identity, error)
}

// Deps are what the API is served with.
type Deps struct {
	Auth       Authenticator
	SignIn     *auth.Door // of people with browsers; nil: none
	Events     *service.Events
	Deliveries *service.Deliveries
	Registry   *service.Registry
	Invoices   *service.Invoices
	Rejected   *service.Rejected
	Figures    *service.Figures
	Pipeline   *service.Pipeline
	Log        *slog.Logger
	Clock      service.Clock
	// Scheduled is the first period that the schedule issues, 0 for none.
	Scheduled civil.Month
	// Files has the directories of the periods whose files are written; nil where none are.
	Files fs.FS
	// Evidence writes the files of evidence of an invoice.
	Evidence service.WriteEvidence
	// Answered and SignedIn are told of every answer, and of every sign-in that ended; they may be nil.
	Answered func(Answer)
	SignedIn func(accepted bool)
}

// Answer is what is counted of the answer to a request.
type Answer struct {
	// Method is of the request, and "other" where HTTP does not have it. Route is the pattern of its path, "/" for paths
	// that there are not.
	Method, Route string
	Status        int
	Took          time.Duration
}

// Server serves the API.
type Server struct {
	cfg Config
	Deps
	mux   *http.ServeMux
	api   huma.API
	heavy chan struct{}
	// document is the OpenAPI document, which is written once.
	document func() ([]byte, error)

	limiting sync.Mutex
	limits   map[string]*limits // by subject
	signIns  addressLimit
}

// limits are those of one subject.
type limits struct{ all, heavy *rate.Limiter }

// New returns a server; it serves nothing until its Handler is asked.
func New(cfg Config, deps Deps) *Server {
	if deps.Answered == nil {
		deps.Answered = func(Answer) {}
	}
	if deps.SignedIn == nil {
		deps.SignedIn = func(bool) {}
	}
	s := &Server{cfg: cfg, Deps: deps, mux: http.NewServeMux(), heavy: make(chan struct{}, cfg.Heavy),
		limits: map[string]*limits{}}
	named := map[string]reflect.Type{}
	s.api = humago.NewWithPrefix(s.mux, Prefix, apiConfig(named))
	s.mux.HandleFunc(Prefix+"/", s.noRoute)
	s.mux.HandleFunc("GET "+Prefix+"/openapi.json", s.serveDocument)
	s.routes()
	s.api.OpenAPI().Components.Responses = problemResponses()
	describeQuoted(s.api.OpenAPI().Components.Schemas, named)
	s.document = sync.OnceValues(s.Document)
	return s
}

// routes registers every route.
func (s *Server) routes() {
	s.tenantRoutes()
	s.userRoutes()
	s.usageRoutes()
	s.periodRoutes()
	s.invoiceRoutes()
	s.deliveryRoutes()
	s.eventRoutes()
	s.commandRoutes()
	s.pipelineRoutes()
}

// apiConfig is huma without what would break the contract: it answers nothing of its own, takes the names of members
// and parameters exactly, and refuses what it does not know.
func apiConfig(named map[string]reflect.Type) huma.Config {
	cfg := huma.DefaultConfig("Apportion", "1")
	cfg.Info.Description = "Usage metering and overage billing for contact centres whose tenants hold several " +
		"subscriptions."
	cfg.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	cfg.Servers = []*huma.Server{{URL: Prefix, Description: "The server that this document comes from."}}
	cfg.Tags = slices.Clone(tags)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil
	cfg.Formats = map[string]huma.Format{
		"application/json": jsonFormat, "json": jsonFormat, "text/csv": csvFormat, "csv": csvFormat,
		calendarType: calendarFormat,
	}
	cfg.DefaultFormat = "application/json"
	cfg.RejectUnknownQueryParameters = true
	cfg.Components = &huma.Components{
		Schemas: schemaRegistry(named),
		SecuritySchemes: map[string]*huma.SecurityScheme{
			"token":   {Type: "http", Scheme: "bearer", Description: "A token of Apportion's own, or of the issuer."},
			"session": {Type: "apiKey", In: "cookie", Name: "__Host-apportion", Description: "Of somebody who signed in."},
		},
	}
	cfg.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	return cfg
}

// jsonFormat writes what the program's --json writes, an empty list as [] and never as null, and refuses members that
// are repeated.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		if err := jsonv2.MarshalWrite(w, v, jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false),
			jsonv2.FormatNilSliceAsNull(false), jsonv2.FormatNilMapAsNull(false)); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n")
		return err
	},
	Unmarshal: func(data []byte, v any) error {
		if _, unchecked := v.(*any); unchecked { // for huma to hold it to the schema
			return jsonv2.Unmarshal(data, v)
		}
		return jsonv2.Unmarshal(data, v, notNull)
	},
}

// notNull refuses what is null, which huma takes for absent: no member says that it may be null.
var notNull = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, _ any) error {
	if d.PeekKind() == 'n' {
		return errors.New("null is not a value of it: leave it out")
	}
	return errors.ErrUnsupported // the default reads it
}))

// Handler serves the API.
func (s *Server) Handler() http.Handler {
	protected := http.NewCrossOriginProtection()
	protected.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, newProblem(http.StatusForbidden, schemas.Forbidden, "a page of another site may not ask this"))
	}))
	mux := http.NewServeMux()
	authenticated, pages := http.HandlerFunc(s.authenticated), s.console()
	mux.Handle(Prefix+"/", authenticated)
	if s.SignIn != nil {
		s.signInRoutes(mux)
	}
	mux.Handle("/", pages)
	return s.request(protected.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { requestOf(r.Context()).pattern = r.Pattern }() // the last that a mux has found
		// What is no clean path is answered without being sent elsewhere.
		switch {
		case clean(r):
			mux.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, Prefix):
			authenticated(w, r)
		default:
			pages.ServeHTTP(w, r)
		}
	})))
}

// console serves pages to whoever asks, in whose name they ask the API.
func (s *Server) console() http.Handler {
	pages := console.New(console.Deps{
		API: s.mux, CanSignIn: s.SignIn != nil && s.SignIn.HasIssuer(), Log: s.Log, Clock: s.Clock,
		Identity: func(r *http.Request) access.Identity { return requestOf(r.Context()).identity },
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, err := s.Auth.Authenticate(w, r)
		if err != nil {
			s.refuse(w, r, s.logged(r.Context(), err))
			return
		}
		requestOf(r.Context()).identity = identity
		pages.ServeHTTP(w, r)
	})
}

type requestKey struct{}

// request is what is known of one.
type request struct {
	id       string
	identity access.Identity
	pattern  string // of the route that answers it
	status   int
}

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

func requestID(ctx context.Context) string { return requestOf(ctx).id }

// request gives each request an id, the headers that every answer has, an end, and a line in the log.
func (s *Server) request(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := &request{id: uuid.NewString()}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), requestKey{}, of), s.cfg.Timeout)
		defer cancel()
		ctx, span := traces.Begin(ctx, "request")
		h := w.Header()
		h.Set("X-Request-Id", of.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "same-origin")
		if s.cfg.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		began := s.Clock()
		defer func() {
			fault := recover()
			asError, _ := fault.(error)
			cutOff := errors.Is(asError, http.ErrAbortHandler)
			if fault != nil && !cutOff {
				s.Log.Error("a request failed", "request", of.id, "path", r.URL.Path, "fault", fault,
					"stack", string(debug.Stack()))
				if of.status == 0 {
					writeProblem(&statusWriter{w, of}, r.WithContext(ctx),
						unavailable("this is a fault of the program", 5*time.Second))
				}
			}
			took := s.Clock().Sub(began)
			s.Log.Info("request", "request", of.id, "method", r.Method, "path", r.URL.Path, "status", of.status,
				"subject", of.identity.Subject, "took", took)
			s.traced(span, r.Method, of)
			s.Answered(Answer{knownMethod(r.Method), of.route(), of.status, took})
			if cutOff { // the caller has to see that the answer is cut off
				panic(fault)
			}
		}()
		next.ServeHTTP(&statusWriter{w, of}, r.WithContext(ctx))
	})
}

// traced ends the span of a request, which is named by its route, since a path names who is asked for.
func (s *Server) traced(span traces.Span, method string, of *request) {
	span.Name(knownMethod(method) + " " + of.route())
	span.Say("http.request.method", knownMethod(method))
	span.Say("http.route", of.route())
	span.Count("http.response.status_code", of.status)
	var failed error
	if of.status >= http.StatusInternalServerError {
		failed = errors.New(http.StatusText(of.status))
	}
	span.End(failed)
}

// route is the path of the pattern, without the digest that paths of static files have.
func (r *request) route() string {
	route := r.pattern[strings.Index(r.pattern, " ")+1:]
	if strings.HasPrefix(route, "/static/") {
		return "/static/"
	}
	return cmp.Or(route, "/")
}

func knownMethod(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return "other"
}

// statusWriter notes the status of an answer for the log.
type statusWriter struct {
	http.ResponseWriter
	of *request
}

func (w *statusWriter) WriteHeader(status int) {
	w.of.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(content []byte) (int, error) {
	w.of.status = cmp.Or(w.of.status, http.StatusOK)
	return w.ResponseWriter.Write(content)
}

// Unwrap lets handlers flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// authenticated finds out who asks.
func (s *Server) authenticated(w http.ResponseWriter, r *http.Request) {
	identity, err := s.Auth.Authenticate(w, r)
	if err != nil {
		s.refuse(w, r, s.logged(r.Context(), err))
		return
	}
	requestOf(r.Context()).identity = identity
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		writeProblem(w, r, badRequest("query", "", "the query cannot be read: escape what is in it"))
		return
	}
	if !clean(r) {
		s.noRoute(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// clean reports whether a path is one that net/http would not redirect from, to another that was not asked for.
func clean(r *http.Request) bool { return r.URL.EscapedPath() == path.Clean(r.URL.EscapedPath()) }

// badQuery refuses a parameter that is repeated, and one without a value: a caller may have meant either by it, that
// there is no such limit, or that there is.
func badQuery(u url.URL) *Problem {
	values := u.Query()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch list := values[name]; {
		case len(list) > 1:
			return badRequest(name, "", "the parameter "+name+" is repeated")
		case list[0] == "":
			return badRequest(name, "", "the parameter "+name+" has no value: give it one, or leave it out")
		}
	}
	return nil
}

// methods are those that a route may have.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete}

// noRoute answers what no route does: 405 where one has the path with another method. Nobody learns which routes there
// are without having signed in.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	if p := stranger(requestOf(r.Context()).identity); p != nil {
		s.refuse(w, r, p)
		return
	}
	var allowed []string
	for _, method := range methods {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); clean(r) && pattern != Prefix+"/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		writeProblem(w, r, notFound("path", r.URL.Path))
		return
	}
	writeProblem(w, r, newProblem(http.StatusMethodNotAllowed, schemas.MethodNotAllowed, r.Method+" is not for this path").
		with("Allow", strings.Join(allowed, ", ")))
}

// stranger is the answer to those who are not known, and to those who are granted nothing.
func stranger(who access.Identity) *Problem {
	switch {
	case who.Subject == "":
		return unauthenticated()
	case len(who.Grants) == 0:
		return newProblem(http.StatusForbidden, schemas.Forbidden, who.Subject+" is granted nothing")
	}
	return nil
}

func unauthenticated() *Problem {
	return newProblem(http.StatusUnauthorized, schemas.Unauthenticated, "the request does not say who sends it").
		with("WWW-Authenticate", "Bearer")
}

// writeProblem answers with a problem where no route has.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	p.RequestID = requestID(r.Context())
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// limit waits for nobody: who asks too often is told when to ask again.
func (s *Server) limit(subject string, heavy bool) *Problem {
	s.limiting.Lock()
	l := s.limits[subject]
	if l == nil {
		l = &limits{rate.NewLimiter(rate.Limit(s.cfg.Rate), s.cfg.Burst),
			rate.NewLimiter(rate.Limit(s.cfg.HeavyRate), s.cfg.HeavyBurst)}
		s.limits[subject] = l
	}
	s.limiting.Unlock()
	limiter := l.all
	if heavy {
		limiter = l.heavy
	}
	if limiter.AllowN(s.Clock(), 1) {
		return nil
	}
	return newProblem(http.StatusTooManyRequests, schemas.TooManyRequests,
		subject+" asks more often than one subject may").with("Retry-After", "1")
}

// serveDocument serves the OpenAPI document to whoever has signed in.
func (s *Server) serveDocument(w http.ResponseWriter, r *http.Request) {
	if p := stranger(requestOf(r.Context()).identity); p != nil {
		s.refuse(w, r, p)
		return
	}
	document, err := s.document()
	if err != nil {
		writeProblem(w, r, problemOf(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(document)
}

// logged returns the problem of a failure, which is in the log where it is not the caller's fault.
func (s *Server) logged(ctx context.Context, err error) *Problem {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		s.Log.Error("a request failed", "request", requestID(ctx), "error", err)
	}
	p.RequestID = requestID(ctx)
	return p
}

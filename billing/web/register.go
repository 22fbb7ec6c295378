package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"apportion/billing/web/access"
	"apportion/schemas"
)

// route is what there is to know of an operation beside its input and output. Who may ask for it is in access, by ID.
type route struct {
	ID, Method, Path string
	Summary          string
	Description      string
	Tag              string
	Heavy            bool  // it bills, or reads much
	BodyBytes        int64 // how long its body may be; 0: as the configuration says
	Success          int   // the status of what is done; 0: 200, or 204 without a body
	Errors           []int // statuses besides those that every route may answer
	// Types are the media types of its answer besides application/json, such as text/csv; what a handler writes itself.
	Types []string
	// Request and Response describe bodies that the handler reads or writes itself.
	Request  *huma.RequestBody
	AnyBody  bool // nothing of the body is checked before the handler, which says of what types it may be
	Response map[string]*huma.MediaType
}

type scopeKey struct{}

// everyStatus are those that every route may answer.
var everyStatus = []int{
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusNotAcceptable,
	http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

// register has a route answered by a handler, which is asked by those alone who may, with the scope of what they see.
func register[I, O any](
	s *Server, r route, handler func(ctx context.Context, scope access.Scope, in *I) (*O, error),
) {
	if _, known := access.Operations()[r.ID]; !known {
		panic("access does not say who may ask for " + r.ID)
	}
	statuses := slices.Concat(everyStatus, r.Errors)
	if r.Method != http.MethodGet {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if reflect.TypeFor[O]() == reflect.TypeFor[verdictOutput]() {
		statuses = append(statuses, http.StatusAccepted)
	}
	slices.Sort(statuses)
	statuses = slices.Compact(statuses)
	op := huma.Operation{
		OperationID: r.ID, Method: r.Method, Path: r.Path, Summary: r.Summary,
		Tags: []string{r.Tag}, MaxBodyBytes: cmp.Or(r.BodyBytes, s.cfg.BodyBytes), Errors: statuses,
		Middlewares: huma.Middlewares{s.admit(r)},
		RequestBody: r.Request, DefaultStatus: r.Success, SkipValidateBody: r.AnyBody,
		Extensions: map[string]any{"x-roles": access.Operations()[r.ID]},
	}
	var bodies map[string]*huma.MediaType
	if r.Request != nil {
		bodies = maps.Clone(r.Request.Content)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		scope, _ := ctx.Value(scopeKey{}).(access.Scope)
		out, err := handler(ctx, scope, in)
		if err != nil {
			return nil, s.logged(ctx, err)
		}
		return out, nil
	})
	if r.Request != nil {
		r.Request.Content = bodies // without what huma makes of a body that the handler reads
	}
	s.describe(pathOperation(s.api.OpenAPI().Paths[r.Path], r.Method), r, statuses)
}

func pathOperation(item *huma.PathItem, method string) *huma.Operation {
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPut:
		return item.Put
	case http.MethodPost:
		return item.Post
	case http.MethodDelete:
		return item.Delete
	}
	return nil
}

// admit lets through who may ask, not more often than they may, and for a form that there is. It comes before the
// request is looked at, so that a stranger learns nothing from its faults.
func (s *Server) admit(r route) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		of := requestOf(c.Context())
		scope, may := of.identity.Scope(r.ID)
		var p *Problem
		switch {
		case len(of.identity.Grants) == 0:
			p = stranger(of.identity)
		case !may:
			p = newProblem(http.StatusForbidden, schemas.Forbidden, fmt.Sprintf("%s may not do this; it is for the roles %s",
				of.identity.Subject, strings.Join(roleNames(r.ID), ", ")))
		case !acceptable(c.Header("Accept"), r.Types):
			p = newProblem(http.StatusNotAcceptable, schemas.NotAcceptable, "the answer can be had as "+
				strings.Join(append([]string{"application/json"}, r.Types...), ", "))
		case !r.AnyBody && !takes(c.Operation().RequestBody, c.Header("Content-Type")):
			p = newProblem(http.StatusUnsupportedMediaType, schemas.UnsupportedMediaType,
				"the body is "+c.Header("Content-Type")+", and the route takes "+
					strings.Join(slices.Sorted(maps.Keys(c.Operation().RequestBody.Content)), ", "))
		default:
			if p = badQuery(c.URL()); p == nil {
				p = s.limit(of.identity.Subject, r.Heavy)
			}
		}
		if p == nil && r.Heavy {
			select {
			case s.heavy <- struct{}{}:
				defer func() { <-s.heavy }()
			case <-c.Context().Done():
				p = unavailable("others ask for so much that it cannot be done now", s.cfg.Timeout)
			}
		}
		if p != nil {
			s.refusal(c.Context(), r.ID, p)
			p.RequestID = of.id
			for name, values := range p.headers {
				for _, v := range values {
					c.AppendHeader(name, v)
				}
			}
			c.SetHeader("Content-Type", p.ContentType(""))
			c.SetStatus(p.Status)
			jsonFormat.Marshal(c.BodyWriter(), p)
			return
		}
		next(huma.WithValue(c, scopeKey{}, scope))
	}
}

// takes reports whether a body may be of a type; one that is not said is what the route takes.
func takes(body *huma.RequestBody, contentType string) bool {
	if body == nil || contentType == "" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (body.Content[mediaType] != nil || body.Content["*/*"] != nil)
}

func roleNames(operation string) (names []string) {
	for _, role := range access.Operations()[operation] {
		names = append(names, string(role))
	}
	return names
}

// acceptable reports whether one of the media types of an answer, or JSON, is asked for.
func acceptable(accept string, types []string) bool {
	if accept == "" {
		return true
	}
	for _, entry := range strings.Split(accept, ",") {
		name, parameters, _ := strings.Cut(entry, ";")
		if strings.Contains(strings.ReplaceAll(parameters, " ", ""), "q=0;") ||
			strings.HasSuffix(strings.ReplaceAll(parameters, " ", ""), "q=0") {
			continue
		}
		name = strings.ToLower(strings.TrimSpace(name))
		main, rest, _ := strings.Cut(name, "/")
		for _, have := range append([]string{"application/json"}, types...) {
			haveMain, _, _ := strings.Cut(have, "/")
			if name == have || rest == "*" && (main == "*" || main == haveMain) {
				return true
			}
		}
	}
	return false
}

// schemaRegistry names schemas by their Go types, with the package before it where two have one name, and has the
// types of dates, amounts and codes as the strings that they are written as. It notes in named which is which.
func schemaRegistry(named map[string]reflect.Type) huma.Registry {
	r := huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		name := huma.DefaultSchemaNamer(t, hint)
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct { // which are described where they are, without a name
			return name
		}
		if other, taken := named[name]; taken && other != t {
			path := strings.Split(t.PkgPath(), "/")
			last := path[len(path)-1]
			name = strings.ToUpper(last[:1]) + last[1:] + name
		}
		named[name] = t
		return name
	})
	for _, alias := range aliases {
		r.RegisterTypeAlias(alias.of, alias.as)
	}
	return r
}

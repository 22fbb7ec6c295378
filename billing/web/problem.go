package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/auth"
	"apportion/schemas"
)

// Problem is why a request was not done (RFC 9457), with the code that the program, findings and files have too.
type Problem struct {
	Type   string       `json:"type" doc:"A page on the code."`
	Title  string       `json:"title" doc:"What is the case."`
	Status int          `json:"status"`
	Detail string       `json:"detail" doc:"What happened."`
	Advice string       `json:"advice,omitempty" doc:"What to do."`
	Code   schemas.Code `json:"code"`
	Rule   string       `json:"rule,omitempty" doc:"The billing rule, such as R5."`
	// Errors are the faults of a request, or why a command is refused, each with its field.
	Errors    []FieldProblem `json:"errors,omitempty"`
	RequestID string         `json:"requestId"`

	headers http.Header
}

// FieldProblem is one fault.
type FieldProblem struct {
	Code    schemas.Code `json:"code"`
	Field   string       `json:"field,omitempty"`
	Value   string       `json:"value,omitempty" doc:"What it has there."`
	Message string       `json:"message"`
}

// Error is what happened.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are the headers of the answer.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType is that of a problem.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// newProblem returns the problem of a code.
func newProblem(status int, code schemas.Code, detail string) *Problem {
	return &Problem{
		Type: "/docs/reference/codes#" + string(code), Title: code.Title(), Status: status, Detail: detail,
		Advice: code.Advice(), Code: code, Rule: code.Rule(), headers: http.Header{},
	}
}

// with sets a header of the answer.
func (p *Problem) with(name, value string) *Problem {
	p.headers.Set(name, value)
	return p
}

// retryAfter says after how long to ask again.
func (p *Problem) retryAfter(d time.Duration) *Problem {
	return p.with("Retry-After", strconv.Itoa(int(d.Seconds())))
}

func badRequest(field, value, message string) *Problem {
	p := newProblem(http.StatusBadRequest, schemas.MalformedRequest, message)
	p.Errors = []FieldProblem{{schemas.MalformedRequest, field, value, message}}
	return p
}

// notFound is the answer to what is not there, and to what the caller may not know of.
func notFound(what, id string) *Problem {
	return newProblem(http.StatusNotFound, schemas.NotFound, "there is no "+what+" "+id+" that you may see")
}

// refused is the answer to a command that a rule refuses (409), or that was made on what no longer stands (412).
func refused(refusals []registry.Refusal) *Problem {
	status, first := http.StatusConflict, schemas.Code("")
	var all []FieldProblem
	var details []string
	for _, r := range refusals {
		switch r.Code {
		case schemas.StaleBase:
			status = http.StatusPreconditionFailed
		case schemas.ReusedID:
			status = http.StatusUnprocessableEntity
		}
		first = cmp.Or(first, r.Code)
		// What a command has in data is in the body of the request.
		all = append(all, FieldProblem{r.Code, strings.TrimPrefix(r.Field, "data."), r.Value, r.Message})
		details = append(details, r.Message)
	}
	p := newProblem(status, first, strings.Join(details, "; "))
	p.Errors = all
	return p
}

// problemOf returns the problem of what a use case failed with. What is nobody's fault but ours, or a server's, tells
// nothing of itself: that is in the log, by the request's id.
func problemOf(err error) *Problem {
	var (
		problem *Problem
		cannot  *service.Error
		stop    *billing.Stop
		leftOut *export.Refusal
		nobody  *auth.Refused
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &nobody):
		switch nobody.Code {
		case schemas.Forbidden:
			return newProblem(http.StatusForbidden, nobody.Code, nobody.Message)
		case schemas.Unavailable:
			return unavailable(nobody.Message, 5*time.Second)
		}
		return newProblem(http.StatusUnauthorized, nobody.Code, nobody.Message).with("WWW-Authenticate", "Bearer")
	case errors.As(err, &cannot):
		p := newProblem(cannot.Code.Status(), cannot.Code, cannot.Message)
		if p.Status == http.StatusServiceUnavailable {
			p.retryAfter(time.Minute)
		}
		return p
	case errors.As(err, &stop):
		return stopped(stop)
	case errors.As(err, &leftOut):
		p := newProblem(http.StatusConflict, leftOut.Code, leftOut.Field+" "+leftOut.Message)
		p.Advice, p.Errors = leftOut.Advice, []FieldProblem{{leftOut.Code, leftOut.Field, "", leftOut.Message}}
		return p
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("it took longer than a request may take", 10*time.Second)
	}
	return unavailable("Kafka or ClickHouse do not answer, or do not answer right", 5*time.Second)
}

// stopped is the answer where a rule stops the period of a tenant, or of several.
func stopped(stops ...*billing.Stop) *Problem {
	p := newProblem(http.StatusConflict, stops[0].Code, stops[0].Message)
	p.Advice, p.Rule = stops[0].Advice, stops[0].Rule
	for _, s := range stops {
		p.Errors = append(p.Errors, FieldProblem{s.Code, "tenantId", s.Tenant, s.Message})
	}
	return p
}

func unavailable(detail string, after time.Duration) *Problem {
	return newProblem(http.StatusServiceUnavailable, schemas.Unavailable, detail).retryAfter(after)
}

// codeOfStatus is the code of what is wrong with a request as such.
var codeOfStatus = map[int]schemas.Code{
	http.StatusBadRequest:            schemas.MalformedRequest,
	http.StatusUnauthorized:          schemas.Unauthenticated,
	http.StatusForbidden:             schemas.Forbidden,
	http.StatusNotFound:              schemas.NotFound,
	http.StatusMethodNotAllowed:      schemas.MethodNotAllowed,
	http.StatusNotAcceptable:         schemas.NotAcceptable,
	http.StatusRequestEntityTooLarge: schemas.BodyTooLarge,
	http.StatusUnsupportedMediaType:  schemas.UnsupportedMediaType,
	http.StatusPreconditionRequired:  schemas.PreconditionRequired,
	http.StatusTooManyRequests:       schemas.TooManyRequests,
	http.StatusServiceUnavailable:    schemas.Unavailable,
}

func init() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false // jsonFormat writes none as null
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return frameworkProblem(status, message, errs)
	}
	huma.NewErrorWithContext = func(c huma.Context, status int, message string, errs ...error) huma.StatusError {
		p := frameworkProblem(status, message, errs)
		if c != nil {
			p.RequestID = requestID(c.Context())
		}
		return p
	}
}

// inRequest is where in a request a field is, which its name is told without.
var inRequest = regexp.MustCompile(`^(body|query|path|header)\.`)

// frameworkProblem returns the problem of what huma found wrong with a request. It says what should be there, and not
// what the body is.
func frameworkProblem(status int, message string, errs []error) *Problem {
	for _, err := range errs {
		var p *Problem
		if errors.As(err, &p) {
			return p
		}
	}
	if status == http.StatusUnprocessableEntity { // a request that is not as the document says
		status = http.StatusBadRequest
	}
	code := codeOfStatus[status]
	if code == "" && status >= http.StatusInternalServerError {
		status, code = http.StatusServiceUnavailable, schemas.Unavailable
	}
	code = cmp.Or(code, schemas.MalformedRequest)
	p := newProblem(status, code, message)
	for _, err := range errs {
		f := FieldProblem{Code: code, Message: err.Error()}
		if detailer, ok := err.(huma.ErrorDetailer); ok {
			d := detailer.ErrorDetail()
			f.Field, f.Message = inRequest.ReplaceAllString(d.Location, ""), d.Message
		}
		p.Errors = append(p.Errors, f)
	}
	return p
}

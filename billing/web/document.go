package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"apportion/schemas"
)

// tags are the groups of routes, in the order in which a reader may want them.
var tags = []*huma.Tag{
	{Name: "Access", Description: "Who asks, and what they may."},
	{Name: "Tenants", Description: "Tenants with their documents: subscriptions, terms, prices and telephony (R1 to R6)."},
	{Name: "Users", Description: "Users and entry points: their mappings, and until when users have access (R7)."},
	{Name: "Usage", Description: "What was used, day by day and at once, against what is committed to (R9 to R15)."},
	{Name: "Periods", Description: "Periods from open to issued: drafts, differences, issues, holds, balances and files."},
	{Name: "Invoices", Description: "Issued invoices, their lines, and what each line is based on (R18, R19)."},
	{Name: "Deliveries", Description: "Usage events as they were delivered, and those that were refused."},
	{Name: "Events", Description: "Usage events over HTTP, for publishers without Kafka."},
	{Name: "Commands", Description: "The registry's log of commands, and what a change would do to past periods."},
	{Name: "Pipeline", Description: "How current everything is, and what somebody should look at (R24)."},
}

// statusDescriptions say what a status of an answer means, on every route.
var statusDescriptions = map[int]string{
	http.StatusOK:                           "What was asked for, or what was done.",
	http.StatusAccepted:                     "It was published; Location, if any, says where its verdict will be.",
	http.StatusNoContent:                    "It was done.",
	http.StatusPartialContent:               "The part of it that Range asks for.",
	http.StatusNotModified:                  "It has the ETag of If-None-Match still.",
	http.StatusBadRequest:                   "The request is not as this document says.",
	http.StatusUnauthorized:                 "The request does not say who sends it, or not in a way that is valid now.",
	http.StatusForbidden:                    "The sender's roles do not allow it, or a page of another site asks.",
	http.StatusNotFound:                     "There is nothing of that name that the sender may see.",
	http.StatusNotAcceptable:                "The answer cannot be had in a form that Accept names.",
	http.StatusConflict:                     "A rule refuses it: each of the errors has a reason.",
	http.StatusPreconditionFailed:           "What the request was made from has changed since.",
	http.StatusRequestEntityTooLarge:        "The body is longer than the route takes.",
	http.StatusUnsupportedMediaType:         "The body is of a type that the route does not take.",
	http.StatusRequestedRangeNotSatisfiable: "There is no such part of it.",
	http.StatusUnprocessableEntity:          "The Idempotency-Key was given before, with other content.",
	http.StatusPreconditionRequired:         "The request needs If-Match, or If-None-Match.",
	http.StatusTooManyRequests:              "The sender asks more often than one subject may.",
	http.StatusServiceUnavailable:           "It cannot be done now: Kafka or ClickHouse are away, or it took too long.",
}

// statusHeaders are those that an answer with a status has besides X-Request-Id.
var statusHeaders = map[int][]string{
	http.StatusUnauthorized:       {"WWW-Authenticate"},
	http.StatusTooManyRequests:    {"Retry-After"},
	http.StatusServiceUnavailable: {"Retry-After"},
}

// headerDescriptions are of headers, by name, where the type that has one does not say.
var headerDescriptions = map[string]string{
	"X-Request-Id":     "The id of the request in the log.",
	"WWW-Authenticate": "How to say who one is.",
	"Retry-After":      "Seconds after which to ask again.",
	"ETag":             "What has these bytes, for If-None-Match and If-Match.",
	"If-None-Match":    "The ETag of what the caller has: where it is still that, the answer is 304 without a body.",
	"Location":         "Where to ask for it.",
}

// wireString describes a header.
func wireString(name string) *huma.Param {
	schema := &huma.Schema{Type: huma.TypeString}
	if name == "Retry-After" {
		schema = &huma.Schema{Type: huma.TypeInteger}
	}
	return &huma.Param{Description: headerDescriptions[name], Schema: schema}
}

// problemName is the name of the answer with a status among the document's components.
func problemName(status int) string {
	return strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status))
}

// problemResponses describe the answers of all routes that are problems, by name.
func problemResponses() map[string]*huma.Response {
	responses := map[string]*huma.Response{}
	for status, description := range statusDescriptions {
		if status < http.StatusBadRequest {
			continue
		}
		response := &huma.Response{
			Description: description,
			Headers:     map[string]*huma.Param{"X-Request-Id": wireString("X-Request-Id")},
			Content: map[string]*huma.MediaType{"application/problem+json": {
				Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}, Example: exampleProblem(status),
			}},
		}
		for _, name := range statusHeaders[status] {
			response.Headers[name] = wireString(name)
		}
		responses[problemName(status)] = response
	}
	return responses
}

// exampleProblem is a problem with a status.
func exampleProblem(status int) *Problem {
	var p *Problem
	switch status {
	case http.StatusBadRequest:
		p = badRequest("Limit", "10", "there is no parameter Limit")
	case http.StatusConflict:
		p = newProblem(status, schemas.MixedLicenceModel,
			"Sub1 is concurrent and Sub2 named, and both are active on 2026-10-10")
		p.Errors = []FieldProblem{{p.Code, "subscriptions[1].licenceModel", "named", p.Detail}}
	case http.StatusPreconditionFailed:
		p = newProblem(status, schemas.StaleBase, "the command at offset 58 has changed the tenant since")
	case http.StatusUnprocessableEntity:
		p = newProblem(status, schemas.ReusedID, "the command at offset 57 has this id, with other content")
	default:
		p = newProblem(status, cmp.Or(codeOfStatus[status], schemas.MalformedRequest), statusDescriptions[status])
	}
	p.RequestID = "7f0c1f0e-2d0b-4a52-9c6b-2f6f5d3f9a11"
	return p
}

// describe completes what the document says of an operation: each status that it may answer, and no other, and for whom
// it is. What huma adds by itself of 422 and 500 is not so here.
func (s *Server) describe(op *huma.Operation, r route, statuses []int) {
	names := roleNames(r.ID)
	op.Description = strings.TrimSpace(r.Description + "\n\nFor the roles " + strings.Join(names, ", ") + ".")
	success := map[string]*huma.Response{}
	for text, response := range op.Responses {
		if status, _ := strconv.Atoi(text); status < http.StatusMultipleChoices {
			success[text] = s.describeSuccess(response, status, r)
		}
	}
	op.Responses = success
	for _, status := range statuses {
		response := &huma.Response{Ref: "#/components/responses/" + problemName(status)}
		switch {
		case status == http.StatusNotModified:
			response = &huma.Response{Description: statusDescriptions[status],
				Headers: map[string]*huma.Param{"X-Request-Id": wireString("X-Request-Id"), "ETag": wireString("ETag")}}
		case status < http.StatusMultipleChoices && success["200"] != nil:
			other := *success["200"]
			other.Description = statusDescriptions[status]
			response = &other
		}
		op.Responses[strconv.Itoa(status)] = response
	}
	for _, p := range op.Parameters {
		if p.Description == "" {
			p.Description = headerDescriptions[p.Name]
		}
		if p.Schema != nil && p.Schema.Description == p.Description {
			p.Schema.Description = ""
		}
		if p.In == "query" && p.Schema.Type == huma.TypeString && p.Schema.Enum == nil &&
			p.Schema.Format+p.Schema.Pattern == "" {
			one := 1
			p.Schema.MinLength = &one // see badQuery
		}
	}
}

func (s *Server) describeSuccess(response *huma.Response, status int, r route) *huma.Response {
	response.Description = statusDescriptions[status]
	if status == r.Success {
		response.Description = statusDescriptions[http.StatusOK]
	}
	if response.Headers == nil {
		response.Headers = map[string]*huma.Param{}
	}
	response.Headers["X-Request-Id"] = wireString("X-Request-Id")
	for name, header := range response.Headers {
		if header.Description == "" && header.Schema != nil {
			header.Description, header.Schema.Description = header.Schema.Description, ""
		}
		if header.Description == "" {
			header.Description = headerDescriptions[name]
		}
	}
	switch {
	case r.Response != nil:
		response.Content = r.Response
	case response.Content != nil && slices.Contains(r.Types, "text/csv"):
		response.Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString,
			Description: "The items of the page (RFC 4180): a column for each member, named as in JSON."}}
		if slices.Contains(r.Types, calendarType) {
			response.Content[calendarType] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString,
				Description: "All of them, not the page alone, as a calendar (RFC 5545)."}}
		}
	}
	return response
}

// describeQuoted describes the numbers that are written in quotes, which huma does not know of.
func describeQuoted(schemas huma.Registry, named map[string]reflect.Type) {
	for name, schema := range schemas.Map() {
		of := named[name]
		if of == nil || of.Kind() != reflect.Struct {
			continue
		}
		for _, f := range reflect.VisibleFields(of) {
			member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if p := schema.Properties[member]; p != nil && options == "string" {
				p.Type, p.Format, p.Minimum, p.Pattern = huma.TypeString, "", nil, "^[0-9]+$"
			}
		}
	}
}

// Document returns the OpenAPI document, as JSON with line breaks. It needs nothing that the server is served with.
func (s *Server) Document() ([]byte, error) {
	document, err := json.MarshalIndent(s.api.OpenAPI(), "", "  ")
	return append(document, '\n'), err
}

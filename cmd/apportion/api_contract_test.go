package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/helpers"

	"apportion/billing/web"
)

var apiContract struct {
	sync.Once
	validator validator.Validator
	err       error
}

// contractOf returns what holds requests and answers to the OpenAPI document.
func contractOf(t testing.TB) validator.Validator {
	t.Helper()
	apiContract.Do(func() {
		document, _, _ := apiDocument(t)
		parsed, err := libopenapi.NewDocument(document)
		if err != nil {
			apiContract.err = err
			return
		}
		v, faults := validator.NewValidator(parsed)
		if len(faults) > 0 {
			apiContract.err = faults[0]
			return
		}
		apiContract.validator = v
	})
	if apiContract.validator == nil {
		t.Fatal("the OpenAPI document cannot be read: ", apiContract.err)
	}
	return apiContract.validator
}

// holdsToContract fails unless an answer is one that the OpenAPI document has for the request, with its status, media
// type and members and no others, and unless the document allows a request that was not refused as malformed. What no
// route does is answered with a problem.
func holdsToContract(t testing.TB, request *http.Request, body string, answer apiAnswer) {
	t.Helper()
	asked := func() *http.Request {
		again := request.Clone(t.Context())
		again.Body = io.NopCloser(strings.NewReader(body))
		return again
	}
	answered := *answer.Response
	answered.Body = io.NopCloser(strings.NewReader(answer.body))
	v := contractOf(t)
	if strings.Contains(request.URL.Path, "/files/") && answer.StatusCode < http.StatusBadRequest {
		return // the bytes of a file, which has a contract of its own
	}
	ok, faults := v.ValidateHttpResponse(asked(), &answered)
	if !ok && isNoRoute(faults) {
		if request.URL.Path != web.Prefix+"/openapi.json" || answer.StatusCode != http.StatusOK {
			isProblem(t, request, answer)
		}
		return
	}
	for _, f := range faults {
		t.Errorf("%s %s answers %d, not as the OpenAPI document has it: %s: %s %v\n%.2000s", request.Method, request.URL,
			answer.StatusCode, f.Message, f.Reason, schemaFaults(f), answer.body)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		isProblem(t, request, answer)
	}
	if strings.HasPrefix(request.URL.Path, web.Prefix+"/events") {
		return // each event of a body is accepted or refused by itself
	}
	switch answer.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNotModified, http.StatusConflict, http.StatusPreconditionFailed:
	default:
		return
	}
	if ok, faults := v.ValidateHttpRequest(asked()); !ok {
		for _, f := range faults {
			t.Errorf("%s %s is done (%d), and the OpenAPI document does not allow it: %s: %s %v\n%.2000s", request.Method,
				request.URL, answer.StatusCode, f.Message, f.Reason, schemaFaults(f), body)
		}
	}
}

func schemaFaults(f *errors.ValidationError) (reasons []string) {
	for _, s := range f.SchemaValidationErrors {
		reasons = append(reasons, s.FieldPath+" "+s.Reason)
	}
	return reasons
}

// isNoRoute reports whether the document lacks the path, or the method of it.
func isNoRoute(faults []*errors.ValidationError) bool {
	return len(faults) > 0 && faults[0].ValidationType == helpers.PathValidation || len(faults) > 0 &&
		faults[0].ValidationSubType == helpers.ValidationMissingOperation
}

// isProblem fails unless an answer is a problem, whole: with its code, advice and the id of the request.
func isProblem(t testing.TB, request *http.Request, answer apiAnswer) {
	t.Helper()
	if request.Method == http.MethodHead {
		return // it has the headers alone
	}
	var p web.Problem
	decoder := json.NewDecoder(bytes.NewBufferString(answer.body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&p)
	switch {
	case err != nil || answer.Header.Get("Content-Type") != "application/problem+json":
		t.Errorf("%s %s: %d is no problem document (%v), %s\n%.2000s", request.Method, request.URL, answer.StatusCode, err,
			answer.Header.Get("Content-Type"), answer.body)
	case p.Code == "" || p.Title == "" || p.Detail == "" || p.Advice == "" || p.Status != answer.StatusCode ||
		p.RequestID == "" || p.RequestID != answer.Header.Get("X-Request-Id"):
		t.Errorf("%s %s: %d lacks something, or says another status or request: %s", request.Method, request.URL,
			answer.StatusCode, answer.body)
	case (p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable) && answer.Header.Get("Retry-After") == "":
		t.Errorf("%s %s: %d does not say when to ask again", request.Method, request.URL, answer.StatusCode)
	}
}

package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// prefix is before the path of every route of the API.
const prefix = "/api/v1"

// problem is why the API did not do what it was asked for (RFC 9457), or why there is no page.
type problem struct {
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Advice string         `json:"advice"`
	Code   string         `json:"code"`
	Rule   string         `json:"rule"`
	Errors []fieldProblem `json:"errors"`
	ID     string         `json:"requestId"`
}

// fieldProblem is one fault.
type fieldProblem struct {
	Code    string `json:"code"`
	Field   string `json:"field"`
	Value   string `json:"value"`
	Message string `json:"message"`
	Rule    string `json:"rule"`
	Advice  string `json:"advice"`
}

// Error is what happened.
func (p *problem) Error() string { return p.Detail }

// beside reports whether a problem of a form is shown beside the form, which can be sent again: not where there is
// nothing to send it from.
func (p *problem) beside() bool {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false
	}
	return true
}

// On returns the faults of a field, by the beginning of its path.
func (p *problem) On(field string) (of []fieldProblem) {
	if p == nil {
		return nil
	}
	for _, f := range p.Errors {
		if strings.HasPrefix(f.Field, field) {
			of = append(of, f)
		}
	}
	return of
}

func signInFirst() *problem {
	return &problem{Status: http.StatusUnauthorized, Title: "Sign in",
		Detail: "This page is for people who have signed in."}
}

// answer is what the API answers, in memory.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(content []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(content)
}

// route returns the path of a route of the API, with what its parts stand for escaped: route("tenants", id, "users").
func route(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(url.PathEscape(part), "%3A", ":"))
	}
	return b.String()
}

// ask asks the API in the name of whoever opens the page, and reads a JSON answer into what is given, if anything.
func (p *page) ask(method, target string, header http.Header, body, into any) (*answer, error) {
	var content []byte
	if raw, ok := body.([]byte); ok {
		content = raw
	} else if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(p.r.Context(), method, prefix+target, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	r.RemoteAddr, r.RequestURI = p.r.RemoteAddr, prefix+target
	for name, values := range header {
		r.Header[name] = values
	}
	if body != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	a := &answer{header: http.Header{}}
	p.c.API.ServeHTTP(a, r)
	if a.status >= http.StatusBadRequest {
		refused := &problem{Status: a.status}
		if err := jsonv2.Unmarshal(a.body.Bytes(), refused); err != nil {
			return nil, err
		}
		return a, refused
	}
	if into == nil {
		return a, nil
	}
	return a, jsonv2.Unmarshal(a.body.Bytes(), into)
}

// get reads what the API has at a path, which the page says of itself that it shows, with how current it is.
// Parameters are names and values in turn; those without a value are left out.
func (p *page) get(into any, target string, parameters ...string) error {
	query := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		if parameters[i+1] != "" {
			query.Set(parameters[i], parameters[i+1])
		}
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	p.JSON = append(p.JSON, link{strings.TrimPrefix(target, "/"), prefix + target})
	a, err := p.ask(http.MethodGet, target, nil, nil, into)
	if err != nil {
		return err
	}
	if at := asOfIn(a.body.Bytes()); at != nil {
		p.AsOf = at
	}
	p.etag = a.header.Get("ETag")
	return nil
}

// asOfIn reads how current an answer is, of which it reads no more than that; nil where the answer does not say.
func asOfIn(answer []byte) *asOf {
	if !bytes.Contains(answer, []byte(`"asOf"`)) {
		return nil
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(answer))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return nil
	}
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil
		}
		if name.String() != "asOf" {
			if decoder.SkipValue() != nil {
				return nil
			}
			continue
		}
		var at asOf
		if jsonv2.UnmarshalDecode(decoder, &at) != nil {
			return nil
		}
		return &at
	}
	return nil
}

// asOf says how current figures are.
type asOf struct {
	RegistryOffset int64 `json:"registryOffset"`
	AgeMS          int64 `json:"ageMs"`
	Positions      []struct {
		Topic     string `json:"topic"`
		Partition int    `json:"partition"`
		Offset    int64  `json:"lastOffset"`
	} `json:"positions"`
}

// verdict is what became of a command, or would.
type verdict struct {
	Offset   *int64   `json:"offset"`
	Accepted bool     `json:"accepted"`
	Changes  []string `json:"changes"`
	Warnings []string `json:"warnings"`
}

// give gives a command with the form's key as its id, so that a form that is sent twice is done once. Where the form
// asks what it would do (do=check), nothing is done and the page shows that; else the page is shown again with what was
// done, at the path given, or where it was.
func (p *page) give(method, target string, header http.Header, body any, to string) error {
	h := http.Header{}
	for name, values := range header {
		h[name] = values
	}
	var v verdict
	if p.r.PostForm.Get("do") == "check" {
		if _, err := p.ask(method, target+"?dryRun=true", h, body, &v); err != nil {
			return err
		}
		p.Would = &v
		return nil
	}
	if key := p.r.PostForm.Get("key"); key != "" {
		h.Set("Idempotency-Key", key)
	}
	a, err := p.ask(method, target, h, body, &v)
	if err != nil {
		return err
	}
	if to == "" {
		to = p.r.URL.Path
	}
	switch {
	case v.Offset != nil:
		p.to = withParameter(to, "done", formatInt(*v.Offset))
	default:
		p.to = withParameter(to, "done", strings.TrimPrefix(a.header.Get("Location"), prefix+"/commands/"))
	}
	return nil
}

// withParameter adds a parameter to a path of this site.
func withParameter(target, name, value string) string {
	u, err := url.Parse(target)
	if err != nil {
		return target
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}

// done is what the log says of a command that a form of the page gave.
type done struct {
	Offset   int64          `json:"offset"`
	Accepted bool           `json:"accepted"`
	Changes  []string       `json:"changes"`
	Refusals []fieldProblem `json:"refusals"`
	// Waiting says that there is no verdict yet.
	Waiting bool `json:"-"`
}

// showDone has the page say what became of the command that its path names, which a form of it gave.
func (p *page) showDone() error {
	offset := p.r.URL.Query().Get("done")
	if offset == "" {
		return nil
	}
	p.Done = &done{}
	_, err := p.ask(http.MethodGet, route("commands", offset), nil, nil, p.Done)
	var none *problem
	if errors.As(err, &none) && none.Status == http.StatusNotFound {
		p.Done.Waiting, err = true, nil
	}
	return err
}

// download has the page be a file: what the API answers with in a media type.
func (p *page) download(target, mediaType, name string) error {
	a, err := p.ask(http.MethodGet, target, http.Header{"Accept": {mediaType}}, nil, nil)
	if err == nil {
		p.File = &file{name, mediaType, a.body.Bytes()}
	}
	return err
}

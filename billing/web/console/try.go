package console

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"apportion/billing/web/access"
	"apportion/schemas"
)

func (c *Console) tryScreens() []screen {
	return []screen{{path: "/try", needs: "checkEvents", show: c.try, send: c.check}}
}

// checked is what would become of events, as POST /events:check has it.
type checked struct {
	Accepted int `json:"accepted"`
	Rejected []struct {
		Index   int          `json:"index"`
		Code    schemas.Code `json:"code"`
		Field   string       `json:"field"`
		Value   string       `json:"value"`
		Message string       `json:"message"`
		Advice  string       `json:"advice"`
		Tenant  string       `json:"tenantId"`
		Source  string       `json:"source"`
		ID      string       `json:"id"`
	} `json:"rejected"`
	Events []struct {
		Index        int            `json:"index"`
		Tenant       string         `json:"tenantId"`
		Source       string         `json:"source"`
		ID           string         `json:"id"`
		Type         string         `json:"type"`
		At           string         `json:"at"`
		Period       string         `json:"period"`
		Issued       bool           `json:"issued"`
		Voided       bool           `json:"voided"`
		Meter        string         `json:"meter"`
		Subscription string         `json:"subscriptionId"`
		By           string         `json:"attributedBy"`
		Reason       string         `json:"reason"`
		Findings     []schemas.Code `json:"findings"`
	} `json:"events"`
	// Lines has on which line of the text each event begins.
	Lines []int `json:"-"`
}

// Line is on which line of the text an event begins.
func (c *checked) Line(index int) int {
	if index < len(c.Lines) {
		return c.Lines[index]
	}
	return index + 1
}

// try has a field for events.
func (c *Console) try(p *page) error {
	var data struct{ Text string }
	switch from := strings.Split(p.Query("from"), "/"); {
	case len(from) == 3 && p.May("getRejected"):
		var l letter
		if err := p.get(&l, route("rejected", from[0], from[1], from[2])); err != nil {
			return err
		}
		data.Text = l.Payload.String()
	case p.Query("example") != "":
		data.Text = exampleEvents(p.Who)
	}
	data.Text = p.Form("events", data.Text)
	p.Command = "apportion events check FILE"
	return p.show("try", "Try events", data)
}

// exampleEvents are two events of whoever asks, one of them with a fault.
func exampleEvents(who access.Identity) string {
	tenant, source := "acme", "/wxcc/eu1"
	for _, g := range who.Grants {
		if g.Role == access.Publisher && len(g.Tenants) > 0 && len(g.Sources) > 0 {
			tenant, source = g.Tenants[0], g.Sources[0]
		}
	}
	return strings.NewReplacer("TENANT", tenant, "SOURCE", source).Replace(
		`{"specversion":"1.0","id":"login-1","source":"SOURCE","type":"agent.session","time":"2026-11-02T16:00:00Z",` +
			`"tenantid":"TENANT","data":{"agentId":"a-17","startTime":"2026-11-02T08:00:00Z","endTime":"2026-11-02T16:00:00Z"}}
{"specversion":"1.0","id":"sms-1","source":"SOURCE","type":"connect.usage","time":"2026-11-02T12:00:00",` +
			`"tenantid":"TENANT","data":{"channel":"sms","quantity":1}}
`)
}

// check asks what would become of the events of the form; nothing of them is published.
func (c *Console) check(p *page) error {
	body, contentType, lines := eventsIn(p.r.PostForm.Get("events"))
	result := checked{Lines: lines}
	header := http.Header{"Content-Type": {contentType}}
	if _, err := p.ask(http.MethodPost, "/events:check", header, body, &result); err != nil {
		return err
	}
	p.Answered = &result
	return nil
}

// eventsIn returns the body that checks the events of a text, its type, and on which line each event begins: an array,
// or JSON values one after the other, however they are broken into lines; else each line is an event, whatever it is.
func eventsIn(text string) (body []byte, contentType string, lines []int) {
	text = strings.TrimPrefix(text, "\uFEFF")
	if values, err := valuesOf(text); err == nil {
		var all [][]byte
		for _, v := range values {
			lines = append(lines, 1+strings.Count(text[:v.at], "\n"))
			all = append(all, v.json)
		}
		body = slices.Concat([]byte("["), bytes.Join(all, []byte(",")), []byte("]"))
		return body, "application/cloudevents-batch+json", lines
	}
	for n, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, n+1)
		}
	}
	return []byte(text), "application/x-ndjson", lines
}

// textValue is a JSON value and where it begins.
type textValue struct {
	json []byte
	at   int
}

// valuesOf returns the elements of a text that is one array, or the values that it has one after the other.
func valuesOf(text string) (values []textValue, err error) {
	tokens := jsontext.NewDecoder(strings.NewReader(text), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
	inArray := tokens.PeekKind() == '['
	if inArray {
		tokens.ReadToken()
	}
	for !inArray || tokens.PeekKind() != ']' {
		value, err := tokens.ReadValue()
		if errors.Is(err, io.EOF) && !inArray {
			return values, nil
		}
		if err != nil {
			return nil, err
		}
		values = append(values, textValue{bytes.Clone(value), int(tokens.InputOffset()) - len(value)})
	}
	tokens.ReadToken()
	if _, err := tokens.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, cmp.Or(err, errors.New("something follows the array"))
	}
	return values, nil
}

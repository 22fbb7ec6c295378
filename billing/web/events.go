package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
)

// What one request may bring.
const (
	maxEvents     = 1000
	maxEventBytes = 4 << 20
)

// The media types of events in structured mode.
const (
	oneEvent  = "application/cloudevents+json"
	manyEvent = "application/cloudevents-batch+json"
	lineEvent = "application/x-ndjson"
)

// eventRoutes registers the routes of events over HTTP.
func (s *Server) eventRoutes() {
	register(s, route{ID: "postEvents", Method: http.MethodPost, Path: "/events", Tag: "Events",
		Summary: "Publish events", Description: eventModes + " Each that is valid is published to the topic of its type " +
			"with its bytes as they came, keyed by its tenant; the answer comes when all replicas have it. Those that are " +
			"refused are listed and not published. Publishing again does no harm (R8).",
		Success: http.StatusAccepted, BodyBytes: maxEventBytes, Request: eventBody(), AnyBody: true}, s.postEvents)
	register(s, route{ID: "checkEvents", Method: http.MethodPost, Path: "/events:check", Tag: "Events", Heavy: true,
		Summary: "Say what would become of events, and publish nothing", Description: eventModes + " Each that would be " +
			"accepted comes with the month, meter and subscription that its usage would go to, and why.",
		BodyBytes: maxEventBytes, Request: eventBody(), AnyBody: true}, s.checkEvents)
}

const eventModes = "CloudEvents 1.0 over HTTP, at most 1,000 events and 4 MiB: structured mode, a batch, an event on " +
	"each line, or binary mode with the attributes in headers that begin with ce- and the data, JSON, in the body."

// eventBody describes the bodies of the modes.
func eventBody() *huma.RequestBody {
	event := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: description}
	}
	most := maxEvents
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		oneEvent: {Schema: event("An event.")},
		manyEvent: {Schema: &huma.Schema{Type: huma.TypeArray, MaxItems: &most, Items: event("An event."),
			Description: "A batch of events."}},
		lineEvent: {Schema: &huma.Schema{Type: huma.TypeString,
			Description: "An event on each line; lines without any are left out and not counted."}},
		"application/json": {Schema: event("In binary mode the data of an event; without headers of ce- an event.")},
	}}
}

type eventsInput struct {
	RawBody []byte `contentType:"application/cloudevents+json"`

	contentType string
	attributes  []schemas.Header // by name, as on Kafka
}

// Resolve takes the attributes from headers, and the type of the body.
func (in *eventsInput) Resolve(c huma.Context) []error {
	in.contentType = c.Header("Content-Type")
	c.EachHeader(func(name, value string) {
		if attribute, is := strings.CutPrefix(strings.ToLower(name), "ce-"); is {
			in.attributes = append(in.attributes, schemas.Header{Key: "ce_" + attribute, Value: attributeValue(value)})
		}
	})
	slices.SortStableFunc(in.attributes, func(a, b schemas.Header) int { return strings.Compare(a.Key, b.Key) })
	return nil
}

// attributeValue reads the value of an attribute from a header: it may be in quotes, and what is not ASCII is
// percent-encoded (CloudEvents HTTP binding 1.0.2, 3.1.3.2).
func attributeValue(text string) []byte {
	if quoted, is := strings.CutPrefix(text, `"`); is && strings.HasSuffix(quoted, `"`) {
		text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(strings.TrimSuffix(quoted, `"`))
	}
	value := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if b, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				value = append(value, byte(b))
				i += 2
				continue
			}
		}
		value = append(value, text[i])
	}
	return value
}

// events returns the events of a request, with headers as on Kafka and bytes as they came. The framework uses the
// memory of the body again, and Kafka may read it for longer than the request lasts.
func (in *eventsInput) events() ([]service.SentEvent, error) {
	body := bytes.Clone(in.RawBody)
	mediaType, _, err := mime.ParseMediaType(in.contentType)
	contentType := func(value string) schemas.Header { return schemas.Header{Key: "content-type", Value: []byte(value)} }
	switch {
	case err == nil && mediaType == oneEvent:
		return []service.SentEvent{{Headers: []schemas.Header{contentType(oneEvent)}, Value: body}}, nil
	case err == nil && mediaType == manyEvent:
		elements, err := schemas.SplitBatch(body, maxEvents)
		if errors.Is(err, schemas.ErrTooMany) {
			return nil, tooManyEvents()
		}
		if err != nil {
			return nil, badRequest("body", "", err.Error())
		}
		return structured(elements), nil
	case err == nil && mediaType == lineEvent:
		var lines [][]byte
		for line := range bytes.Lines(body) {
			if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 {
				lines = append(lines, line)
			}
		}
		if len(lines) > maxEvents {
			return nil, tooManyEvents()
		}
		return structured(lines), nil
	case err == nil && isJSON(mediaType):
		headers := append([]schemas.Header{contentType(in.contentType)}, in.attributes...)
		return []service.SentEvent{{Headers: headers, Value: body}}, nil
	}
	return nil, newProblem(http.StatusUnsupportedMediaType, schemas.UnsupportedMediaType,
		fmt.Sprintf("Content-Type is %q, and must be %s, %s, %s or, in binary mode, application/json",
			in.contentType, oneEvent, manyEvent, lineEvent))
}

// structured returns events that have all of themselves in their values, and share their headers.
func structured(values [][]byte) []service.SentEvent {
	events := make([]service.SentEvent, len(values))
	headers := []schemas.Header{{Key: "content-type", Value: []byte(oneEvent)}}
	for i, value := range values {
		events[i] = service.SentEvent{Headers: headers, Value: value}
	}
	return events
}

func tooManyEvents() *Problem {
	return newProblem(http.StatusRequestEntityTooLarge, schemas.BodyTooLarge,
		fmt.Sprintf("a request may have %d events, and this one has more", maxEvents))
}

// isJSON reports whether a media type is JSON, but no CloudEvents.
func isJSON(mediaType string) bool {
	_, subtype, _ := strings.Cut(mediaType, "/")
	return subtype == "json" || strings.HasSuffix(subtype, "+json") && !strings.HasPrefix(subtype, "cloudevents")
}

type publishedOutput struct{ Body service.PublishedEvents }

func (s *Server) postEvents(ctx context.Context, scope access.Scope, in *eventsInput) (*publishedOutput, error) {
	events, err := in.events()
	if err != nil {
		return nil, err
	}
	published, err := s.Events.Publish(ctx, scope, events)
	if err != nil {
		return nil, err
	}
	return &publishedOutput{*published}, nil
}

type checkedOutput struct{ Body service.CheckedEvents }

func (s *Server) checkEvents(ctx context.Context, scope access.Scope, in *eventsInput) (*checkedOutput, error) {
	events, err := in.events()
	if err != nil {
		return nil, err
	}
	checked, err := s.Events.Check(ctx, scope, events)
	if err != nil {
		return nil, err
	}
	return &checkedOutput{*checked}, nil
}

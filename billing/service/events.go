package service

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// EventProducer writes events to Kafka; ingest/kafka has it.
type EventProducer interface {
	// Write returns once all replicas have the records. After an error some may be there.
	Write(ctx context.Context, records []kafka.TopicMessage) error
}

// EventScope is what somebody may publish.
type EventScope interface {
	HasTenant(id string) bool
	// HasEvents reports whether the events of a tenant and source are within it.
	HasEvents(tenant, source string) bool
}

// SentEvent is an event as it was sent: what would be the headers and the value of its Kafka record. The memory of the
// value must not be used again.
type SentEvent struct {
	Headers []schemas.Header
	Value   []byte
}

// EventDeps are what events are published with.
type EventDeps struct {
	Producer EventProducer
	// Topics has the topic of each type, prefix included.
	Topics   map[schemas.Type]string
	Registry *Registry
	Rules    billing.Rules
	Clock    Clock
	// Observe, where it is not nil, is told of what became of events that were to be published.
	Observe func(accepted int, refused []RefusedAt)
}

// Events checks and publishes events that are sent one by one or in batches, not by way of Kafka.
type Events struct{ EventDeps }

// NewEvents returns them; it does nothing yet.
func NewEvents(deps EventDeps) *Events { return &Events{deps} }

// RefusedEvent is why an event is refused, or would be.
type RefusedEvent struct {
	Code    schemas.Code `json:"code"`
	Field   string       `json:"field" doc:"The attribute or member of data at fault; empty where all of it is."`
	Value   string       `json:"value" doc:"What it has there, as it was written and shortened."`
	Message string       `json:"message"`
	Advice  string       `json:"advice"`
	Tenant  string       `json:"tenantId" doc:"The identity, each part empty where it cannot be read."`
	Source  string       `json:"source"`
	ID      string       `json:"id"`
}

// NewRefusedEvent returns the same of a rejection.
func NewRefusedEvent(why *schemas.Rejection) RefusedEvent {
	return RefusedEvent{why.Code, why.Field, why.Value, why.Message, why.Code.Advice(), why.Tenant, why.Source, why.ID}
}

// RefusedAt is a refused event of a batch.
type RefusedAt struct {
	Index int `json:"index" doc:"Its place in the batch, from 0."`
	RefusedEvent
}

// PublishedEvents is what became of events that were sent.
type PublishedEvents struct {
	Accepted int         `json:"accepted" doc:"How many are on Kafka, with all replicas."`
	Rejected []RefusedAt `json:"rejected" doc:"Those that were refused; they are not on Kafka and were never deliveries."`
}

// acceptedEvent is one that is valid, and within the scope.
type acceptedEvent struct {
	schemas.Event
	index int
}

// maxHeaders is how long the headers of an event may be together, in bytes, so that a record fits into a request.
const maxHeaders = 64 << 10

// decide says which events ingest would take in and the sender may publish, and why the others are refused.
func decide(scope EventScope, sent []SentEvent) (accepted []acceptedEvent, refused []RefusedAt) {
	accepted, refused = make([]acceptedEvent, 0, len(sent)), []RefusedAt{}
	var decoder schemas.Decoder
	for i := range sent {
		accepted = append(accepted, acceptedEvent{index: i})
		e := &accepted[len(accepted)-1]
		why := decoder.Decode(schemas.AnyType, sent[i].Headers, sent[i].Value, &e.Event)
		if why == nil {
			why = outside(scope, &e.Event, sent[i].Headers)
		}
		if why != nil {
			refused = append(refused, RefusedAt{i, NewRefusedEvent(why)})
			accepted = accepted[:len(accepted)-1]
		}
	}
	return accepted, refused
}

// outside says why a valid event may not be published here; nil where it may.
func outside(scope EventScope, e *schemas.Event, headers []schemas.Header) *schemas.Rejection {
	r := &schemas.Rejection{Tenant: e.Tenant, Source: e.Source, ID: e.ID}
	size := 0
	for _, h := range headers {
		size += len(h.Key) + len(h.Value)
	}
	switch {
	case size > maxHeaders:
		r.Code = schemas.TooLarge
		r.Message = fmt.Sprintf("the headers have %d bytes and may have %d; send fewer attributes", size, maxHeaders)
	case !scope.HasTenant(e.Tenant):
		r.Code, r.Field, r.Value = schemas.Forbidden, "tenantid", strconv.Quote(e.Tenant)
		r.Message = "the sender publishes no events of this tenant"
	case !scope.HasEvents(e.Tenant, e.Source):
		r.Code, r.Field, r.Value = schemas.Forbidden, "source", strconv.Quote(e.Source)
		r.Message = "the sender publishes no events of this source"
	default:
		return nil
	}
	return r
}

// publishPatience is how long Kafka has to acknowledge what is published.
const publishPatience = 10 * time.Second

// Publish publishes those of the events that ingest would accept and whose tenant and source are within the scope, each
// to the topic of its type, keyed by its tenant, with its headers and value as they were sent. It returns once all
// replicas have them; an error is of the whole, and some may be there then. To send them again does no harm (R8).
func (s *Events) Publish(ctx context.Context, scope EventScope, sent []SentEvent) (*PublishedEvents, error) {
	accepted, refused := decide(scope, sent)
	records := make([]kafka.TopicMessage, len(accepted))
	for n, e := range accepted {
		records[n] = kafka.TopicMessage{Topic: s.Topics[e.Type], Message: kafka.Message{
			Key: []byte(e.Tenant), Value: sent[e.index].Value, Headers: sent[e.index].Headers}}
	}
	if len(records) > 0 {
		ctx, cancel := context.WithTimeout(ctx, publishPatience)
		defer cancel()
		if err := s.Producer.Write(ctx, records); err != nil {
			return nil, fmt.Errorf("publishing %d events: %w", len(records), err)
		}
	}
	if s.Observe != nil {
		s.Observe(len(accepted), refused)
	}
	return &PublishedEvents{len(accepted), refused}, nil
}

// CheckedEvents is what would become of events.
type CheckedEvents struct {
	Accepted int            `json:"accepted"`
	Rejected []RefusedAt    `json:"rejected"`
	Events   []CheckedEvent `json:"events" doc:"Those that would be accepted."`
}

// CheckedEvent is where the usage of an event would go, as the registry is now, if no other delivery of the event wins.
type CheckedEvent struct {
	Index int `json:"index" doc:"Its place in the batch, from 0."`
	EventID
	Type string `json:"type"`
	At   string `json:"at" doc:"When the usage happened."`
	// Period is in UTC where the registry does not have the tenant.
	Period civil.Month `json:"period" doc:"The month that it counts in, in the tenant's zone."`
	Issued bool        `json:"issued" doc:"The period is issued: a difference comes as an adjustment (R21)."`
	Voided bool        `json:"voided,omitempty" doc:"It takes the event back."`
	Attributed
	Reason   string         `json:"reason" doc:"Why it goes there."`
	Findings []schemas.Code `json:"findings" doc:"What somebody should look at (R24)."`
}

// Check decides on events as Publish does, and says where each would go that would be accepted; it publishes nothing.
func (s *Events) Check(ctx context.Context, scope EventScope, sent []SentEvent) (*CheckedEvents, error) {
	accepted, refused := decide(scope, sent)
	result := &CheckedEvents{len(accepted), refused, []CheckedEvent{}}
	if len(accepted) == 0 {
		return result, nil
	}
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	timelines, err := timelinesOf(state, s.Rules, accepted)
	if err != nil {
		return nil, err
	}
	issued := map[string]map[civil.Month]bool{} // by tenant
	for _, e := range accepted {
		if issued[e.Tenant] == nil {
			issued[e.Tenant] = map[civil.Month]bool{}
			for _, i := range state.Issues(e.Tenant) {
				issued[e.Tenant][i.Period] = true
			}
		}
		checked := newCheckedEvent(&e.Event, timelines, s.Clock().UnixMilli())
		checked.Index, checked.Issued = e.index, issued[e.Tenant][checked.Period]
		result.Events = append(result.Events, checked)
	}
	return result, nil
}

// timelinesOf returns what a state of the registry says of the tenants of events, those that it has.
func timelinesOf(state registry.State, rules billing.Rules, events []acceptedEvent) (aggregate.Timelines, error) {
	timelines := aggregate.Timelines{}
	for _, e := range events {
		if _, known := timelines[e.Tenant]; known {
			continue
		}
		snapshot, err := billing.Snapshot(state, rules, e.Tenant)
		if err != nil {
			return nil, err
		}
		if t, known := snapshot.Timelines[e.Tenant]; known {
			timelines[e.Tenant] = t
		}
	}
	return timelines, nil
}

// newCheckedEvent says where an event goes, and what is to be looked at of it now, in UTC epoch milliseconds.
func newCheckedEvent(e *schemas.Event, timelines aggregate.Timelines, now int64) CheckedEvent {
	to := timelines.Attribute(e)
	zone := timelines.Zone(e.Tenant)
	if zone == nil {
		zone = civil.UTC
	}
	c := CheckedEvent{
		EventID: EventID{e.Tenant, e.Source, e.ID}, Type: e.Type.String(), At: civil.FormatMillis(e.OccurredMS()),
		Period: zone.DateOf(e.OccurredMS()).Month(), Voided: e.Voided, Attributed: attributed(to),
		Reason: whyThere(e, to), Findings: []schemas.Code{},
	}
	for _, f := range []struct {
		is   bool
		code schemas.Code
	}{
		{to.UnknownTenant, schemas.UnknownTenant},
		{!e.Voided && to.UnknownSubscription, schemas.UnknownSubscription},
		{!e.Voided && to.Unmapped, schemas.Unmapped},
		{!e.Voided && !to.UnknownTenant && to.Subscription == "", schemas.NeverBilled},
		{!e.Voided && e.Type != schemas.ConnectUsage && e.EndMS == schemas.Absent, schemas.OpenSession},
		{e.OccurredMS() > now, schemas.Ahead},
	} {
		if f.is {
			c.Findings = append(c.Findings, f.code)
		}
	}
	return c
}

// whyThere says by which rule an event goes to its subscription.
func whyThere(e *schemas.Event, to aggregate.Attribution) string {
	what := "agent"
	if e.Type == schemas.IVRSession {
		what = "entry point"
	}
	switch {
	case to.UnknownTenant:
		return "the registry does not have the tenant: the event is held until it does (R10)"
	case e.Voided:
		return "it takes the event back, which then counts for nothing (R8)"
	case to.Subscription == "":
		return "no subscription of the tenant is active then: it is reported, and never invoiced (R10, R11)"
	case e.Type == schemas.ConnectUsage:
		return "Connect usage goes to the primary, whatever subscription the event names (R11)"
	case to.By == aggregate.Own:
		return "the event names the subscription, which is active then (R10)"
	case to.By == aggregate.Mapped:
		return "the " + what + " is mapped to the subscription, which is active then (R10)"
	}
	return "no active subscription is mapped to the " + what + ": it goes to the primary (R4, R10)"
}

package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"apportion/aggregate"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
)

// deliveryRoutes registers the routes of deliveries and those that were refused.
func (s *Server) deliveryRoutes() {
	register(s, route{ID: "listDeliveries", Method: http.MethodGet, Path: "/deliveries", Tag: "Deliveries",
		Summary: "Accepted deliveries, and what became of each", Types: []string{"text/csv"},
		Description: "Those of one event, by source and id, or of the sessions of an agent that happened from one instant " +
			"to another. With them come the other deliveries of their events. Publishers see those of their own sources."},
		s.listDeliveries)
	register(s, route{ID: "listRejected", Method: http.MethodGet, Path: "/rejected", Tag: "Deliveries",
		Summary: "Refused deliveries, the latest first", Types: []string{"text/csv"},
		Description: "Publishers see those of their own tenants and sources, and none where " +
			"one of the two cannot be read."}, s.listRejected)
	register(s, route{ID: "countRejected", Method: http.MethodGet, Path: "/rejected:count", Tag: "Deliveries",
		Summary: "How many deliveries were refused, by code, tenant and source, the most first", Types: []string{"text/csv"},
		Description: "All on one page. Publishers see those of their own tenants and sources."}, s.countRejected)
	register(s, route{ID: "getRejected", Method: http.MethodGet, Path: "/rejected/{topic}/{partition}/{offset}",
		Tag: "Deliveries", Summary: "A refused delivery whole, with what to do about it"}, s.getRejected)
	register(s, route{ID: "replayRejected", Method: http.MethodPost, Path: "/rejected:replay", Tag: "Deliveries",
		Summary: "Publish refused deliveries again that would now be accepted", Heavy: true,
		Description: "Those of the places given or, without any, the open ones that the filter chooses. Each is decided on " +
			"first, and one that would be refused again is not published. Doing it twice does no harm (R8).",
		Errors: []int{http.StatusConflict}}, s.replayRejected)
}

type listDeliveriesInput struct {
	ListInput
	Tenant string `query:"tenant" required:"true" maxLength:"200" doc:"The tenant's id."`
	Source string `query:"source" maxLength:"200" doc:"The source of the event."`
	ID     string `query:"id" maxLength:"200" doc:"The id of the event."`
	Agent  string `query:"agent" maxLength:"200" doc:"The agent; for those who may see the ids of agents."`
	From   string `query:"from" format:"date-time" doc:"Sessions that happened at this instant or later."`
	To     string `query:"to" format:"date-time" doc:"Sessions that happened before this instant."`
}

// look returns what is looked for of what is within a scope.
func (in *listDeliveriesInput) look(s *Server, scope access.Scope) (look aggregate.EventLook, err error) {
	tenant, err := TenantPath{in.Tenant}.of(scope)
	if err != nil {
		return look, err
	}
	look = aggregate.EventLook{Tenant: tenant.String(), Source: in.Source, ID: in.ID, Agent: in.Agent}
	if sources, all := scope.Sources(); !all {
		look.Sources = append([]string{}, sources...)
	}
	switch {
	case in.Agent != "" && !scope.SeesAgents():
		return look, newProblem(http.StatusForbidden, schemas.Forbidden,
			scope.Identity().Subject+" may not see the ids of agents, nor ask by them")
	case in.Agent == "" && (in.Source == "" || in.ID == "") || in.Agent != "" && (in.Source != "" || in.ID != ""):
		return look, badRequest("source", in.Source, "give source and id, or agent with from and to")
	case in.Agent != "" && (in.From == "" || in.To == ""):
		return look, badRequest("from", in.From, "an agent needs from and to")
	case in.Agent == "" && (in.From != "" || in.To != ""):
		return look, badRequest("from", in.From, "from and to are for agents; an event has all of its deliveries")
	case in.Agent != "":
		if look.FromMS, err = instantOf("from", in.From, s.Clock); err == nil {
			look.ToMS, err = instantOf("to", in.To, s.Clock)
		}
	}
	return look, err
}

func (s *Server) listDeliveries(
	ctx context.Context, scope access.Scope, in *listDeliveriesInput,
) (*listOutput[service.DeliveryEntry], error) {
	look, err := in.look(s, scope)
	if err != nil {
		return nil, err
	}
	after, err := in.keyParts(6)
	if err != nil {
		return nil, err
	}
	if after != nil {
		look.From.Source, look.From.ID = after[1], after[2]
		if look.From.FirstMS, err = keyNumber(after[0]); err != nil {
			return nil, err
		}
	}
	look.Limit = in.Limit + 2 // each has a delivery, and all of the first may be on the page before
	entries, err := s.Deliveries.List(ctx, look, scope.SeesAgents())
	if err != nil {
		return nil, err
	}
	for len(entries) > 0 && slices.Compare(entries[0].Key(), after) <= 0 {
		entries = entries[1:]
	}
	return pageOf(&in.ListInput, entries, func(e service.DeliveryEntry) string { return keyOf(e.Key()...) }), nil
}

// RejectedQuery chooses refused deliveries.
type RejectedQuery struct {
	Tenant string         `query:"tenant" json:"tenant,omitempty" maxLength:"200" doc:"Those of this tenant."`
	Source string         `query:"source" json:"source,omitempty" maxLength:"200" doc:"Those of this source."`
	Topic  []string       `query:"topic" json:"topic,omitempty" minItems:"1" maxItems:"10" doc:"Of these topics."`
	Code   []deliveryCode `query:"code" json:"code,omitempty" minItems:"1" maxItems:"20" doc:"Refused for these codes."`
	From   string         `query:"from" json:"from,omitempty" format:"date-time" doc:"Arrived at this instant or later."`
	To     string         `query:"to" json:"to,omitempty" format:"date-time" doc:"Arrived before this instant."`
}

// chosen returns what is chosen of what is within a scope, and whether that can be anything.
func (q RejectedQuery) chosen(s *Server, scope access.Scope) (f service.RejectedFilter, some bool, err error) {
	for _, name := range q.Topic {
		topic, ok := s.Rejected.Topic(name)
		if !ok {
			return f, false, badRequest("topic", name, "there is no topic "+name+" of usage")
		}
		f.Topics = append(f.Topics, topic)
	}
	for _, code := range q.Code {
		f.Codes = append(f.Codes, schemas.Code(code))
	}
	if q.From != "" {
		if f.SinceMS, err = instantOf("from", q.From, s.Clock); err != nil {
			return f, false, err
		}
	}
	if q.To != "" {
		if f.UntilMS, err = instantOf("to", q.To, s.Clock); err != nil {
			return f, false, err
		}
	}
	f, some = within(scope, f, q.Tenant, q.Source)
	return f, some, nil
}

// within limits a filter to a scope and, where they are named, to a tenant and a source, and says whether that leaves
// anything: a filter without tenants chooses those of all.
func within(
	scope access.Scope, f service.RejectedFilter, tenant, source string,
) (limited service.RejectedFilter, some bool) {
	tenants, everyone := scope.Tenants(tenant)
	sources, every := scope.Sources()
	switch {
	case source != "" && !scope.HasSource(source):
		return f, false
	case source != "":
		f.Sources = []string{source}
	case !every:
		f.Sources = sources
	}
	f.Tenants = tenants
	return f, (everyone || len(tenants) > 0) && (source != "" || every || len(sources) > 0)
}

// OpenQuery chooses refused deliveries that are open.
type OpenQuery struct {
	Open bool `query:"open" doc:"Only those that no accepted delivery of their event answers (R24)."`
}

type listRejectedInput struct {
	ListInput
	RejectedQuery
	OpenQuery
}

func (s *Server) listRejected(
	ctx context.Context, scope access.Scope, in *listRejectedInput,
) (*listOutput[service.RejectedEntry], error) {
	filter, some, err := in.chosen(s, scope)
	if err != nil {
		return nil, err
	}
	key, err := in.keyParts(2)
	if err != nil {
		return nil, err
	}
	if key != nil {
		place := service.RejectedPlace{}
		if place.ArrivedMS, err = keyNumber(key[0]); err != nil {
			return nil, err
		}
		if place.RecordID, err = schemas.ParseRecordID(key[1]); err != nil {
			return nil, invalidCursor()
		}
		filter.After = &place
	}
	filter.Open = in.Open
	var entries []service.RejectedEntry
	if some {
		if entries, err = s.Rejected.List(ctx, filter, in.Limit+1); err != nil {
			return nil, err
		}
	}
	return pageOf(&in.ListInput, entries, func(e service.RejectedEntry) string {
		place := e.Place()
		return keyOf(strconv.FormatInt(place.ArrivedMS, 10), place.RecordID.String())
	}), nil
}

type countRejectedInput struct {
	RejectedQuery
	OpenQuery
}

func (s *Server) countRejected(
	ctx context.Context, scope access.Scope, in *countRejectedInput,
) (*listOutput[service.RejectedCount], error) {
	filter, some, err := in.chosen(s, scope)
	if err != nil {
		return nil, err
	}
	filter.Open = in.Open
	counts := []service.RejectedCount{}
	if some {
		if counts, err = s.Rejected.Count(ctx, filter); err != nil {
			return nil, err
		}
	}
	return &listOutput[service.RejectedCount]{Body: Page[service.RejectedCount]{Items: counts}}, nil
}

// RecordPath is a record on Kafka that a path names.
type RecordPath struct {
	Topic     string `path:"topic" maxLength:"249" doc:"The topic, with or without the prefix."`
	Partition int32  `path:"partition" minimum:"0" doc:"The partition of the topic."`
	Offset    int64  `path:"offset" minimum:"0" doc:"The offset in the partition."`
}

type rejectedOutput struct{ Body service.RejectedLetter }

func (s *Server) getRejected(ctx context.Context, scope access.Scope, in *RecordPath) (*rejectedOutput, error) {
	record := schemas.RecordID{Topic: in.Topic, Partition: in.Partition, Offset: in.Offset}
	filter, some := within(scope, service.RejectedFilter{}, "", "")
	topic, ok := s.Rejected.Topic(in.Topic)
	if !ok || !some {
		return nil, newProblem(http.StatusNotFound, schemas.NoRefusal,
			fmt.Sprintf("no delivery that you may see was refused at %s", record))
	}
	record.Topic = topic
	letter, err := s.Rejected.Get(ctx, filter, record)
	if err != nil {
		return nil, err
	}
	return &rejectedOutput{*letter}, nil
}

// mostReplayed is how many refused deliveries one request replays.
const mostReplayed = 1000

type replayInput struct {
	Body struct {
		Filter RejectedQuery      `json:"filter,omitempty" doc:"The open ones to replay, the latest 1,000."`
		Places []schemas.RecordID `json:"places,omitempty" maxItems:"1000" doc:"Those to replay, open or not."`
		DryRun bool               `json:"dryRun,omitempty" doc:"Say what would be published, and publish nothing."`
	}
}

type replayOutput struct{ Body service.Replay }

func (s *Server) replayRejected(ctx context.Context, scope access.Scope, in *replayInput) (*replayOutput, error) {
	filter, some, err := in.Body.Filter.chosen(s, scope)
	if err != nil {
		return nil, err
	}
	for _, place := range in.Body.Places {
		topic, ok := s.Rejected.Topic(place.Topic)
		if !ok {
			return nil, badRequest("places", place.String(), "there is no topic "+place.Topic+" of usage")
		}
		place.Topic = topic
		filter.Records = append(filter.Records, place)
	}
	if !some && len(filter.Records) > 0 {
		return nil, newProblem(http.StatusNotFound, schemas.NoRefusal,
			fmt.Sprintf("no delivery that you may see was refused at %s", filter.Records[0]))
	}
	if !some {
		return &replayOutput{service.Replay{DryRun: in.Body.DryRun, Deliveries: []service.Replayed{}}}, nil
	}
	replay, err := s.Rejected.Replay(ctx, filter, mostReplayed, in.Body.DryRun)
	if err != nil {
		return nil, err
	}
	return &replayOutput{*replay}, nil
}

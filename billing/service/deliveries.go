package service

import (
	"context"
	"fmt"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// DeliveryStore has what was accepted; aggregate/clickhouse has it.
type DeliveryStore interface {
	// Delivered hands over the events that are looked for, each with all of its deliveries, in the order of their places.
	Delivered(ctx context.Context, look aggregate.EventLook,
		each func(place aggregate.EventPlace, event []aggregate.Delivery)) error
}

// DeliveryDeps are what deliveries are looked up with.
type DeliveryDeps struct {
	Registry *Registry
	Store    DeliveryStore
	Rules    billing.Rules
	Clock    Clock
}

// Deliveries looks up what was accepted, and what became of it.
type Deliveries struct{ DeliveryDeps }

// NewDeliveries returns it; it does nothing yet.
func NewDeliveries(deps DeliveryDeps) *Deliveries { return &Deliveries{deps} }

// EventID is the identity of an event (R8).
type EventID struct {
	Tenant string `json:"tenantId"`
	Source string `json:"source"`
	ID     string `json:"id"`
}

// Attributed is where the usage of an event goes (R9-R11); all of it is empty where it goes nowhere.
type Attributed struct {
	Meter        string       `json:"meter,omitempty"`
	Subscription string       `json:"subscriptionId,omitempty" doc:"The subscription that its usage goes to."`
	By           aggregate.By `json:"attributedBy,omitempty" enum:"own,mapped,primary"`
}

// DeliveryEntry is an accepted delivery and what became of it. What is computed is there of winners alone.
type DeliveryEntry struct {
	EventID
	schemas.RecordID
	ArrivedAt  string `json:"arrivedAt" doc:"When it arrived on Kafka."`
	Fate       string `json:"fate" doc:"What became of it (R8, R22)."`
	Revision   int32  `json:"revision"`
	Voided     bool   `json:"voided,omitempty"`
	Type       string `json:"type"`
	Time       string `json:"time" doc:"The time of the event."`
	At         string `json:"at" doc:"When the usage happened."`
	Until      string `json:"until,omitempty" doc:"When the session ended, as the delivery says."`
	Agent      string `json:"agent,omitempty" doc:"Only for those who may see the ids of agents."`
	EntryPoint string `json:"entryPoint,omitempty"`
	Channel    string `json:"channel,omitempty"`
	Units      string `json:"units,omitempty"`
	Class      string `json:"class,omitempty"`
	// Names is what the event says; R10 decides.
	Names  string      `json:"namesSubscription,omitempty" doc:"The subscription that the event names."`
	Period civil.Month `json:"period" doc:"The month that it belongs to, in the tenant's zone."`
	Attributed

	place aggregate.EventPlace
}

// Key is where it is in a list of all, in parts: the place of its event, by the start, source and id of that, and its
// record. Keys sort as the list does.
func (e *DeliveryEntry) Key() []string {
	return []string{fmt.Sprintf("%019d", e.place.FirstMS), e.place.Source, e.place.ID,
		e.Topic, fmt.Sprintf("%010d", e.Partition), fmt.Sprintf("%019d", e.Offset)}
}

// List returns the deliveries of the events that are looked for, event by event, and within one by record. Ids of
// agents are left out unless they may be seen.
func (s *Deliveries) List(ctx context.Context, look aggregate.EventLook, seesAgents bool) ([]DeliveryEntry, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	snapshot, err := billing.Snapshot(state, s.Rules, look.Tenant)
	if err != nil {
		return nil, err
	}
	now := s.Clock().UnixMilli()
	entries := []DeliveryEntry{}
	err = s.Store.Delivered(ctx, look, func(place aggregate.EventPlace, event []aggregate.Delivery) {
		evidence := snapshot.Timelines.ResolveEvent(event, s.Rules.Rules, now)
		for _, d := range evidence.Deliveries {
			entry := newDeliveryEntry(&evidence, d, snapshot.Timelines.Zone(look.Tenant))
			entry.place = place
			if !seesAgents {
				entry.Agent = ""
			}
			entries = append(entries, entry)
		}
	})
	return entries, err
}

func attributed(to aggregate.Attribution) Attributed {
	return Attributed{to.Meter, to.Subscription, to.By}
}

func newDeliveryEntry(of *aggregate.Evidence, d aggregate.Delivered, zone *civil.Zone) DeliveryEntry {
	if zone == nil {
		zone = civil.UTC
	}
	e := DeliveryEntry{
		EventID: EventID{d.Tenant, d.Source, d.ID}, RecordID: d.RecordID, ArrivedAt: civil.FormatMillis(d.ArrivedMS),
		Fate: of.Outcome(d), Revision: d.Revision, Voided: d.Voided, Type: d.Type.String(),
		Time: civil.FormatMillis(d.TimeMS),
		At:   civil.FormatMillis(d.OccurredMS()), Agent: d.Agent, EntryPoint: d.EntryPoint, Channel: d.Channel,
		Class: d.Class,
		Names: d.Subscription, Period: zone.DateOf(d.OccurredMS()).Month(),
	}
	if d.Type == schemas.ConnectUsage {
		e.Units = decimal.New(d.Quantity, -6).String()
	}
	if d.EndMS != schemas.Absent {
		e.Until = civil.FormatMillis(d.EndMS)
	}
	if e.Fate == aggregate.Wins {
		e.Attributed = attributed(of.To)
	}
	return e
}

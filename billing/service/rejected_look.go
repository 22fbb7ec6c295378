package service

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"apportion/ingest"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// RejectedFilter chooses refused deliveries.
type RejectedFilter = ingest.RejectedFilter

// RejectedPlace is where a refused delivery is in their list.
type RejectedPlace = ingest.RejectedPlace

// RejectedEntry is a refused delivery and why.
type RejectedEntry struct {
	Time      string       `json:"time" doc:"When it arrived on Kafka."`
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Tenant    string       `json:"tenantId" doc:"The identity, each part empty where it could not be read."`
	Source    string       `json:"source"`
	ID        string       `json:"id"`
	Code      schemas.Code `json:"code"`
	Field     string       `json:"field"`
	Value     string       `json:"value"`
	Message   string       `json:"message"`

	arrivedMS int64
}

// Place is where it is in the list of all.
func (e *RejectedEntry) Place() RejectedPlace {
	return RejectedPlace{ArrivedMS: e.arrivedMS,
		RecordID: schemas.RecordID{Topic: e.Topic, Partition: e.Partition, Offset: e.Offset}}
}

// NewRejectedEntry returns the same of a dead letter.
func NewRejectedEntry(l *ingest.DeadLetter) RejectedEntry {
	w := &l.Why
	return RejectedEntry{civil.FormatMillis(l.ArrivedMS), l.Topic, l.Partition, l.Offset,
		w.Tenant, w.Source, w.ID, w.Code, w.Field, w.Value, w.Message, l.ArrivedMS}
}

// RejectedLetter is a refused delivery whole.
type RejectedLetter struct {
	RejectedEntry
	Advice   string           `json:"advice"`
	Open     bool             `json:"open" doc:"No accepted delivery answers it (R24)."`
	Accepted []AcceptedEntry  `json:"accepted" doc:"The accepted deliveries of its event, newest first."`
	Key      Blob             `json:"key"`
	Headers  []RejectedHeader `json:"headers"`
	Payload  Blob             `json:"payload"`
}

// AcceptedEntry is an accepted delivery.
type AcceptedEntry struct {
	Time      string `json:"time" doc:"When it arrived on Kafka."`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Revision  int32  `json:"revision"`
	Voided    bool   `json:"voided"`
}

// RejectedHeader is a header that a refused delivery came with.
type RejectedHeader struct {
	Name  Blob `json:"name"`
	Value Blob `json:"value"`
}

// Blob is bytes that are mostly text. In JSON it is a string or, where it is not valid UTF-8, {"base64": …}.
type Blob []byte

// MarshalJSON writes it so.
func (b Blob) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(map[string][]byte{"base64": b})
}

// NewRejectedLetter returns a dead letter with the accepted deliveries of its event.
func NewRejectedLetter(l *ingest.DeadLetter, accepted []ingest.Acceptance) *RejectedLetter {
	letter := &RejectedLetter{
		RejectedEntry: NewRejectedEntry(l), Advice: l.Why.Code.Advice(), Open: l.Answer(accepted) == nil,
		Accepted: []AcceptedEntry{}, Key: l.Key, Headers: []RejectedHeader{}, Payload: l.Value,
	}
	for _, d := range accepted {
		letter.Accepted = append(letter.Accepted,
			AcceptedEntry{civil.FormatMillis(d.ArrivedMS), d.Topic, d.Partition, d.Offset, d.Revision, d.Voided})
	}
	for _, h := range l.Headers {
		letter.Headers = append(letter.Headers, RejectedHeader{Blob(h.Key), h.Value})
	}
	return letter
}

// Topic returns the name that a usage topic has here, whether it is given with the prefix or without, and whether it is
// one.
func (r *Rejected) Topic(name string) (topic string, ok bool) {
	for topic, carries := range r.types {
		if name == topic || name == carries.Topic() {
			return topic, true
		}
	}
	return "", false
}

// List returns those that a filter chooses, without their values, the latest first, at most so many.
func (r *Rejected) List(ctx context.Context, filter RejectedFilter, limit int) ([]RejectedEntry, error) {
	letters, err := r.letters.List(ctx, filter, limit)
	entries := []RejectedEntry{}
	for i := range letters {
		entries = append(entries, NewRejectedEntry(&letters[i]))
	}
	return entries, err
}

// RejectedCount is how many deliveries of a source were refused for a reason.
type RejectedCount struct {
	Code       schemas.Code `json:"code"`
	Tenant     string       `json:"tenantId" doc:"Empty where it could not be read."`
	Source     string       `json:"source" doc:"Empty where it could not be read."`
	Deliveries uint64       `json:"deliveries"`
	First      string       `json:"first" doc:"When the first of them arrived on Kafka."`
	Last       string       `json:"last" doc:"When the last of them arrived on Kafka."`
}

// Count counts those that a filter chooses by code, tenant and source, the most first.
func (r *Rejected) Count(ctx context.Context, filter RejectedFilter) ([]RejectedCount, error) {
	counted, err := r.letters.CountBySource(ctx, filter)
	counts := []RejectedCount{}
	for _, n := range counted {
		counts = append(counts, RejectedCount{n.Code, n.Tenant, n.Source, n.Deliveries,
			civil.FormatMillis(n.FirstMS), civil.FormatMillis(n.LastMS)})
	}
	return counts, err
}

// Get returns one whole, if the filter chooses it; whether it is open does not matter.
func (r *Rejected) Get(ctx context.Context, filter RejectedFilter, record schemas.RecordID) (*RejectedLetter, error) {
	letters, err := r.letters.Read(ctx, []schemas.RecordID{record})
	if err != nil {
		return nil, err
	}
	if len(letters) == 0 || !filter.Has(&letters[0]) {
		return nil, errorf(schemas.NoRefusal, 0, "no delivery that you may see was refused at %s", record)
	}
	l := &letters[0]
	var accepted []ingest.Acceptance
	if id, known := l.Identity(); known {
		if accepted, err = r.letters.Accepted(ctx, id); err != nil {
			return nil, err
		}
	}
	return NewRejectedLetter(l, accepted), nil
}

// Topics returns the usage topics, prefix included.
func (r *Rejected) Topics() (topics []string) {
	for topic := range r.types {
		topics = append(topics, topic)
	}
	slices.SortFunc(topics, strings.Compare)
	return topics
}

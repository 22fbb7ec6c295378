package service

import (
	"context"
	"fmt"
	"slices"

	"apportion/ingest"
	"apportion/schemas"
)

// DeadLetters are the deliveries that were refused, and what was accepted of their events.
type DeadLetters interface {
	// List returns those that a filter chooses, without their values, the latest first; at most as many as the limit says,
	// 0 for all.
	List(ctx context.Context, filter RejectedFilter, limit int) ([]ingest.DeadLetter, error)
	// CountBySource counts those that a filter chooses by code, tenant and source, the most first.
	CountBySource(ctx context.Context, filter RejectedFilter) ([]ingest.RejectedCount, error)
	// Read returns those of the records, with their values, in the order of the records.
	Read(ctx context.Context, records []schemas.RecordID) ([]ingest.DeadLetter, error)
	// Accepted returns the accepted deliveries of some events, the latest first.
	Accepted(ctx context.Context, ids ...ingest.Identity) ([]ingest.Acceptance, error)
	// Answers returns, for each of some that have their values, an accepted delivery that answers it, or nil.
	Answers(ctx context.Context, letters []ingest.DeadLetter) ([]*ingest.Acceptance, error)
	// Publish publishes them again, each to its own topic.
	Publish(ctx context.Context, letters []ingest.DeadLetter) error
}

// Rejected looks into refused deliveries, and replays them.
type Rejected struct {
	letters DeadLetters
	// types has what each usage topic carries, by its name with the prefix.
	types map[string]schemas.Type
}

// NewRejected returns what replays dead letters of the topics, each with what it carries, by its name with the prefix.
func NewRejected(letters DeadLetters, types map[string]schemas.Type) *Rejected {
	return &Rejected{letters, types}
}

// Replay is what became of the dead letters chosen, by record.
type Replay struct {
	DryRun     bool       `json:"dryRun"`
	Replayed   int        `json:"replayed"` // or would be, on a dry run
	Accepted   int        `json:"accepted"`
	Refused    int        `json:"refused"`
	Deliveries []Replayed `json:"deliveries"`
}

// Replayed is one of them.
type Replayed struct {
	schemas.RecordID
	// The identity, each part empty where it cannot be read.
	Tenant  string `json:"tenantId"`
	Source  string `json:"source"`
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"` // why it was not replayed
}

// What becomes of a dead letter.
const (
	LetterReplayed = "replayed"
	LetterAccepted = "accepted" // the event is, at this revision or a later one
	LetterRefused  = "refused"  // and would be again
)

// letterPage is how many dead letters are read, decided and published at a time: few enough for their identities to fit
// into one query.
const letterPage = 100

// Replay publishes those of the chosen dead letters again that would be accepted, or says on a dry run which. All are
// chosen before the first is published: those that come back, because an older version still takes deliveries in, are
// none of them.
func (r *Rejected) Replay(ctx context.Context, filter RejectedFilter, limit int, dryRun bool) (*Replay, error) {
	records, err := r.choose(ctx, filter, limit)
	if err != nil {
		return nil, err
	}
	result := &Replay{DryRun: dryRun, Deliveries: []Replayed{}}
	for page := range slices.Chunk(records, letterPage) {
		letters, err := r.letters.Read(ctx, page)
		if err != nil {
			return nil, err
		}
		decided, err := r.decide(ctx, filter, letters)
		if err != nil {
			return nil, err
		}
		var good []ingest.DeadLetter
		for i, d := range decided {
			if d.Outcome == LetterReplayed {
				good = append(good, letters[i])
			}
		}
		if !dryRun && len(good) > 0 {
			if err := r.letters.Publish(ctx, good); err != nil {
				return nil, fmt.Errorf("replaying: %w; %d deliveries were published, and it does no harm to replay them again",
					err, result.Replayed)
			}
		}
		result.add(decided)
	}
	return result, nil
}

// choose returns the records of the dead letters on usage topics that the filter chooses, in order.
func (r *Rejected) choose(ctx context.Context, filter RejectedFilter, limit int) ([]schemas.RecordID, error) {
	if len(filter.Topics) == 0 {
		filter.Topics = r.Topics()
	}
	filter.Open = len(filter.Records) == 0
	letters, err := r.letters.List(ctx, filter, limit)
	if err != nil {
		return nil, err
	}
	records := make([]schemas.RecordID, len(letters))
	for i := range letters {
		records[i] = letters[i].RecordID
	}
	for _, id := range filter.Records {
		if !slices.Contains(records, id) {
			return nil, errorf(schemas.NoRefusal, 0, "no delivery that the filters choose was refused at %s", id)
		}
	}
	slices.SortFunc(records, schemas.RecordID.Compare)
	return records, nil
}

// decide says what is to become of each dead letter.
func (r *Rejected) decide(
	ctx context.Context, filter RejectedFilter, letters []ingest.DeadLetter,
) ([]Replayed, error) {
	decided := make([]Replayed, len(letters))
	var decoder schemas.Decoder
	for i := range letters {
		l, d := &letters[i], &decided[i]
		*d = Replayed{RecordID: l.RecordID, Outcome: LetterReplayed}
		var e schemas.Event
		if why := decoder.Decode(r.types[l.Topic], l.Headers, l.Value, &e); why != nil {
			d.Outcome, d.Reason = LetterRefused, why.Error()
			l.Why = *why
		} else {
			l.Why = schemas.Rejection{Code: l.Why.Code, Tenant: e.Tenant, Source: e.Source, ID: e.ID}
			if !filter.Has(l) { // an older version has read another identity
				d.Outcome, d.Reason = LetterRefused, "its tenant or source is not of those chosen"
			}
		}
		d.Tenant, d.Source, d.ID = l.Why.Tenant, l.Why.Source, l.Why.ID
	}
	answers, err := r.letters.Answers(ctx, letters)
	if err != nil {
		return nil, err
	}
	for i, a := range answers {
		if a != nil {
			decided[i].Outcome = LetterAccepted
			decided[i].Reason = fmt.Sprintf("revision %d of it has been accepted, at %s", a.Revision, a.RecordID)
		}
	}
	return decided, nil
}

func (r *Replay) add(decided []Replayed) {
	for _, d := range decided {
		switch d.Outcome {
		case LetterReplayed:
			r.Replayed++
		case LetterAccepted:
			r.Accepted++
		case LetterRefused:
			r.Refused++
		}
	}
	r.Deliveries = append(r.Deliveries, decided...)
}

package billing

import (
	"encoding/json"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// EvidenceJSON is an event in JSON: as it counts, and its deliveries.
type EvidenceJSON struct {
	Source       string         `json:"source"`
	ID           string         `json:"id"`
	Type         string         `json:"type"`
	Agent        string         `json:"agent,omitempty"`
	EntryPoint   string         `json:"entryPoint,omitempty"`
	Class        string         `json:"class,omitempty"`
	Subscription string         `json:"subscriptionId"`
	By           aggregate.By   `json:"attributedBy"`
	At           string         `json:"at"`
	Until        string         `json:"until,omitempty"`
	Open         bool           `json:"open,omitempty"`
	Units        string         `json:"units,omitempty"`
	Delivery     DeliveryJSON   `json:"delivery"`
	Others       []DeliveryJSON `json:"otherDeliveries"`
}

// DeliveryJSON is a delivery of an event in JSON, with what became of it.
type DeliveryJSON struct {
	schemas.RecordID
	Fate      string `json:"fate"`
	Revision  int32  `json:"revision"`
	Voided    bool   `json:"voided,omitempty"`
	ArrivedAt string `json:"arrivedAt"`
}

// Evidence are events with all of their deliveries.
type Evidence []aggregate.Evidence

// MarshalJSON writes each event as it counts, with its winning delivery and the others.
func (all Evidence) MarshalJSON() ([]byte, error) {
	to := []EvidenceJSON{}
	for i := range all {
		to = append(to, evidenceOf(&all[i]))
	}
	return json.Marshal(to)
}

func evidenceOf(e *aggregate.Evidence) EvidenceJSON {
	j := EvidenceJSON{
		Source: e.Winner.Source, ID: e.Winner.ID, Type: e.Winner.Type.String(), Agent: e.Winner.Agent,
		EntryPoint: e.Winner.EntryPoint, Class: e.Winner.Class, Subscription: e.To.Subscription, By: e.To.By,
		At: civil.FormatMillis(e.Winner.OccurredMS()), Others: []DeliveryJSON{},
	}
	if e.Winner.Type == schemas.ConnectUsage {
		j.Units = decimal.New(e.Winner.Quantity, -6).String()
	} else {
		j.Until, j.Open = civil.FormatMillis(e.ToMS), e.Winner.EndMS == schemas.Absent
	}
	for _, d := range e.Deliveries {
		delivery := DeliveryJSON{d.RecordID, d.Fate, d.Revision, d.Voided, civil.FormatMillis(d.ArrivedMS)}
		if d.Fate == aggregate.Wins {
			j.Delivery = delivery
		} else {
			j.Others = append(j.Others, delivery)
		}
	}
	return j
}

// ChangedEventJSON is an event in JSON that counts otherwise than before: late, or a correction.
type ChangedEventJSON struct {
	Cause string        `json:"cause"`
	Then  *EvidenceJSON `json:"then,omitempty"`
	Now   EvidenceJSON  `json:"now"`
}

// MarshalJSON writes how the event counts now and, where it was corrected, how it counted.
func (c ChangedEvent) MarshalJSON() ([]byte, error) {
	j := ChangedEventJSON{c.Cause(), nil, evidenceOf(&c.Now)}
	if !c.Late {
		then := evidenceOf(&c.Then)
		j.Then = &then
	}
	return json.Marshal(j)
}

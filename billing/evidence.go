package billing

import (
	"encoding/json"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// evidenceJSON is an event: as it counts, and its deliveries.
type evidenceJSON struct {
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
	Delivery     deliveryJSON   `json:"delivery"`
	Others       []deliveryJSON `json:"otherDeliveries"`
}

type deliveryJSON struct {
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
	to := []evidenceJSON{}
	for i := range all {
		to = append(to, evidenceOf(&all[i]))
	}
	return json.Marshal(to)
}

func evidenceOf(e *aggregate.Evidence) evidenceJSON {
	j := evidenceJSON{
		Source: e.Winner.Source, ID: e.Winner.ID, Type: e.Winner.Type.String(), Agent: e.Winner.Agent,
		EntryPoint: e.Winner.EntryPoint, Class: e.Winner.Class, Subscription: e.To.Subscription, By: e.To.By,
		At: civil.FormatMillis(e.Winner.OccurredMS()), Others: []deliveryJSON{},
	}
	if e.Winner.Type == schemas.ConnectUsage {
		j.Units = decimal.New(e.Winner.Quantity, -6).String()
	} else {
		j.Until, j.Open = civil.FormatMillis(e.ToMS), e.Winner.EndMS == schemas.Absent
	}
	for _, d := range e.Deliveries {
		delivery := deliveryJSON{d.RecordID, d.Fate, d.Revision, d.Voided, civil.FormatMillis(d.ArrivedMS)}
		if d.Fate == aggregate.Wins {
			j.Delivery = delivery
		} else {
			j.Others = append(j.Others, delivery)
		}
	}
	return j
}

// MarshalJSON writes how the event counts now and, where it was corrected, how it counted.
func (c ChangedEvent) MarshalJSON() ([]byte, error) {
	j := struct {
		Cause string        `json:"cause"`
		Then  *evidenceJSON `json:"then,omitempty"`
		Now   evidenceJSON  `json:"now"`
	}{c.Cause(), nil, evidenceOf(&c.Now)}
	if !c.Late {
		then := evidenceOf(&c.Then)
		j.Then = &then
	}
	return json.Marshal(j)
}

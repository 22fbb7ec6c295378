package aggregate

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Position is how far a partition has been taken in: LastOffset itself is.
type Position struct {
	Topic      string `json:"topic"` // prefix included
	Partition  int32  `json:"partition"`
	LastOffset int64  `json:"lastOffset"`
}

// Basis is what figures are based on: the same basis gives the same figures (R23).
type Basis struct {
	// RegistryOffset is the one after that of the last command that changed a tenant.
	RegistryOffset int64 `json:"registryOffset"`
	// Pass is the number of the pass of aggregation, 0 where there is none.
	Pass uint64 `json:"pass,string"`
	// Positions are the end of the ledger, in the order of topic and partition.
	Positions []Position `json:"positions"`
	// Rules are the configured numbers, as [Rules.JSON] writes them.
	Rules json.RawMessage `json:"rules"`
	// TZVersion is the edition of the IANA time zone data.
	TZVersion string `json:"tzVersion"`
}

// Rules are the configurable numbers that daily figures are based on.
type Rules struct {
	// OpenSessionHours is how long a session without an end is taken to last at the most (R12).
	OpenSessionHours int `json:"openSessionHours"`
	// IVRPortFactor is how many IVR ports come with a seat (R14).
	IVRPortFactor int64 `json:"ivrPortFactor"`
}

// DefaultRules are the numbers that the rules themselves name.
func DefaultRules() Rules { return Rules{OpenSessionHours: 24, IVRPortFactor: 2} }

// JSON returns the rules as they are stored: equal rules are equal bytes.
func (r Rules) JSON() json.RawMessage { return StoreRules(r) }

// ParseRules reads what [Rules.JSON] returns.
func ParseRules(stored json.RawMessage) (Rules, error) { return LoadRules[Rules](stored) }

// StoreRules returns rules, which are numbers alone, as they are stored.
func StoreRules[R any](rules R) json.RawMessage {
	stored, err := json.Marshal(rules)
	if err != nil {
		panic(err)
	}
	return stored
}

// LoadRules reads what [StoreRules] returns. Rules that this release does not know are those of a later one.
func LoadRules[R any](stored json.RawMessage) (rules R, err error) {
	decoder := json.NewDecoder(bytes.NewReader(stored))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&rules); err != nil {
		return *new(R), fmt.Errorf("the rules %s are those of another release: %w", stored, err)
	}
	return rules, nil
}

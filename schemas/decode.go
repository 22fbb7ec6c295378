package schemas

// Limits of the event contract.
const (
	// MaxValueBytes is the greatest size of a delivery's value.
	MaxValueBytes = 262_144
	// MaxSessionMS is the longest plausible session, in milliseconds: 31 × 24 h.
	MaxSessionMS int64 = 31 * 24 * 3_600_000
)

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}

// Decoder turns the headers and value of Kafka records into Events. It keeps
// scratch memory between calls: reuse one per goroutine. The zero Decoder is
// ready to use.
type Decoder struct{}

// Decode reads one delivery into e. The topic is the type that the delivery's
// topic carries. It returns nil when the delivery is valid, and otherwise the
// first defect in the order of the event contract; e is then not to be used.
//
// Strings in e may share the memory of value and of the headers, which must
// not be modified while e is used.
func (d *Decoder) Decode(topic Type, headers []Header, value []byte, e *Event) *Rejection {
	return &Rejection{Code: MalformedJSON}
}

// SniffType reads the type and tenant of a delivery in structured mode, as
// far as they can be read, so that a publisher can choose its topic and key.
// ok is false when no type of ours could be read; such a delivery goes, as it
// is, to TopicAgent, where decoding refuses it. The tenant is "" when it could
// not be read.
func SniffType(line []byte) (t Type, tenant string, ok bool) {
	return 0, "", false
}

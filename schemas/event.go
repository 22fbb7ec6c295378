// Package schemas is the contract between Apportion and everything around it,
// and the leaf that every other package may import: what an event is, how a
// delivery is decoded and validated, and why one is refused. It reads the
// values of Kafka records and files of deliveries, and gives Events or
// Rejections to ingest and to the publisher; it performs no I/O.
//
// The same contract is kept for machines as JSON Schemas and an AsyncAPI
// document, both embedded; the tests hold them and the Decoder to one verdict.
package schemas

// Type is what an event reports. The zero Type is no type of ours.
type Type uint8

const (
	// AgentSession is one login session of one agent.
	AgentSession Type = 1
	// IVRSession is one call's stay in the IVR.
	IVRSession Type = 2
	// ConnectUsage is units sent or received on one Webex Connect channel.
	ConnectUsage Type = 3
)

// AnyType is no type of ours: it stands for the topic of a delivery that has none yet, as over HTTP, which is decoded
// as what its own type says.
const AnyType Type = 0

// Types lists every event type, in the order of the event contract.
var Types = [...]Type{AgentSession, IVRSession, ConnectUsage}

var typeNames = [...]string{"unknown", "agent.session", "ivr.session", "connect.usage"}

// String returns the CloudEvents type, such as "agent.session", or "unknown".
func (t Type) String() string {
	if int(t) >= len(typeNames) {
		return typeNames[0]
	}
	return typeNames[t]
}

// ParseType returns the type of that CloudEvents name; ok is false when it is
// not one of ours.
func ParseType(name string) (t Type, ok bool) {
	for _, t := range Types {
		if typeNames[t] == name {
			return t, true
		}
	}
	return 0, false
}

// Absent is the StartMS or EndMS of an event that does not have that instant.
const Absent int64 = -1

// Event is one valid delivery (R8): its identity, its revision, and the
// content that its type knows. Fields of other types are zero, StartMS and
// EndMS Absent.
//
// Its strings may share memory with the value that they were decoded from,
// which must not be modified while the event is in use.
type Event struct {
	// Tenant, Source and ID are the identity (R8), each 1 to 200 bytes.
	Tenant, Source, ID string
	Type               Type
	// TimeMS is the CloudEvents time in UTC epoch milliseconds. For Connect it
	// is when the usage happened.
	TimeMS   int64
	Revision int32
	Voided   bool
	// Subscription is the billing subscription that the event names, "" when
	// it names none.
	Subscription string
	// Agent, EntryPoint and Channel belong to AgentSession, IVRSession and
	// ConnectUsage in turn. Only a voided event may lack the one of its type.
	Agent, EntryPoint, Channel string
	// StartMS and EndMS bound a session, in UTC epoch milliseconds, or are
	// Absent: an open session has no end, a voided one need not have a start.
	StartMS, EndMS int64
	// Class is the licence class that an agent session names: "standard",
	// "premium", or "" when it names none (R9).
	Class string
	// Quantity is in millionths of a unit, and 0 where absent.
	Quantity int64
}

// OccurredMS returns the instant whose period the event belongs to (R22), in UTC
// epoch milliseconds: its start; for Connect, and for a void without a start,
// its time.
func (e *Event) OccurredMS() int64 {
	if e.StartMS == Absent {
		return e.TimeMS
	}
	return e.StartMS
}

package schemas

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

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
type Decoder struct {
	scanner
}

// fieldNames has the bare names of the event contract.
var fieldNames = [numFields]string{
	fieldSpecversion:    "specversion",
	fieldID:             "id",
	fieldSource:         "source",
	fieldType:           "type",
	fieldTime:           "time",
	fieldTenantID:       "tenantid",
	fieldData:           "data",
	fieldRevision:       "revision",
	fieldVoided:         "voided",
	fieldSubscriptionID: "subscriptionId",
	fieldAgentID:        "agentId",
	fieldEntryPointID:   "entryPointId",
	fieldStartTime:      "startTime",
	fieldEndTime:        "endTime",
	fieldLicenceClass:   "licenceClass",
	fieldChannel:        "channel",
	fieldQuantity:       "quantity",
}

const (
	nameRule = "must be a JSON string of 1 to 200 bytes without control characters or lone surrogates"
	timeRule = "must be RFC 3339 with a zone, such as 2026-10-14T08:00:03Z, of the years 1970 to 9999"
	spanRule = timeRule + ", or a JSON number of whole epoch milliseconds"
)

// rules says of each field what a valid value is.
var rules = [numFields]string{
	fieldID:             nameRule,
	fieldSource:         nameRule,
	fieldTime:           timeRule,
	fieldTenantID:       nameRule,
	fieldData:           "must be a JSON object",
	fieldRevision:       "must be a JSON number written with digits only, at most 2147483647",
	fieldVoided:         "must be true or false",
	fieldSubscriptionID: nameRule,
	fieldAgentID:        nameRule,
	fieldEntryPointID:   nameRule,
	fieldStartTime:      spanRule,
	fieldEndTime:        spanRule,
	fieldLicenceClass:   "must be standard or premium",
	fieldChannel:        "must be a JSON string that matches [a-z][a-z0-9_-]{0,62}",
	fieldQuantity: "must be a number above 0 without sign or exponent, " +
		"with at most 12 digits before the point and 6 after",
}

// The fields in the order in which they are looked at: that of the tables of
// the event contract.
var (
	neededAttributes = [...]field{fieldID, fieldSource, fieldType, fieldTime, fieldTenantID}

	// neededData has the data fields that a type needs, unless it is voided.
	neededData = [...][]field{
		AgentSession: {fieldAgentID, fieldStartTime},
		IVRSession:   {fieldEntryPointID, fieldStartTime},
		ConnectUsage: {fieldChannel, fieldQuantity},
	}

	// commonFields are checked for every type, and ownFields then for one.
	commonFields = [...]field{
		fieldID, fieldSource, fieldTime, fieldTenantID,
		fieldData, fieldRevision, fieldVoided, fieldSubscriptionID,
	}
	ownFields = [...][]field{
		AgentSession: {fieldAgentID, fieldStartTime, fieldEndTime, fieldLicenceClass},
		IVRSession:   {fieldEntryPointID, fieldStartTime, fieldEndTime},
		ConnectUsage: {fieldChannel, fieldQuantity},
	}
)

// Decode reads one delivery into e. The topic is the type that the delivery's
// topic carries. It returns nil when the delivery is valid, and otherwise the
// first defect in the order of the event contract; e is then not to be used.
//
// Strings in e may share the memory of value and of the headers, which must
// not be modified while e is used.
func (d *Decoder) Decode(topic Type, headers []Header, value []byte, e *Event) *Rejection {
	d.reset(value)
	var malformed string
	if isStructured(headers) {
		malformed = d.structured()
	} else {
		malformed = d.binary(headers)
	}
	switch {
	case len(value) > MaxValueBytes:
		return d.reject(TooLarge, noField, fmt.Sprintf(
			"the value has %d bytes and may have %d; send less in members that billing does not read",
			len(value), MaxValueBytes))
	case malformed != "":
		return d.reject(MalformedJSON, noField, malformed+"; send one JSON object in UTF-8, each member once")
	}
	return d.event(topic, e)
}

// structured reads the whole event from the value, and returns how it is
// malformed. Of a text that breaks the grammar nothing is believed.
func (d *Decoder) structured() (malformed string) {
	if malformed = d.scanText(ofEvent); d.fault != "" {
		d.fields = [numFields]rawValue{}
	}
	return malformed
}

// binary reads the attributes from the headers and the data from the value,
// and returns how either is malformed. Headers that are not attributes of the
// contract are nobody's business.
func (d *Decoder) binary(headers []Header) (malformed string) {
	malformed = d.scanText(ofData)
	for _, h := range headers {
		switch f := headerAttribute(h.Key); {
		case f == noField:
		case d.fields[f].kind != kindNone:
			d.fields[f].kind = kindRepeated
			if malformed == "" {
				malformed = fmt.Sprintf("the header ce_%s is repeated", fieldNames[f])
			}
		default:
			d.fields[f] = rawValue{raw: h.Value, kind: kindString}
		}
	}
	return malformed
}

// scanText scans the value, an event or its data, and returns how it is malformed.
func (d *Decoder) scanText(in scope) (malformed string) {
	if !utf8.Valid(d.src) {
		return "the value is not valid UTF-8"
	}
	v, ok := d.scan(in)
	switch {
	case !ok:
		return d.faultText()
	case in == ofData && v.kind == kindNull: // absent data
	case v.kind != kindObject:
		return "the value is not a JSON object"
	case d.repeated != nil:
		return fmt.Sprintf("the member %q is repeated", printable(d.repeated))
	}
	return ""
}

// event checks the scanned fields in the order of the event contract and puts
// them into e.
func (d *Decoder) event(topic Type, e *Event) *Rejection {
	if v := &d.fields[fieldSpecversion]; v.kind != kindString || v.text() != "1.0" {
		return d.reject(NotCloudEvents, fieldSpecversion, `must be the string "1.0"; send CloudEvents 1.0`)
	}
	for _, f := range neededAttributes {
		if d.fields[f].missing() {
			return d.reject(MissingField, f, "every event needs it; add it and send the event again")
		}
	}
	t, ok := d.eventType()
	switch {
	case !ok:
		return d.reject(UnknownType, fieldType, "must be agent.session, ivr.session or connect.usage")
	case t != topic:
		return d.reject(UnknownType, fieldType, fmt.Sprintf("does not fit the topic; send it to %s", t.Topic()))
	}
	*e = Event{Type: t, StartMS: Absent, EndMS: Absent}
	data := d.fields[fieldData].kind
	if voided := d.fields[fieldVoided].kind == kindTrue; !voided && (data <= kindNull || data == kindObject) {
		for _, f := range neededData[t] {
			if d.fields[f].missing() {
				return d.reject(MissingField, f,
					fmt.Sprintf("%s needs it in data unless voided is true; add it and send the event again", t))
			}
		}
	}
	for _, f := range commonFields {
		if !d.read(f, e) {
			return d.invalid(f)
		}
	}
	for _, f := range ownFields[t] {
		if !d.read(f, e) {
			return d.invalid(f)
		}
	}
	if e.StartMS != Absent && e.EndMS != Absent {
		switch length := e.EndMS - e.StartMS; {
		case length < 0:
			return d.reject(EndBeforeStart, fieldEndTime,
				fmt.Sprintf("is %d ms before startTime; correct one of the two and send the event again", -length))
		case length > MaxSessionMS:
			return d.reject(ImplausibleDuration, fieldEndTime, fmt.Sprintf(
				"makes the session %s long, and 31 × 24 h is the most; correct startTime or endTime and send the event again",
				time.Duration(length)*time.Millisecond))
		}
	}
	return nil
}

// eventType returns the type that the event names, if it is one of ours.
func (d *Decoder) eventType() (t Type, ok bool) {
	v := &d.fields[fieldType]
	if v.kind != kindString {
		return 0, false
	}
	return ParseType(v.text())
}

// read puts one field into e, and reports whether it was valid. An absent one
// is: those that are needed have been looked for before.
func (d *Decoder) read(f field, e *Event) (ok bool) {
	v := &d.fields[f]
	if v.absent() {
		return true
	}
	switch f {
	case fieldID:
		return v.name(&e.ID)
	case fieldSource:
		return v.name(&e.Source)
	case fieldTime:
		return v.time(&e.TimeMS)
	case fieldTenantID:
		return v.name(&e.Tenant)
	case fieldData:
		return v.kind == kindObject
	case fieldRevision:
		n, ok := parseWhole(v.text(), maxRevision)
		e.Revision = int32(n)
		return ok && v.kind == kindNumber
	case fieldVoided:
		e.Voided = v.kind == kindTrue
		return e.Voided || v.kind == kindFalse
	case fieldSubscriptionID:
		return v.name(&e.Subscription)
	case fieldAgentID:
		return v.name(&e.Agent)
	case fieldEntryPointID:
		return v.name(&e.EntryPoint)
	case fieldStartTime:
		return v.instant(&e.StartMS)
	case fieldEndTime:
		return v.instant(&e.EndMS)
	case fieldLicenceClass:
		e.Class = v.text()
		return v.kind == kindString && (e.Class == "standard" || e.Class == "premium")
	case fieldChannel:
		e.Channel = v.text()
		return v.kind == kindString && validChannel(e.Channel)
	case fieldQuantity:
		e.Quantity, ok = parseQuantity(v.text())
		return ok && (v.kind == kindNumber || v.kind == kindString)
	}
	panic("schemas: no reader for the field " + fieldNames[f])
}

// name reads an identifier.
func (v *rawValue) name(dst *string) bool {
	*dst = v.text()
	return v.kind == kindString && validName(*dst)
}

// time reads an instant that must be written as RFC 3339.
func (v *rawValue) time(dst *int64) (ok bool) {
	*dst, ok = parseTime(v.text())
	return ok && v.kind == kindString
}

// instant reads an instant that may also be whole epoch milliseconds.
func (v *rawValue) instant(dst *int64) (ok bool) {
	if v.kind == kindNumber {
		*dst, ok = parseWhole(v.text(), maxInstantMS)
		return ok
	}
	return v.time(dst)
}

// invalid refuses the delivery for the value of one field.
func (d *Decoder) invalid(f field) *Rejection {
	return d.reject(InvalidField, f, rules[f]+"; correct it and send the event again")
}

// reject refuses the delivery, with its identity as far as that is valid.
func (d *Decoder) reject(code Code, f field, detail string) *Rejection {
	r := &Rejection{Code: code, Field: fieldNames[f], Detail: detail}
	if r.Value = printable(d.fields[f].raw); d.fields[f].kind == kindString {
		r.Value = `"` + r.Value + `"`
	}
	r.Tenant, r.Source, r.ID = d.identifier(fieldTenantID), d.identifier(fieldSource), d.identifier(fieldID)
	return r
}

// identifier returns a copy of one part of the identity, or "" when it is not
// valid.
func (d *Decoder) identifier(f field) (name string) {
	if !d.fields[f].name(&name) {
		return ""
	}
	return strings.Clone(name)
}

// isStructured reports whether the value holds the whole event: when the
// content type says so, or when the record has neither a content type nor any
// attribute in its headers. A header without a value counts as absent.
func isStructured(headers []Header) bool {
	bare := true
	for _, h := range headers {
		if isAttribute(h.Key) {
			bare = false
		}
		if equalFold(h.Key, "content-type") && len(h.Value) > 0 {
			mediaType, _, _ := strings.Cut(string(h.Value), ";")
			if equalFold(strings.Trim(mediaType, " \t"), "application/cloudevents+json") {
				return true
			}
			bare = false
		}
	}
	return bare
}

// attributePrefix begins the name of a header that is an attribute.
const attributePrefix = "ce_"

func isAttribute(key string) bool {
	return len(key) >= len(attributePrefix) && equalFold(key[:len(attributePrefix)], attributePrefix)
}

// headerAttribute returns the attribute of the contract that a header has, its
// name in any case, or noField.
func headerAttribute(key string) field {
	if isAttribute(key) {
		for f := fieldSpecversion; f <= fieldTenantID; f++ {
			if equalFold(key[len(attributePrefix):], fieldNames[f]) {
				return f
			}
		}
	}
	return noField
}

// equalFold reports whether s is the ASCII word in any case. Other letters
// that fold to ASCII ones are longer than those.
func equalFold(s, word string) bool {
	return len(s) == len(word) && strings.EqualFold(s, word)
}

// SniffType reads the type and tenant of a delivery in structured mode, as
// far as they can be read before its grammar breaks, so that a publisher can
// choose its topic and key. ok is false when no type of ours could be read;
// such a delivery goes, as it is, to TopicAgent, where decoding refuses it.
// The tenant is "" when it could not be read.
func SniffType(line []byte) (t Type, tenant string, ok bool) {
	var d Decoder
	d.reset(line)
	d.scan(ofEvent)
	if v := &d.fields[fieldTenantID]; v.kind == kindString {
		tenant = strings.Clone(v.text())
	}
	t, ok = d.eventType()
	return t, tenant, ok
}

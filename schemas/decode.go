package schemas

import (
	"fmt"
	"slices"
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
	fieldDataBase64:     "data_base64",
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
	spanRule = timeRule + ", or a JSON number of whole epoch milliseconds, at least 100000000000"
)

// rules says of each field what a valid value is.
var rules = [numFields]string{
	fieldID:             nameRule,
	fieldSource:         nameRule,
	fieldTime:           timeRule,
	fieldTenantID:       nameRule,
	fieldData:           "must be a JSON object",
	fieldDataBase64:     "must be a JSON string of base64 (RFC 4648, with padding) of what data would be",
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
		fieldData, fieldDataBase64, fieldRevision, fieldVoided, fieldSubscriptionID,
	}
	ownFields = [...][]field{
		AgentSession: {fieldAgentID, fieldStartTime, fieldEndTime, fieldLicenceClass},
		IVRSession:   {fieldEntryPointID, fieldStartTime, fieldEndTime},
		ConnectUsage: {fieldChannel, fieldQuantity},
	}
)

// Decode reads one delivery into e. The topic is the type that the delivery's
// topic carries, [AnyType] where it has no topic. It returns nil when the delivery is valid, and otherwise the
// first defect in the order of the event contract; e is then not to be used.
//
// Strings in e may share the memory of value and of the headers, which must
// not be modified while e is used.
func (d *Decoder) Decode(topic Type, headers []Header, value []byte, e *Event) *Rejection {
	d.reset(value)
	var malformed string
	mode := modeOf(headers)
	if mode == binaryMode {
		malformed = d.binary(headers)
	} else {
		malformed = d.structured()
	}
	switch {
	case len(value) > MaxValueBytes:
		return d.reject(TooLarge, noField, fmt.Sprintf(
			"the value has %d bytes and may have %d; send less in members that billing does not read",
			len(value), MaxValueBytes))
	case malformed != "":
		return d.reject(MalformedJSON, noField, malformed+"; send one JSON object in UTF-8, each member once")
	}
	if v := &d.fields[fieldSpecversion]; v.kind != kindString || v.text() != "1.0" {
		return d.notCloudEvents(mode, headers)
	}
	r := d.event(topic, e)
	if r != nil {
		if cause := d.cause(r, mode, headers, value); cause != "" {
			r.Message = cause + "; " + r.Message
		}
	}
	return r
}

// structured reads the whole event from the value, and returns how it is
// malformed. Of a text that breaks the grammar nothing is believed.
func (d *Decoder) structured() (malformed string) {
	if malformed = d.scanText(ofEvent); d.fault != "" {
		d.fields = [numFields]rawValue{}
	}
	if encoded := &d.fields[fieldDataBase64]; malformed == "" && encoded.kind == kindString &&
		d.fields[fieldData].absent() {
		return d.decodeData(encoded)
	}
	return malformed
}

// decodeData reads the data from base64, and returns how it is malformed. What
// is not base64 of one JSON value stays as it is, to be refused as a field.
func (d *Decoder) decodeData(encoded *rawValue) (malformed string) {
	text, ok := parseBase64(encoded.text())
	if !ok || !utf8.Valid(text) {
		return ""
	}
	d.src, d.pos = text, 0
	v, ok := d.scan(ofData)
	switch {
	case !ok:
		d.fault, d.unknown, d.repeated = "", nil, nil
		clear(d.fields[fieldRevision:])
		return ""
	case d.repeated != nil:
		return fmt.Sprintf("the member %q is repeated in data_base64", printable(d.repeated))
	}
	d.fields[fieldData], d.fields[fieldDataBase64] = v, rawValue{}
	return ""
}

// binary reads the attributes from the headers and the data from the value,
// and returns how either is malformed. Headers that are not attributes of the
// contract are nobody's business.
func (d *Decoder) binary(headers []Header) (malformed string) {
	if len(d.src) > 0 { // else the data is absent
		malformed = d.scanText(ofData)
	}
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
	case !ok && len(d.src) == 0:
		return "the value is null or empty, as in a tombstone; to take an event back send it with voided true"
	case !ok:
		return d.faultText()
	case in == ofData && v.kind == kindNull: // absent data
		d.fields[fieldData] = v
	case v.kind == kindNull:
		return "the value is null"
	case v.kind == kindArray:
		return "the value is an array, and each event is a record of its own"
	case v.kind != kindObject:
		return "the value is not a JSON object"
	case d.repeated != nil:
		return fmt.Sprintf("the member %q is repeated", printable(d.repeated))
	case in == ofData:
		d.fields[fieldData] = v
	}
	return ""
}

// event checks the scanned fields in the order of the event contract and puts
// them into e.
func (d *Decoder) event(topic Type, e *Event) *Rejection {
	for _, f := range neededAttributes {
		if d.fields[f].missing() {
			return d.reject(MissingField, f, "every event needs it; add it and send the event again")
		}
	}
	t, ok := d.eventType()
	switch {
	case !ok:
		return d.reject(UnknownType, fieldType, "must be agent.session, ivr.session or connect.usage")
	case t != topic && topic != AnyType:
		return d.reject(UnknownType, fieldType, fmt.Sprintf("does not fit the topic; send it to %s", t.Topic()))
	}
	*e = Event{Type: t, StartMS: Absent, EndMS: Absent}
	if voided := d.fields[fieldVoided].kind == kindTrue; !voided && d.dataReadable() {
		for _, f := range neededData[t] {
			if d.fields[f].missing() {
				return d.missingData(t, f)
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
	if len(d.unknown) > 0 {
		if r := d.misspelt(t); r != nil {
			return r
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
		return v.kind == kindObject && d.fields[fieldDataBase64].absent()
	case fieldDataBase64:
		return false // it was replaced by the data if it could be
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
		return ok && *dst >= minNumberMS
	}
	return v.time(dst)
}

// dataReadable reports whether the data is an object, or absent.
func (d *Decoder) dataReadable() bool {
	data := d.fields[fieldData].kind
	return (data <= kindNull || data == kindObject) && d.fields[fieldDataBase64].absent()
}

// missingData refuses the delivery for a member of data that its type needs.
func (d *Decoder) missingData(t Type, f field) *Rejection {
	remedy := "add it and send the event again"
	if sent := d.misspellingOf(f); sent != nil {
		remedy = fmt.Sprintf("data has %q, which seems to be meant: spell it %s and send the event again", printable(sent),
			fieldNames[f])
	}
	return d.reject(MissingField, f, fmt.Sprintf("%s needs it in data unless voided is true; %s", t, remedy))
}

// invalid refuses the delivery for the value of one field.
func (d *Decoder) invalid(f field) *Rejection {
	v := &d.fields[f]
	switch {
	case f == fieldDataBase64 && v.kind == kindString:
		return d.reject(InvalidField, f, rules[f]+", one JSON object in UTF-8; correct it and send the event again")
	case f == fieldData && v.kind == kindObject:
		return d.reject(InvalidField, f, "must not be there beside data_base64, which stands for it; send one of the two")
	case (f == fieldStartTime || f == fieldEndTime) && v.kind == kindNumber:
		if n, ok := parseWhole(v.text(), minNumberMS-1); ok {
			return d.reject(InvalidField, f, fmt.Sprintf("%s; %d reads as %s if it is seconds: send milliseconds",
				rules[f], n, time.Unix(n, 0).UTC().Format(time.RFC3339)))
		}
	}
	return d.reject(InvalidField, f, rules[f]+"; correct it and send the event again")
}

// reject refuses the delivery, with its identity as far as that is valid.
func (d *Decoder) reject(code Code, f field, message string) *Rejection {
	r := &Rejection{Code: code, Field: fieldNames[f], Message: message}
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

// A mode says where the parts of an event are.
type mode uint8

const (
	wholeValue mode = iota // all of it is the value
	plainJSON              // the same, by a content type that says no more than JSON
	binaryMode             // its attributes are headers, its data the value
)

// modeOf returns the mode of a record: structured when the content type says
// so, or when there are no attributes in the headers and the content type is
// JSON or absent. A header without a value counts as absent.
func modeOf(headers []Header) mode {
	attributes, typed := false, false
	m := wholeValue
	for _, h := range headers {
		attributes = attributes || isAttribute(h.Key)
		if !equalFold(h.Key, "content-type") || len(h.Value) == 0 {
			continue
		}
		mediaType, _, _ := strings.Cut(string(h.Value), ";")
		mediaType = strings.Trim(mediaType, " \t")
		switch {
		case equalFold(mediaType, cloudEventJSON):
			return wholeValue
		case !typed && isJSON(mediaType):
			m = plainJSON
		default:
			m = binaryMode
		}
		typed = true
	}
	if attributes {
		return binaryMode
	}
	return m
}

// cloudEventJSON is the content type of an event in structured mode.
const cloudEventJSON = "application/cloudevents+json"

// isJSON reports whether a media type is JSON, but no CloudEvents.
func isJSON(mediaType string) bool {
	kind, subtype, _ := strings.Cut(strings.ToLower(mediaType), "/")
	return kind != "" && (subtype == "json" || strings.HasSuffix(subtype, "+json") &&
		!strings.HasPrefix(subtype, "cloudevents"))
}

// notCloudEvents refuses the delivery for its specversion, and says where it
// was looked for. Of a value that was read as data although it is a whole
// event, the identity is taken too.
func (d *Decoder) notCloudEvents(m mode, headers []Header) *Rejection {
	const must = `must be the string "1.0"`
	if !d.fields[fieldSpecversion].absent() {
		return d.reject(NotCloudEvents, fieldSpecversion, must+"; send CloudEvents 1.0")
	}
	if m != binaryMode {
		if sent := memberMeantAs(fieldSpecversion, d.src); sent != "" {
			return d.reject(NotCloudEvents, fieldSpecversion,
				fmt.Sprintf("the event has %q, which seems to be meant; %s; spell it specversion", sent, must))
		}
	}
	attributes, mediaType := false, ""
	for _, h := range headers {
		attributes = attributes || isAttribute(h.Key)
		if equalFold(h.Key, "content-type") && mediaType == "" {
			mediaType = printable(h.Value)
		}
	}
	http := slices.ContainsFunc(headers, func(h Header) bool { return equalFold(h.Key, "ce-specversion") })
	var whole Decoder
	if m == binaryMode {
		whole.reset(d.src)
		whole.scan(ofEvent)
	}
	found := !whole.fields[fieldSpecversion].absent()
	for _, f := range [...]field{fieldID, fieldSource, fieldTenantID} {
		if found && whole.fault == "" && d.fields[f].kind == kindNone {
			d.fields[f] = whole.fields[f]
		}
	}
	const send = "the whole event in the value with the header content-type: " + cloudEventJSON +
		" or none, or its attributes in ce_ headers"
	message := must + "; send CloudEvents 1.0"
	switch {
	case http && !found:
		message = "is in the header ce-specversion, as over HTTP, and on Kafka the headers begin with ce_; send " + send
	case found && attributes:
		message = "is in the value and not in the headers, whose ce_ ones mean that the value is only the data; send " + send
	case found:
		message = fmt.Sprintf("is in the value, but content-type %q means that the value is only the data; send %s",
			mediaType, send)
	case attributes && m == binaryMode:
		message = must + " in the header ce_specversion, as ce_ headers mean that the attributes are there; send " + send
	case mediaType != "" && m != wholeValue:
		message = fmt.Sprintf(
			"is neither in the value nor in ce_ headers, and content-type %q says nothing of CloudEvents; send %s",
			mediaType, send)
	}
	return d.reject(NotCloudEvents, fieldSpecversion, message)
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

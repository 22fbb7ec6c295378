package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// cause returns what seems to lie behind a refusal, where the field at fault is
// only its symptom, or "". The value is the delivery's.
func (d *Decoder) cause(r *Rejection, mode mode, headers []Header, value []byte) string {
	f := field(max(0, slices.Index(fieldNames[:], r.Field)))
	switch r.Code {
	case MissingField:
		return d.missingCause(f, mode, headers, value)
	case InvalidField:
		return d.invalidCause(f)
	}
	return ""
}

// missingCause says what there is in place of a field that is missing.
func (d *Decoder) missingCause(f field, mode mode, headers []Header, value []byte) string {
	ofData := f >= fieldRevision
	data := &d.fields[fieldData]
	switch {
	case d.fields[f].kind == kindString:
		return "" // it is there, and empty as shown
	case d.fields[f].kind == kindNull:
		return "is null, which counts as absent"
	case ofData && d.fields[fieldVoided].kind > kindTrue:
		return fmt.Sprintf("voided is %s and so takes nothing back: write true or false, without quotes",
			d.shown(fieldVoided))
	case ofData && d.misspellingOf(f) != nil:
		return "" // the remedy names it
	}
	var elsewhere string
	if mode == binaryMode {
		elsewhere = d.otherHeader(f, headers)
	} else {
		elsewhere = d.elsewhere(f, value)
	}
	switch {
	case elsewhere != "" || !ofData:
		return elsewhere
	case mode == binaryMode && len(value) == 0:
		return "the value, which is the data, is null or empty"
	case data.kind == kindNull:
		return "data is null, which counts as empty"
	case data.kind == kindNone:
		return "the event has no data"
	}
	return d.unknownMembers()
}

// unknownMembers says which members data has that its type does not know, or nothing where it has none.
func (d *Decoder) unknownMembers() string {
	const most = 5
	var names []string
	for _, name := range slices.SortedFunc(slices.Values(d.unknown), bytes.Compare) {
		names = append(names, `"`+printable(name)+`"`)
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	switch n := len(names); n {
	case 0:
		return ""
	case 1:
		return "data has " + names[0] + ", which is not in the contract"
	default:
		return "data has " + strings.Join(names[:n-1], ", ") + " and " + names[n-1] + ", which are not in the contract"
	}
}

// shown returns a value as it was written, a string in its quotes.
func (d *Decoder) shown(f field) string {
	if v := &d.fields[f]; v.kind == kindString {
		return `"` + printable(v.raw) + `"`
	}
	return printable(d.fields[f].raw)
}

// elsewhere says of a field that is missing where else the event has it: by
// another spelling, or on the other side of data.
func (d *Decoder) elsewhere(f field, value []byte) string {
	if sent := memberMeantAs(f, value); sent != "" && f >= fieldRevision {
		return fmt.Sprintf("the event has %q beside data, and it belongs in data", sent)
	} else if sent != "" {
		return fmt.Sprintf("the event has %q, which seems to be meant", sent)
	}
	for _, name := range d.unknown {
		if f < fieldData && meant(name, f) {
			return fmt.Sprintf("data has %q, and it belongs beside data", printable(name))
		}
	}
	return ""
}

// otherHeader says of an attribute that is missing by which header it seems to be meant.
func (d *Decoder) otherHeader(f field, headers []Header) string {
	for _, h := range headers {
		name := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(h.Key), "ce_"), "ce-")
		if f < fieldData && headerAttribute(h.Key) == noField && meant([]byte(name), f) {
			return fmt.Sprintf("the header %q seems to be meant: call it ce_%s", printable([]byte(h.Key)), fieldNames[f])
		}
	}
	return ""
}

// memberMeantAs returns the first member of the event in byte order that seems to be meant as a field, ready to print,
// or "".
func memberMeantAs(f field, value []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if attribute([]byte(name)) == noField && meant([]byte(name), f) {
			return printable([]byte(name))
		}
	}
	return ""
}

// meant reports whether a name seems to stand for a field: misspelt, or the tenant by a shorter name. One edit away
// from id, or from type, is much that has nothing to do with it.
func meant(name []byte, f field) bool {
	if plain := plainNames[f]; len(plain) <= len("type") {
		return strings.EqualFold(strings.Trim(string(name), "_-"), plain)
	}
	return isMisspelt(name, plainNames[f]) || f == fieldTenantID && isMisspelt(name, "tenant")
}

// invalidCause says what a value that cannot be seems to be meant as.
func (d *Decoder) invalidCause(f field) string {
	v := &d.fields[f]
	text := v.text()
	whole, digits := parseWhole(text, maxInstantMS)
	switch {
	case f == fieldRevision && v.kind == kindNumber && digits:
		return "is too large, as a time would be: number the revisions 1, 2, 3"
	case f == fieldRevision && v.kind == kindNumber && strings.Trim(text, "0123456789.") == "":
		return "has a point: write 1, not 1.0"
	case (f == fieldRevision || f == fieldStartTime || f == fieldEndTime) && v.kind == kindString && digits:
		return "is in quotes: write the number without"
	case f == fieldVoided && v.kind == kindString && (text == "true" || text == "false"):
		return "is in quotes: write " + text + " without"
	case f == fieldQuantity && strings.HasPrefix(text, "-"):
		return "takes nothing back: to correct an event send it whole with a higher revision " +
			"and the quantity that is right, or with voided true"
	case f == fieldTime && v.kind == kindNumber && digits && whole >= minNumberMS:
		return "is a number, which only startTime and endTime may be: as milliseconds it would be " +
			time.UnixMilli(whole).UTC().Format(time.RFC3339Nano)
	case (f == fieldTime || f == fieldStartTime || f == fieldEndTime) && v.kind == kindString:
		if _, ok := parseTime(strings.Replace(text, " ", "T", 1) + "Z"); ok {
			return "has no zone: end it with Z if it is UTC"
		}
	case (f <= fieldTenantID || f == fieldSubscriptionID || f == fieldAgentID || f == fieldEntryPointID) &&
		v.kind == kindNumber:
		return "is a number: write it in quotes"
	}
	return ""
}

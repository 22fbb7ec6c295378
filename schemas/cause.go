package schemas

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// cause returns what seems to lie behind a refusal, where the field at fault is
// only its symptom, or "". The value is the delivery's.
func (d *Decoder) cause(r *Rejection, mode mode, value []byte) string {
	f := field(max(0, slices.Index(fieldNames[:], r.Field)))
	switch {
	case r.Code == MissingField && d.fields[f].kind == kindString:
		return "" // it is there, and empty as shown
	case r.Code == MissingField && f >= fieldRevision && d.fields[fieldVoided].kind > kindTrue:
		return fmt.Sprintf("voided is %s and so takes nothing back: write true or false, without quotes",
			d.shown(fieldVoided))
	case r.Code == MissingField && mode != binaryMode:
		return d.elsewhere(f, value)
	case r.Code == InvalidField:
		return d.invalidCause(f)
	}
	return ""
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
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return ""
	}
	spelling := strings.NewReplacer("_", "", "-", "")
	isField := func(name string) bool {
		return strings.ToLower(spelling.Replace(name)) == plainNames[f]
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch {
		case !isField(name):
		case f >= fieldRevision:
			return fmt.Sprintf("the event has %q beside data, and it belongs in data", printable([]byte(name)))
		default:
			return fmt.Sprintf("the event has %q, which seems to be meant", printable([]byte(name)))
		}
	}
	for _, name := range d.unknown {
		if f < fieldData && isField(string(name)) {
			return fmt.Sprintf("data has %q, and it belongs beside data", printable(name))
		}
	}
	return ""
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
		return "takes nothing back: to correct an event send it whole with a higher revision and the quantity that is right, or with voided true"
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

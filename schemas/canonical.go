package schemas

import (
	"strconv"
	"time"
)

// AppendCanonical appends the canonical form of a valid event's content (R8)
// to dst: RFC 8785 JSON of its type, time, and the data fields that its type
// knows, with those that are absent or default left out. Two deliveries have
// the same content when they have the same canonical form.
func (e *Event) AppendCanonical(dst []byte) []byte {
	dst = append(dst, '{')
	if e.Agent != "" {
		dst = appendString(append(dst, `"agentId":`...), e.Agent)
		dst = append(dst, ',')
	}
	if e.Channel != "" {
		dst = appendString(append(dst, `"channel":`...), e.Channel)
		dst = append(dst, ',')
	}
	if e.EndMS != Absent {
		dst = appendInstant(append(dst, `"endTime":`...), e.EndMS)
		dst = append(dst, ',')
	}
	if e.EntryPoint != "" {
		dst = appendString(append(dst, `"entryPointId":`...), e.EntryPoint)
		dst = append(dst, ',')
	}
	if e.Class != "" {
		dst = appendString(append(dst, `"licenceClass":`...), e.Class)
		dst = append(dst, ',')
	}
	if e.Quantity != 0 {
		dst = appendQuantity(append(dst, `"quantity":`...), e.Quantity)
		dst = append(dst, ',')
	}
	if e.Revision != 0 {
		dst = strconv.AppendInt(append(dst, `"revision":`...), int64(e.Revision), 10)
		dst = append(dst, ',')
	}
	if e.StartMS != Absent {
		dst = appendInstant(append(dst, `"startTime":`...), e.StartMS)
		dst = append(dst, ',')
	}
	if e.Subscription != "" {
		dst = appendString(append(dst, `"subscriptionId":`...), e.Subscription)
		dst = append(dst, ',')
	}
	dst = appendInstant(append(dst, `"time":`...), e.TimeMS)
	dst = appendString(append(dst, `,"type":`...), e.Type.String())
	if e.Voided {
		dst = append(dst, `,"voided":true`...)
	}
	return append(dst, '}')
}

// appendString appends a JSON string. A valid event has no control characters,
// so a quote and a backslash are all that RFC 8785 has escaped.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// appendInstant appends UTC epoch milliseconds as a JSON string of RFC 3339.
func appendInstant(dst []byte, ms int64) []byte {
	return time.UnixMilli(ms).UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000Z"`)
}

// appendQuantity appends millionths as a JSON string of a decimal number
// without trailing zeros.
func appendQuantity(dst []byte, millionths int64) []byte {
	dst = append(dst, '"')
	dst = strconv.AppendInt(dst, millionths/1e6, 10)
	if fraction := millionths % 1e6; fraction != 0 {
		dst = append(dst, '.')
		for unit := int64(1e5); fraction != 0; unit /= 10 {
			dst = append(dst, '0'+byte(fraction/unit))
			fraction %= unit
		}
	}
	return append(dst, '"')
}

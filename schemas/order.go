package schemas

// Order is where a refused delivery says that it stands among those of its
// event (R8), as far as that could be read.
type Order struct {
	Revision int32
	// HasRevision is false where there is a revision that could not be read, or
	// no data in which to look for one.
	HasRevision bool
	TimeMS      int64 // UTC epoch milliseconds
	HasTime     bool
}

// Order reads where a refused delivery stands. It is for deliveries whose
// identity could be read.
func (d *Decoder) Order(topic Type, headers []Header, value []byte) (o Order) {
	var e Event
	if d.Decode(topic, headers, value, &e) == nil {
		return Order{e.Revision, true, e.TimeMS, true}
	}
	if revision := &d.fields[fieldRevision]; revision.absent() {
		o.HasRevision = d.fields[fieldData].kind == kindObject
	} else if n, ok := parseWhole(revision.text(), maxRevision); ok && revision.kind == kindNumber {
		o.Revision, o.HasRevision = int32(n), true
	}
	if time := &d.fields[fieldTime]; time.kind == kindString {
		o.TimeMS, o.HasTime = parseTime(time.text())
	}
	return o
}

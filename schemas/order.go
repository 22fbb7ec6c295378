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

// Answered reports whether what was accepted of the event answers the refused delivery (R24): the highest revision of
// it is as high or, where the refused one's cannot be read, the latest time is as late. timeRevision is the highest
// revision accepted with that time. A first delivery, of revision 0, does not answer what may correct it: the time of
// Connect usage is that of the usage itself, in its corrections too.
func (o Order) Answered(revision int32, timeMS int64, timeRevision int32) bool {
	if o.HasRevision {
		return revision >= o.Revision
	}
	return o.HasTime && (timeMS > o.TimeMS || timeMS == o.TimeMS && timeRevision > 0)
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

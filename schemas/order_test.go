package schemas

import "testing"

func TestOrderOfARefusedDelivery(t *testing.T) {
	const time = 1_791_993_600_000 // 2026-10-14T16:00:00Z
	event := func(data string) string {
		return `{"specversion":"1.0","id":"a","source":"/t","type":"connect.usage","time":"2026-10-14T16:00:00Z","tenantid":"acme","data":` + data + `}`
	}
	binary := []Header{{"ce_specversion", []byte("1.0")}, {"ce_id", []byte("a")}, {"ce_source", []byte("/t")},
		{"ce_type", []byte("connect.usage")},
		{"ce_time", []byte("2026-10-14T16:00:00Z")}, {"ce_tenantid", []byte("acme")}}
	for _, c := range []struct {
		value   string
		headers []Header
		want    Order
	}{
		{event(`{"channel":"sms","quantity":-1,"revision":3}`), nil, Order{3, true, time, true}},
		{event(`{"channel":"sms","quantity":-1}`), nil, Order{0, true, time, true}},
		{event(`{"channel":"sms","quantity":-1,"revision":null}`), nil, Order{0, true, time, true}},
		{event(`{"channel":"sms","quantity":1,"revision":1.0}`), nil, Order{0, false, time, true}},
		{event(`{"channel":"sms","quantity":1,"revision":"1"}`), nil, Order{0, false, time, true}},
		{event(`{"channel":"sms","quantity":1,"revision":1791993600000}`), nil, Order{0, false, time, true}},
		{event(`7`), nil, Order{0, false, time, true}},
		{`{"specversion":"1.0","id":"a","source":"/t","type":"connect.usage","time":"now","tenantid":"acme","data":{"revision":2}}`, nil, Order{2, true, 0, false}},
		{`{"channel":"sms","quantity":-1,"revision":4}`, binary, Order{4, true, time, true}},
		{`{"channel":"sms","quantity":-1}`, binary, Order{0, true, time, true}},
		{``, binary, Order{0, false, time, true}},
		{event(`{"channel":"sms","quantity":1,"revision":5}`), nil, Order{5, true, time, true}},
	} {
		var d Decoder
		if got := d.Order(ConnectUsage, c.headers, []byte(c.value)); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.value, got, c.want)
		}
	}
}

// TestR24_Answered: a refused delivery is answered by a revision as high or, where it has none that can be read, by a time
// as late, but for the time of a first delivery, which it may correct.
func TestR24_Answered(t *testing.T) {
	const noon = 1_791_979_200_000
	readable := func(revision int32) Order { return Order{revision, true, noon, true} }
	timeOnly := Order{TimeMS: noon, HasTime: true}
	for _, c := range []struct {
		name         string
		order        Order
		revision     int32
		timeMS       int64
		timeRevision int32
		want         bool
	}{
		{"the first, sent again as it was meant", readable(0), 0, noon, 0, true},
		{"a correction, and what it corrects at a later time", readable(1), 0, noon + 1, 0, false},
		{"a correction that was sent again at an earlier time", readable(1), 1, noon - 1, 1, true},
		{"a correction, and a later one", readable(1), 2, noon, 2, true},
		{"no revision, and an earlier time", timeOnly, 7, noon - 1, 7, false},
		{"no revision, and a first delivery of the same time", timeOnly, 0, noon, 0, false},
		{"no revision, and a first delivery of the same time, corrected earlier", timeOnly, 1, noon, 0, false},
		{"no revision, and a correction of the same time", timeOnly, 1, noon, 1, true},
		{"no revision, and a later time", timeOnly, 0, noon + 1, 0, true},
		{"neither revision nor time", Order{}, 7, noon, 7, false},
	} {
		if got := c.order.Answered(c.revision, c.timeMS, c.timeRevision); got != c.want {
			t.Errorf("%s: answered is %v", c.name, got)
		}
	}
}

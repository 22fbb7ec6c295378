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

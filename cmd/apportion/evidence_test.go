package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parquet-go/parquet-go"

	"apportion/aggregate"
	usage "apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

// TestParquet: what is written reads back, over more rows than a writer holds, with the same bytes every time.
func TestParquet(t *testing.T) {
	const rows = 2*rowGroup + 1
	of := service.IssuedInvoice{ID: billing.InvoiceName{Subscription: "Sub1", Period: civil.NewMonth(2026, 10)},
		Tenant: &registry.Tenant{ID: "acme"}, Zone: civil.UTC,
		Issue: billing.Issue{Period: civil.NewMonth(2026, 10), Basis: billing.Basis{Basis: aggregate.Basis{
			Positions: []aggregate.Position{{Topic: "usage", Partition: 1, LastOffset: 7}}}}}}
	end, quantity := int64(5000), usage.Decimal38{15: 1}
	row := func(n int) usage.DeliveryRow {
		d := usage.DeliveryRow{Topic: "usage", Offset: int64(n), ID: "x", Type: "agent.session", TimeMS: int64(n)}
		if n%2 == 0 {
			d.EndMS, d.Agent = &end, "a"
		} else {
			d.Channel, d.Quantity = "sms", &quantity
		}
		return d
	}
	write := func() []byte {
		var b bytes.Buffer
		var count int64
		if err := writeParquet(&b, of, &count, func(each func(usage.DeliveryRow) error) error {
			for n := range rows {
				if err := each(row(n)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil || count != rows {
			t.Fatalf("%d rows, %v", count, err)
		}
		return b.Bytes()
	}
	file := write()
	if !bytes.Equal(file, write()) {
		t.Error("the same rows gave other bytes")
	}
	got, err := parquet.Read[usage.DeliveryRow](bytes.NewReader(file), int64(len(file)))
	if err != nil || len(got) != rows {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	for n, d := range got {
		want := row(n)
		if d.Offset != want.Offset || d.TimeMS != want.TimeMS || d.Agent != want.Agent || (d.EndMS == nil) != (want.EndMS == nil) || d.StartMS != nil ||
			(d.Quantity == nil) != (want.Quantity == nil) || d.Quantity != nil && *d.Quantity != quantity {
			t.Fatalf("row %d is %+v", n, d)
		}
	}
	opened, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if len(opened.RowGroups()) != 3 {
		t.Errorf("%d row groups, want 3", len(opened.RowGroups()))
	}
	for key, want := range map[string]string{"invoiceId": "INV-Sub1-202610", "tenantId": "acme", "period": "2026-10", "timeZone": "UTC",
		"positions": `[{"topic":"usage","partition":1,"lastOffset":7}]`} {
		if value, _ := opened.Lookup(key); value != want {
			t.Errorf("%s is %q, want %q", key, value, want)
		}
	}

	failed := errors.New("the server is gone")
	if err := writeParquet(&bytes.Buffer{}, of, new(int64), func(func(usage.DeliveryRow) error) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v, want what reading failed with", err)
	}
}

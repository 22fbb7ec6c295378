package clickhouse

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Decimal38 is a number with 6 decimals as a Parquet file keeps it: in millionths, 16 bytes of two's complement.
type Decimal38 [16]byte

// DeliveryRow is a delivery as a Parquet file has it. Instants are UTC epoch milliseconds.
type DeliveryRow struct {
	Topic     string `parquet:"topic,dict"`
	Partition int32  `parquet:"partition"`
	Offset    int64  `parquet:"offset,delta"`
	ArrivedMS int64  `parquet:"arrived,timestamp(millisecond),delta"`
	Source    string `parquet:"source,dict"`
	ID        string `parquet:"id"`
	Revision  int32  `parquet:"revision"`
	Voided    bool   `parquet:"voided"`
	Type      string `parquet:"type,dict"`
	TimeMS    int64  `parquet:"time,timestamp(millisecond),delta"`
	// StartMS and EndMS are nil where the delivery has none.
	StartMS *int64 `parquet:"start,timestamp(millisecond)"`
	EndMS   *int64 `parquet:"end,timestamp(millisecond)"`
	// These are null where the delivery has none.
	Agent        string     `parquet:"agent,dict,optional"`
	EntryPoint   string     `parquet:"entry_point,dict,optional"`
	Channel      string     `parquet:"channel,dict,optional"`
	Quantity     *Decimal38 `parquet:"quantity,decimal(6:38)"`
	Subscription string     `parquet:"subscription,dict,optional"`
	Class        string     `parquet:"licence_class,dict,optional"`
}

// DailyRow is the usage of one meter on one date as a Parquet file has it.
type DailyRow struct {
	Date  int32  `parquet:"date,date"` // in the tenant's zone
	Meter string `parquet:"meter,dict"`
	// Subscription is null for the tenant as a whole.
	Subscription string `parquet:"subscription,dict,optional"`
	Peak         int64  `parquet:"peak"`
	// PeakMS is nil where the peak is 0.
	PeakMS       *int64    `parquet:"peak_at,timestamp(millisecond)"`
	Events       int64     `parquet:"events"`
	Milliseconds int64     `parquet:"milliseconds"`
	Units        Decimal38 `parquet:"units,decimal(6:38)"`
	Agents       int64     `parquet:"agents"`
}

// ExportDeliveries hands over the deliveries behind a tenant's usage of `[fromMS, toMS)`, in the order of their records
// on Kafka: of every event of which any delivery starts then or is live then (R12) all of them, as far as the
// positions go.
func (s *Store) ExportDeliveries(ctx context.Context, tenant string, fromMS, toMS int64, positions []aggregate.Position,
	rules aggregate.Rules, each func(DeliveryRow) error) error {
	q := newQuery(ctx)
	q.parameters["tenant"] = tenant
	q.parameter("from_ms", fromMS)
	q.parameter("to_ms", toMS)
	q.parameter("open_ms", openMS(rules))
	q.parameter("lo", fromMS-max(schemas.MaxSessionMS, openMS(rules)))
	bound := aggregate.ReadBound{Positions: positions, ArrivedBy: aggregate.EndOfTime}
	return s.rows(q, `
		WITH known AS (SELECT * FROM usage_events WHERE tenant = {tenant:String} AND `+known(bound)+`)
		SELECT topic, partition, offset, arrived_ms, source, id, revision, voided, toString(type), time_ms, start_ms, end_ms,
			agent, entry_point, channel, quantity, subscription, toString(class)
		FROM known
		WHERE (source, id) IN (
			SELECT source, id FROM known
			WHERE occurred_ms >= {from_ms:Int64} AND occurred_ms < {to_ms:Int64}
				OR type != 'connect.usage' AND start_ms >= {lo:Int64} AND start_ms < {from_ms:Int64}
					AND if(end_ms < 0, start_ms + {open_ms:Int64}, end_ms) > {from_ms:Int64})
		ORDER BY topic, partition, offset
		LIMIT 1 BY topic, partition, offset`, func(rows driver.Rows) error {
		var d DeliveryRow
		var start, end int64
		var quantity decimal.Decimal
		if err := rows.Scan(&d.Topic, &d.Partition, &d.Offset, &d.ArrivedMS, &d.Source, &d.ID, &d.Revision, &d.Voided,
			&d.Type, &d.TimeMS, &start, &end,
			&d.Agent, &d.EntryPoint, &d.Channel, &quantity, &d.Subscription, &d.Class); err != nil {
			return err
		}
		if start >= 0 {
			d.StartMS = &start
		}
		if end >= 0 {
			d.EndMS = &end
		}
		if !quantity.IsZero() { // which no usage is: it is a delivery without one
			millionths, err := decimal38(quantity)
			if err != nil {
				return err
			}
			d.Quantity = &millionths
		}
		return each(d)
	})
}

// ExportDaily hands over a tenant's usage of the dates `[from, to)` that is current, in the order of date, meter and
// subscription.
func (s *Store) ExportDaily(ctx context.Context, tenant string, from, to civil.Date, each func(DailyRow) error) error {
	q := newQuery(ctx)
	q.parameters["tenant"], q.parameters["from"], q.parameters["to"] = tenant, from.String(), to.String()
	return s.rows(q, `
		SELECT date, meter, subscription, toInt64(peak), peak_ms, toInt64(events), milliseconds, units,
			toInt64(agents)
		FROM v_usage_daily
		WHERE tenant = {tenant:String} AND date >= toDate32({from:String}) AND date < toDate32({to:String})
		ORDER BY date, meter, subscription`, func(rows driver.Rows) error {
		var d DailyRow
		var date time.Time
		var peakMS int64
		var units decimal.Decimal
		if err := rows.Scan(&date, &d.Meter, &d.Subscription, &d.Peak, &peakMS, &d.Events, &d.Milliseconds, &units,
			&d.Agents); err != nil {
			return err
		}
		d.Date = int32(civil.DateOfTime(date))
		if d.Peak > 0 {
			d.PeakMS = &peakMS
		}
		var err error
		if d.Units, err = decimal38(units); err != nil {
			return err
		}
		return each(d)
	})
}

// decimal38 returns a number that has at most 6 decimals and 38 digits, as the columns of the tables do.
func decimal38(d decimal.Decimal) (Decimal38, error) {
	var bytes Decimal38
	millionths := d.Shift(6)
	whole := millionths.BigInt()
	if !millionths.IsInteger() || whole.BitLen() > 127 {
		return bytes, fmt.Errorf("%s has more digits than a quantity can have; restore the tables", d)
	}
	if whole.Sign() < 0 {
		whole.Add(whole, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	whole.FillBytes(bytes[:])
	return bytes, nil
}

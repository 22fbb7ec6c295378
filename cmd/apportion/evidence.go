package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/spf13/cobra"

	usage "apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

func newBillEvidenceCommand(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "evidence INVOICE --out DIR",
		Short: "Write the usage behind an issued invoice as Parquet files",
		Long: `Writes what the invoice's tenant used in the period to DIR/INVOICE/, whole or not at all:
deliveries.parquet has every delivery of the events that start or are live in the period, as
far as the invoice knew them, with its place on Kafka; daily.parquet has the figures of each
date, meter and subscription, as they are now. Overage is pooled (R15), so they are
of all the tenant's subscriptions. Running it again gives the same bytes while nothing changes.`,
		Example: `  apportion bill evidence INV-Sub100001-202610 --config data/apportion.yaml --out evidence`,
		Args:    cobra.ExactArgs(1),
		RunE:    a.command(func(ctx context.Context, args []string) error { return a.evidence(ctx, args[0], out) }),
	}
	cmd.Flags().StringVar(&out, "out", "", "write below this `directory`")
	cmd.MarkFlagRequired("out")
	cmd.MarkFlagDirname("out")
	return cmd
}

func (a *app) evidence(ctx context.Context, invoice, out string) error {
	name, err := billing.ParseInvoiceID(invoice)
	if err != nil {
		return usageError{err}
	}
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	of, err := s.invoices.FindIssued(ctx, name)
	if err != nil {
		return err
	}
	rows := map[string]int64{}
	dir, err := export.Directory(out, invoice, func(f *export.Folder) error {
		for _, file := range []string{service.EvidenceDeliveries, service.EvidenceDaily} {
			if err := f.Write(file, func(w io.Writer) (err error) {
				rows[file], err = a.writeEvidence(ctx, s.conn, w, of, file, true)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	deliveries, days := rows[service.EvidenceDeliveries], rows[service.EvidenceDaily]
	result := struct {
		Invoice    string      `json:"invoiceId"`
		Tenant     string      `json:"tenantId"`
		Period     civil.Month `json:"period"`
		Files      string      `json:"files"`
		Deliveries int64       `json:"deliveries"`
		Days       int64       `json:"dailyRows"`
	}{invoice, of.Tenant.ID, of.Issue.Period, dir, deliveries, days}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d deliveries of %s in %s\n", filepath.Join(dir, service.EvidenceDeliveries), deliveries,
			of.Tenant.ID, of.Issue.Period)
		fmt.Fprintf(w, "%s: %d rows of daily usage\n", filepath.Join(dir, service.EvidenceDaily), days)
	})
}

// writeEvidence writes a file of evidence of an invoice, with the ids of agents or without, and counts its rows.
func (a *app) writeEvidence(
	ctx context.Context, conn driver.Conn, w io.Writer, of service.IssuedInvoice, file string, agents bool,
) (rows int64, err error) {
	from, to := of.ID.Period.First(), of.ID.Period.Next().First()
	store := a.usage(conn)
	if file == service.EvidenceDaily {
		err = writeParquet(w, of, &rows, func(each func(usage.DailyRow) error) error {
			return store.ExportDaily(ctx, of.Tenant.ID, from, to, each)
		})
		return rows, err
	}
	err = writeParquet(w, of, &rows, func(each func(usage.DeliveryRow) error) error {
		return store.ExportDeliveries(ctx, of.Tenant.ID, of.Zone.Start(from), of.Zone.Start(to),
			of.Issue.Positions, of.Rules.Rules, func(row usage.DeliveryRow) error {
				if !agents {
					row.Agent = ""
				}
				return each(row)
			})
	})
	return rows, err
}

// rowGroup is how many rows a writer holds in memory before it writes them.
const rowGroup = 50_000

// writeParquet writes the rows that read hands over, and counts them. The file says what it is of and based on.
func writeParquet[Row any](
	w io.Writer, of service.IssuedInvoice, count *int64, read func(each func(Row) error) error,
) error {
	positions, err := json.Marshal(export.Positions(of.Issue.Positions))
	if err != nil {
		return err
	}
	out := parquet.NewGenericWriter[Row](w, parquet.CreatedBy("apportion", "", ""), parquet.Compression(&zstd.Codec{}),
		parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.KeyValueMetadata("invoiceId", of.ID.String()), parquet.KeyValueMetadata("tenantId", of.Tenant.ID),
		parquet.KeyValueMetadata("period", of.Issue.Period.String()), parquet.KeyValueMetadata("timeZone", of.Zone.Name()),
		parquet.KeyValueMetadata("positions", string(positions)))
	*count = 0
	if err := read(func(row Row) error {
		*count++
		_, err := out.Write([]Row{row})
		return err
	}); err != nil {
		return err
	}
	return out.Close()
}

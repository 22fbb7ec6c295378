package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/spf13/cobra"

	usage "apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
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
date, meter and subscription, as they are in force now. Overage is pooled (R15), so they are
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

// evidenceOf is what the evidence of an invoice is taken by.
type evidenceOf struct {
	invoice string
	tenant  *registry.Tenant
	zone    *civil.Zone
	issue   billing.Issue
	rules   billing.Rules // as they were at the issue
}

func (a *app) evidence(ctx context.Context, invoice, out string) error {
	of, err := a.issuedInvoice(ctx, invoice)
	if err != nil {
		return err
	}
	from, to := of.issue.Period.First(), of.issue.Period.Next().First()
	store := a.usage(a.conn)
	deliveries, days := int64(0), int64(0)
	dir, err := export.Directory(out, invoice, func(f *export.Folder) error {
		if err := f.Write("deliveries.parquet", func(w io.Writer) error {
			return writeParquet(w, of, &deliveries, func(each func(usage.DeliveryRow) error) error {
				return store.ExportDeliveries(ctx, of.tenant.ID, of.zone.Start(from), of.zone.Start(to), of.issue.Positions, of.rules.Rules, each)
			})
		}); err != nil {
			return err
		}
		return f.Write("daily.parquet", func(w io.Writer) error {
			return writeParquet(w, of, &days, func(each func(usage.DailyRow) error) error {
				return store.ExportDaily(ctx, of.tenant.ID, from, to, each)
			})
		})
	})
	if err != nil {
		return err
	}
	result := struct {
		Invoice    string      `json:"invoiceId"`
		Tenant     string      `json:"tenantId"`
		Period     civil.Month `json:"period"`
		Files      string      `json:"files"`
		Deliveries int64       `json:"deliveries"`
		Days       int64       `json:"dailyRows"`
	}{invoice, of.tenant.ID, of.issue.Period, dir, deliveries, days}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d deliveries of %s in %s\n", filepath.Join(dir, "deliveries.parquet"), deliveries, of.tenant.ID, of.issue.Period)
		fmt.Fprintf(w, "%s: %d rows of daily usage\n", filepath.Join(dir, "daily.parquet"), days)
	})
}

// issuedInvoice finds an invoice that is issued, by its id.
func (a *app) issuedInvoice(ctx context.Context, invoice string) (of evidenceOf, err error) {
	subscription, period, err := billing.ParseInvoiceID(invoice)
	if err != nil {
		return of, usageError{err}
	}
	biller, err := a.biller(ctx)
	if err != nil {
		return of, err
	}
	for _, tenant := range biller.State.Tenants() {
		if tenant.Subscription(subscription) != nil {
			of.tenant = tenant
		}
	}
	if of.tenant == nil {
		return of, fmt.Errorf("invoice %s: the registry has no subscription %s; `apportion registry show TENANT` lists a tenant's (R2)", invoice, subscription)
	}
	of.invoice = invoice
	chain, err := billing.Issues(biller.State, of.tenant.ID)
	if err != nil {
		return of, err
	}
	issued := slices.DeleteFunc(chain, func(i billing.Issue) bool { return i.Period != period })
	invoices, err := billing.IssuedInvoices(ctx, biller.Lines, issued)
	if err != nil {
		return of, err
	}
	for _, issue := range issued {
		if slices.ContainsFunc(invoices[issue.ID], func(i billing.Invoice) bool { return i.ID == invoice }) {
			of.issue = issue
			if of.rules, err = billing.ParseRules(issue.Rules); err != nil {
				return of, err
			}
			of.zone, err = civil.ReadZone(of.tenant.TimeZone, issue.Zone)
			return of, err
		}
	}
	return of, fmt.Errorf("invoice %s is not issued; `apportion bill issue --period %s` issues what is due", invoice, period)
}

// rowGroup is how many rows a writer holds in memory before it writes them.
const rowGroup = 50_000

// writeParquet writes the rows that read hands over, and counts them. The file says what it is of and rests on.
func writeParquet[Row any](w io.Writer, of evidenceOf, count *int64, read func(each func(Row) error) error) error {
	ledger, err := json.Marshal(export.Positions(of.issue.Positions))
	if err != nil {
		return err
	}
	out := parquet.NewGenericWriter[Row](w, parquet.CreatedBy("apportion", "", ""), parquet.Compression(&zstd.Codec{}), parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.KeyValueMetadata("invoice_id", of.invoice), parquet.KeyValueMetadata("tenant_id", of.tenant.ID),
		parquet.KeyValueMetadata("period", of.issue.Period.String()), parquet.KeyValueMetadata("time_zone", of.zone.Name()),
		parquet.KeyValueMetadata("ledger", string(ledger)))
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

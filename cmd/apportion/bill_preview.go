package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

func newBillPreviewCommand(a *app) *cobra.Command {
	var flags billFlags
	var knownAt string
	var forecast bool
	// What was known at an instant is seen from that instant, unless another is asked for.
	now := func() (time.Time, error) {
		if knownAt == "" {
			return a.clockNow()
		}
		known, err := parseInstantOf("--as-known-at", knownAt)
		flags.knownAt = &known
		return time.UnixMilli(known), err
	}
	cmd := a.billCommand(&cobra.Command{
		Use:   "preview --period P",
		Short: "Show the invoices of a period as they stand",
		Long: `Computes the invoices of a period from what has been taken in so far, and issues nothing.
Open sessions last until now (R12). With --out, writes the files to DIR/PERIOD.draft/.

With --as-known-at, shows the period as it could have been billed at that instant: of the
deliveries and of the changes to the registry only those count that were on Kafka by then.
Now is then that instant, unless --as-of names another.

With --registry, bills the period as if the document had been applied, and sets the result
against the present one, tenant by tenant; --json has what differs line by line. The document
is not applied. Commands that would be refused are listed, and the exit code is then 3.

With --forecast, estimates the month to its end at the rate of the days so far, weekday by weekday,
and sets the estimate beside what stands. An estimate is never written to files.`,
		Example: `  apportion bill preview --config data/apportion.yaml --period 2026-10
  apportion bill preview --config data/apportion.yaml --period 2026-10 --tenant acme --json
  apportion bill preview --config data/apportion.yaml --period 2026-10 --as-of 2026-10-15T12:00:00Z --out drafts
  apportion bill preview --config data/apportion.yaml --period 2026-10 --as-known-at 2026-11-01T09:00:00Z
  apportion bill preview --config data/apportion.yaml --period 2026-10 --registry renewed.yaml
  apportion bill preview --config data/apportion.yaml --period 2026-10 --forecast --tenant acme`,
	}, &flags, now, func(ctx context.Context, flags billFlags) error {
		if flags.registry != "" {
			return a.whatIf(ctx, flags)
		}
		s, err := a.services(ctx)
		if err != nil {
			return err
		}
		if forecast {
			return a.forecast(ctx, s, flags)
		}
		run, leftOut, err := a.preview(ctx, s, flags)
		if err != nil {
			return err
		}
		return a.printRun(run, leftOut)
	})
	cmd.Flags().StringVar(&knownAt, "as-known-at", "",
		"the `instant` by which deliveries and changes to the registry had to be on Kafka to count, in RFC 3339 "+
			"(default: all count)")
	cmd.Flags().StringVar(&flags.registry, "registry", "",
		"bill as if this registry document, a `file` of YAML or JSON or - for standard input, had been applied")
	cmd.MarkFlagFilename("registry", "yaml", "yml", "json")
	cmd.Flags().BoolVar(&forecast, "forecast", false, "estimate the month to its end at the rate of the days so far")
	cmd.MarkFlagsMutuallyExclusive("registry", "out", "forecast")
	cmd.MarkFlagsMutuallyExclusive("as-known-at", "forecast")
	return cmd
}

// preview bills a period without issuing it, and writes the files of the draft.
func (a *app) preview(ctx context.Context, s *services, flags billFlags) (*billing.Run, []*export.Refusal, error) {
	a.warnOfStaleZones()
	draft, err := s.invoices.Preview(ctx, flags.previewRequest())
	if err != nil {
		return nil, nil, err
	}
	for _, h := range draft.Held {
		fmt.Fprintf(a.stderr, "held: %s of %s will not be issued until it is released: %s\n", h.Period, h.Tenant, h.Reason)
	}
	leftOut, err := a.writeFiles(draft.Run, flags.out)
	return draft.Run, leftOut, err
}

func (f billFlags) previewRequest() service.PreviewRequest {
	return service.PreviewRequest{Period: f.period, Tenants: f.tenants, NowMS: f.asOf, KnownAtMS: f.knownAt}
}

// whatIf sets the period under a document that is not applied against the present one.
func (a *app) whatIf(ctx context.Context, flags billFlags) error {
	doc, problems, err := a.readDocument(flags.registry)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return errors.Join(a.printFindings(found(problems), nil),
			fmt.Errorf("%s says nothing to bill by: put right what is listed above", flags.registry))
	}
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	compared, outcomes, err := s.invoices.WhatIf(ctx, flags.previewRequest(), doc)
	if err != nil {
		return err
	}
	result := struct {
		Period   civil.Month        `json:"period"`
		Commands []*service.Outcome `json:"commands"`
		billing.ComparisonJSON
	}{flags.period, orEmpty(outcomes), compared.JSON()}
	if err := a.print(result, func(w io.Writer) {
		writeOutcomes(w, outcomes)
		fmt.Fprintf(w, "\n%s, its totals at present, and as they would be\n\n", flags.period)
		writeTotals(w, append(compared.Tenants, compared.Totals...), "PRESENT", "WHAT IF")
		writeStops(w, compared, "at present", "under the document")
	}); err != nil {
		return err
	}
	return errors.Join(refusedFinding(refusedOf(outcomes), len(outcomes)), stoppedIn(compared))
}

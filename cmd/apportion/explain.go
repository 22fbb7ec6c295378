package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/billing/service"
)

func newExplainCommand(a *app) *cobra.Command {
	var asOf string
	var verify bool
	cmd := &cobra.Command{
		Use:   "explain INVOICE[/LINE]",
		Short: "Show how an invoice or one of its lines came about, down to the deliveries",
		Long: `Shows, of one line or of all, the rule and the figures behind a line, whose price it is and who
pays it, and the deliveries that it is based on, by topic, partition and offset: for an overage
every session that was live at the peak instant, with its subscription and how it came to it.
--json has all of them, however many there are.

An issued line is explained by what its issue was based on, whatever has come in since. Where the
period is not issued, the line is that of a preview as of now, or --as-of.

With --verify, the line is recomputed from those deliveries and the registry alone, by
the rules in plain Go and not by stored figures or SQL: all sessions of the period, for an
overage, since it has to be the greatest. The exit code is 3 if anything differs.`,
		Example: `  apportion explain --config data/apportion.yaml INV-Sub100001-202610/3
  apportion explain --config data/apportion.yaml INV-Sub100001-202610
  apportion explain --config data/apportion.yaml INV-Sub100001-202610/3 --verify
  apportion explain --config data/apportion.yaml INV-Sub100001-202610/3 --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error {
			ask := service.ExplainRequest{Verify: verify}
			var err error
			if strings.Contains(args[0], "/") {
				ask.Invoice, ask.Line, err = billing.ParseLineID(args[0])
			} else {
				ask.Invoice, err = billing.ParseInvoiceID(args[0])
			}
			if err != nil {
				return usageError{err}
			}
			if ask.NowMS, err = parseAsOf(asOf, a.now); err != nil {
				return err
			}
			return a.explain(ctx, ask)
		}),
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "work the line out again from the deliveries and the registry alone")
	asOfFlag(cmd, &asOf)
	return cmd
}

func (a *app) explain(ctx context.Context, ask service.ExplainRequest) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	var read *progress
	ask.Read = func(deliveries int64) {
		if read == nil {
			read = a.progress("deliveries read", -1)
		}
		read.set(deliveries)
	}
	var lines []*service.Explained
	var result any
	var write func(io.Writer)
	if ask.Line == 0 {
		whole, err := s.invoices.ExplainInvoice(ctx, ask)
		if err != nil {
			return err
		}
		lines, result, write = whole.Lines, whole, func(w io.Writer) { writeExplainedInvoice(w, whole) }
	} else {
		line, err := s.invoices.Explain(ctx, ask)
		if err != nil {
			return err
		}
		lines, result, write = []*service.Explained{line}, line, explainedText{line, readable}.write
	}
	if read != nil {
		read.end()
	}
	if err := a.print(result, write); err != nil {
		return err
	}
	if slices.ContainsFunc(lines, func(e *service.Explained) bool { return !e.Agrees() }) {
		return findings("the line is not what the deliveries add up to, as said above; " +
			"`apportion reconcile --period " + ask.Invoice.Period.String() + "` shows what was lost")
	}
	return nil
}

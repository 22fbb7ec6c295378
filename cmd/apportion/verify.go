package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"apportion/billing/export"
	"apportion/schemas/civil"
)

func newVerifyCommand(a *app) *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check the invoice files of a period against their manifest and what is issued",
		Long: `Checks the directory of a period: that every file is there as its manifest says, and no other,
and that lines.csv and invoices.csv come to the control totals. Where ClickHouse is configured,
both are compared with what is issued there, row by row. Every difference is listed, and the
exit code is then 3.`,
		Example: `  apportion verify --config data/apportion.yaml invoices/2026-10
  apportion verify --offline invoices/2026-10
  apportion verify --offline invoices/2026-10.draft --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error { return a.verify(ctx, args[0], offline) }),
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "check the directory by itself, without ClickHouse")
	return cmd
}

func (a *app) verify(ctx context.Context, dir string, offline bool) error {
	manifest, err := export.ReadManifest(dir)
	if err != nil {
		return err
	}
	found, err := manifest.Verify(dir)
	if err != nil {
		return err
	}
	against := "its manifest"
	if !offline && !manifest.Draft && len(a.cfg.ClickHouse.Addr) > 0 {
		s, err := a.services(ctx)
		if err != nil {
			return err
		}
		issued, err := s.invoices.Issued(ctx, manifest.Period)
		if err != nil {
			return err
		}
		if len(issued.Stopped) > 0 {
			return issued.Stopped[0]
		}
		more, err := export.VerifyIssued(dir, issued)
		if err != nil {
			return err
		}
		found = append(found, more...)
		against += " and what is issued"
	}
	result := struct {
		Dir         string              `json:"dir"`
		Period      civil.Month         `json:"period"`
		Draft       bool                `json:"draft"`
		Against     string              `json:"against"`
		Files       int                 `json:"files"`
		Totals      []export.Total      `json:"totals"`
		Differences []export.Difference `json:"differences"`
	}{dir, manifest.Period, manifest.Draft, against, len(manifest.Files), manifest.Totals, orEmpty(found)}
	if err := a.print(result, func(w io.Writer) {
		for _, d := range found {
			fmt.Fprintln(w, "difference:", d)
		}
		if len(found) > 0 {
			return
		}
		fmt.Fprintf(w, "%s agrees with %s: %d files\n", dir, against, len(manifest.Files))
		for _, t := range manifest.Totals {
			fmt.Fprintln(w, t)
		}
	}); err != nil {
		return err
	}
	if len(found) > 0 {
		return findings(fmt.Sprintf(
			"%s does not agree with %s: %s, as listed above; write the files again with `apportion bill`",
			dir, against, plural(len(found), "difference", "differences")))
	}
	return nil
}

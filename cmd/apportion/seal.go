package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

func newSealCommand(a *app) *cobra.Command {
	var through, reason string
	cmd := &cobra.Command{
		Use:   "seal --through P --reason TEXT",
		Short: "Close all periods up to one for good, for all tenants (R25)",
		Long: `Seals all periods up to one, for all tenants. What reaches them later is kept, reported with the
tenant's next issue as the finding sealed, and adjusts nothing. It is final: nothing unseals a
period.

Every tenant's must be issued, from schedule.from on where that is set, and its grace over by
seal.afterMonths. Without seal.afterMonths in the configuration nothing is ever sealed. Look at
"bill diff" of the last periods before: what they still lack is adjusted by the next issue, or never.

The seal is a command on registry.commands.v1, so every process sees it; v_seals shows it.`,
		Example: `  apportion seal --config data/apportion.yaml --through 2026-03 --reason "the year is audited"`,
		Args:    cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			period, err := civil.ParseMonth(through)
			if err != nil {
				return usagef("--through: %v", err)
			}
			if strings.TrimSpace(reason) == "" {
				return usagef("--reason is empty; say why, for whoever asks later")
			}
			return a.seal(ctx, period, reason)
		}),
	}
	cmd.Flags().StringVar(&through, "through", "", "the last `month` to seal, such as 2026-03")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log and for whoever looks at the periods")
	for _, name := range []string{"through", "reason"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (a *app) seal(ctx context.Context, through civil.Month, reason string) error {
	from, err := a.scheduledFrom()
	if err != nil {
		return err
	}
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	outcomes, err := s.invoices.Seal(ctx, person(), service.SealRequest{Through: through, From: from, Reason: reason})
	if err != nil {
		return err
	}
	return a.printOutcomes(outcomes, []registry.Warning{})
}

// scheduledFrom returns the first period of the schedule, 0 where none is configured: what is before it is for nobody
// to issue.
func (a *app) scheduledFrom() (civil.Month, error) {
	if a.cfg.Schedule.From == "" {
		return 0, nil
	}
	return civil.ParseMonth(a.cfg.Schedule.From)
}

// writeSealing says that a period is sealed, and whether its deliveries are still there.
func writeSealing(w io.Writer, s *service.Sealing) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "sealed: all periods up to %s, at %s by %s: %s; what reaches them adjusts nothing (R25)\n",
		s.Through, s.At, s.By, s.Reason)
	if r := s.Removed; r != nil {
		fmt.Fprintf(w, "removed: the deliveries of the periods up to %s, at %s by %s; their evidence is in %s, "+
			"and what is shown of them is that of the issue\n", r.Through, r.At, r.By, r.Evidence)
	}
}

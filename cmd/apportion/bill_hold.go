package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

func newBillHoldCommand(a *app) *cobra.Command {
	return a.holdCommand(registry.HoldPeriod, &cobra.Command{
		Use:   "hold --period P --tenant T --reason TEXT",
		Short: "Keep a tenant's period from being issued (R20)",
		Long: `Holds a period of a tenant: neither "bill issue" nor the schedule issues it until it is
released, and both report it as held, with the reason. Drafts are made as usual. The hold is a
command on registry.commands.v1, so every process sees it, and registry_log keeps the reason.

It counts for whatever begins to issue after it. A period that is issued already stays so.`,
		Example: `  apportion bill hold --config data/apportion.yaml --period 2026-10 --tenant acme ` +
			`--reason "disputed, case 4711"`,
	})
}

func newBillReleaseCommand(a *app) *cobra.Command {
	return a.holdCommand(registry.ReleasePeriod, &cobra.Command{
		Use:   "release --period P --tenant T --reason TEXT",
		Short: "Let a tenant's period be issued again (R20)",
		Long: `Releases a period that "bill hold" holds. The next "bill issue", or the schedule's next
firing, issues it.`,
		Example: `  apportion bill release --config data/apportion.yaml --period 2026-10 --tenant acme --reason "settled"`,
	})
}

// holdCommand returns a command that gives one of the two.
func (a *app) holdCommand(command string, cmd *cobra.Command) *cobra.Command {
	var period, tenant, reason string
	cmd.Args = cobra.NoArgs
	cmd.RunE = a.command(func(ctx context.Context, _ []string) error {
		month, err := parsePeriod(period)
		if err != nil {
			return err
		}
		if strings.TrimSpace(reason) == "" {
			return usagef("--reason is empty; say why, for whoever asks later")
		}
		return a.hold(ctx, command, tenant, month, reason)
	})
	periodFlag(cmd, &period)
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose period")
	cmd.MarkFlagRequired("tenant")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log and for whoever looks at the period")
	cmd.MarkFlagRequired("reason")
	return cmd
}

func (a *app) hold(ctx context.Context, command, tenant string, period civil.Month, reason string) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	outcomes, err := s.registry.Hold(ctx, person(), command, registry.Hold{Tenant: tenant, Period: period, Reason: reason})
	if err != nil {
		return err
	}
	return a.printOutcomes(outcomes, []registry.Warning{})
}

func newBillHoldsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "holds",
		Short: "List the periods that are held",
		Long:  `Lists the periods that "bill hold" keeps from being issued, with the reasons.`,
		Example: `  apportion bill holds --config data/apportion.yaml
  apportion bill holds --config data/apportion.yaml --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			state, err := a.loadRegistry(ctx)
			if err != nil {
				return err
			}
			holds := append([]registry.Hold{}, state.Holds()...)
			return a.print(holds, func(w io.Writer) {
				if len(holds) == 0 {
					fmt.Fprintln(w, "no period is held")
					return
				}
				var rows [][]string
				for _, h := range holds {
					rows = append(rows, []string{h.Period.String(), h.Tenant, strconv.FormatInt(h.Offset, 10), h.Reason})
				}
				writeTable(w, []string{"PERIOD", "TENANT", "OFFSET", "REASON"}, rows, 3)
			})
		}),
	}
}

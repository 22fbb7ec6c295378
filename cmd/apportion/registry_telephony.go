package main

import (
	"context"

	"github.com/spf13/cobra"

	"apportion/billing/registry"
)

func newRegistryChangeTelephonyCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "change-telephony TENANT OPTION --reason TEXT",
		Short: "Change the telephony option of all of a tenant's subscriptions at once (R6)",
		Long: `Changes the telephony option of a tenant, webex_calling, bundled_pstn or vpop, for all of
its subscriptions at once. A document cannot do this: the option is the same for every
subscription of a tenant, and only this command moves them all (R6).`,
		Example: `  apportion registry change-telephony acme vpop --reason "support case 4711" --config data/apportion.yaml`,
		Args:    cobra.ExactArgs(2),
		RunE: a.command(func(ctx context.Context, args []string) error {
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			outcomes, err := s.registry.ChangeTelephony(ctx, person(), args[0], args[1], reason)
			if err == nil {
				err = s.registry.RecordTenants(ctx)
			}
			if err != nil {
				return err
			}
			return a.printOutcomes(outcomes, []registry.Warning{})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	cmd.MarkFlagRequired("reason")
	return cmd
}

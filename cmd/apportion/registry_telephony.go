package main

import (
	"context"

	"apportion/billing/registry"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
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
			outcomes, err := a.giveCommands(ctx, func(state registry.State, timeMS int64) []*outcome {
				_, o := rehearse(state, registry.Command{
					ID: uuid.NewString(), Source: "apportion/registry", TenantID: args[0], TimeMS: timeMS,
					Command: registry.ChangeTelephony, Telephony: args[1], Reason: reason,
				})
				return []*outcome{o}
			})
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

package main

import "github.com/spf13/cobra"

func newRegistryCommand(a *app) *cobra.Command {
	return group("registry", "Change and show tenants, subscriptions and licences (R1-R7)",
		`The registry says who the tenants are: their subscriptions with commitments and prices,
their users' licences and their entry points. A document says how tenants should stand;
"registry apply" gives the commands that get there, on the topic registry.commands.v1, and
each command is accepted or refused whole.`,
		`  apportion registry check -f tenants.yaml
  apportion registry apply -f tenants.yaml --dry-run
  apportion registry show acme`,
		newRegistryApplyCommand(a),
		newRegistryCheckCommand(a),
		newRegistryShowCommand(a),
		newRegistryLosingAccessCommand(a),
		newRegistryChangeTelephonyCommand(a),
		newRegistryRebuildCommand(a),
		newRegistryRestoreCommand(a),
	)
}

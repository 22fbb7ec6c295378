package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newRegistryRebuildCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild",
		Short: "Write the tables of the registry's log again from the topic",
		Long: `Writes registry_log and issued_periods again from registry.commands.v1, and deletes issues
that it does not have. The topic alone decides what stands and what is issued (R20):
nothing is billed from the tables, so this is needed only when "reconcile" says that they
differ, and safe at any time.`,
		Example: `  apportion registry rebuild --config data/apportion.yaml`,
		Args:    cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			commands, err := s.registry.Rebuild(ctx)
			if err != nil {
				return err
			}
			result := struct {
				Commands int `json:"commands"`
			}{commands}
			return a.print(result, func(w io.Writer) {
				fmt.Fprintf(w, "written again: what %d commands come to\n", result.Commands)
			})
		}),
	}
}

func newRegistryRestoreCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore",
		Short: "Write to the topic of the registry what it has lost, from registry_log",
		Long: `Writes to registry.commands.v1 the commands that registry_log has and the topic has not: its end,
or all of it where the topic was recreated. What the topic has must be how registry_log begins,
and registry_log must have every offset, since each command gets the offset that it had, and
with it everything that was decided by it: what stands, what is held, and what is issued (R20).

Stop whatever else may write to the topic before.`,
		Example: `  apportion migrate --config data/apportion.yaml
  apportion registry restore --config data/apportion.yaml`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			written, err := s.registry.Restore(ctx)
			if err != nil {
				return err
			}
			result := struct {
				Written int `json:"written"`
			}{written}
			return a.print(result, func(w io.Writer) {
				if written == 0 {
					fmt.Fprintln(w, "nothing to do: the topic has all that registry_log has")
					return
				}
				fmt.Fprintf(w, "written to the topic: %d commands\n", written)
			})
		}),
	}
}

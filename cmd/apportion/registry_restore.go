package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"apportion/ingest/kafka"
	"apportion/schemas"

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
			conn, err := a.clickhouse(ctx)
			if err != nil {
				return err
			}
			var f registryFold
			if err := f.catchUp(ctx, a); err != nil {
				return err
			}
			if err := a.registryLog(conn).Rebuild(ctx, f.judged); err != nil {
				return err
			}
			result := struct {
				Commands int `json:"commands"`
			}{len(f.judged)}
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
			written, err := a.restoreRegistry(ctx)
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

// restoreRegistry appends to the command topic what only registry_log has, and returns how many commands that are.
func (a *app) restoreRegistry(ctx context.Context) (written int, err error) {
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return 0, err
	}
	client, err := a.kafka()
	if err != nil {
		return 0, err
	}
	kept, err := a.registryLog(conn).Commands(ctx)
	if err != nil {
		return 0, err
	}
	for n, c := range kept {
		if c.Offset != int64(n) {
			return 0, fmt.Errorf("registry_log has no command %d, so none after it would get its offset; restore the table from a backup first", n)
		}
	}
	topic := a.topic(schemas.TopicRegistry)
	next, err := client.ReadLog(ctx, topic, 0, func(offset, _ int64, value []byte) error {
		if offset < int64(len(kept)) && !bytes.Equal(kept[offset].Payload, value) {
			return fmt.Errorf("%s has another command at offset %d than registry_log, so it is another log: delete the topic and run `apportion migrate`, if it has nothing that is needed, and then this again", topic, offset)
		}
		return nil
	})
	if err != nil || next >= int64(len(kept)) {
		return 0, err
	}
	var records []kafka.LogRecord
	for _, c := range kept[next:] {
		records = append(records, kafka.LogRecord{Key: c.Tenant, Value: c.Payload})
	}
	last, err := client.AppendLog(ctx, topic, records...)
	if err == nil && last != int64(len(kept))-1 {
		err = fmt.Errorf("somebody else wrote to %s meanwhile: its end is at %d and not at %d; delete the topic, run `apportion migrate`, and this again", topic, last, len(kept)-1)
	}
	return len(records), err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"apportion/billing/service"
	"apportion/schemas"
)

func newRejectedReplayCommand(a *app) *cobra.Command {
	var flags rejectedFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "replay [TOPIC/PARTITION/OFFSET]...",
		Short: "Publish refused deliveries again that would now be accepted",
		Long: `Publishes refused deliveries again, each to its own topic with the key, headers and payload
that it came with: after an upgrade that reads what an older version refused. Without records
or filters it looks at all that are open, as "rejected list --open" lists them. One that is
answered by an accepted delivery of its event is left alone: it would be a duplicate, a conflict,
or superseded (R8).

Each is decoded first. One that would be refused again is reported and not published, and the
exit code is then 3: the sender must fix it.

What is published is a delivery of its own at a new offset; the refused one stays where it
was, as history. Replaying twice before ingest has taken the first in publishes duplicates,
which count once (R8).`,
		Example: `  apportion rejected replay --config data/apportion.yaml --code invalid_field --dry-run
  apportion rejected replay --config data/apportion.yaml --tenant acme --since 2026-10-14T00:00:00Z
  apportion rejected replay --config data/apportion.yaml usage.agent.v1/0/17`,
		Args: cobra.ArbitraryArgs,
		RunE: a.command(func(ctx context.Context, args []string) error {
			filter, err := a.filter(flags)
			if err != nil {
				return err
			}
			for _, arg := range args {
				record, err := a.parseRecordID(arg)
				if err != nil {
					return err
				}
				filter.Records = append(filter.Records, record)
			}
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			result, err := s.rejected.Replay(ctx, filter, flags.limit, dryRun)
			if err != nil {
				return err
			}
			return errors.Join(a.print(result, func(w io.Writer) { a.writeReplay(w, result) }), refusedAgain(result))
		}),
	}
	flags.register(cmd, 0)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be published, and publish nothing")
	return cmd
}

// writeReplay writes for people what became of dead letters.
func (a *app) writeReplay(w io.Writer, r *service.Replay) {
	if len(r.Deliveries) == 0 {
		fmt.Fprint(w, noneRejected)
		return
	}
	published := "published again"
	if r.DryRun {
		published = "would be published again"
	}
	rows := make([][]string, len(r.Deliveries))
	for i, d := range r.Deliveries {
		outcome := d.Outcome
		if outcome == service.LetterReplayed && r.DryRun {
			outcome = "to be replayed"
		}
		record := schemas.RecordID{Topic: d.Topic, Partition: d.Partition, Offset: d.Offset}
		rows[i] = []string{record.String(), escape(d.Tenant), event(d.Source, d.ID), outcome, a.shorten(d.Reason, 100)}
	}
	writeTable(w, []string{"TOPIC/PARTITION/OFFSET", "TENANT", "SOURCE/ID", "OUTCOME", "REASON"}, rows)
	fmt.Fprintf(w, "\n%s: %d; accepted already: %d; would be refused again: %d\n",
		published, r.Replayed, r.Accepted, r.Refused)
}

// refusedAgain returns the finding that deliveries cannot be replayed, if any cannot.
func refusedAgain(r *service.Replay) error {
	if r.Refused == 0 {
		return nil
	}
	return findings(fmt.Sprintf("would be refused again and were not published: %d; "+
		"have their senders fix them, `apportion rejected show` says how", r.Refused))
}

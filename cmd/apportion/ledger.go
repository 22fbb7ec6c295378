package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"apportion/billing/registry"
	"apportion/ingest"
)

func newLedgerCommand(a *app) *cobra.Command {
	return group("ledger", "Show and accept what will never be taken in (R22)",
		`Kafka deletes records after a while. What it deleted before it was taken in is a hole in the
ledger: nobody knows whose deliveries were in it, so no period is issued while it is open. Have
the deliveries published again, and then accept the hole.`,
		`  apportion ledger holes
  apportion ledger accept --topic usage.connect.v1 --partition 0 --offsets 0-199 --reason "published again, case 4711"`,
		newLedgerHolesCommand(a),
		newLedgerAcceptCommand(a),
	)
}

func newLedgerHolesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "holes",
		Short: "List the offsets that were never taken in",
		Long: `Lists the offsets that no batch of the ledger has: those that are open, which stop every issue,
and those that are accepted, with the reason. The exit code is 3 while one is open.`,
		Example: `  apportion ledger holes --config data/apportion.yaml
  apportion ledger holes --config data/apportion.yaml --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			result, err := s.invoices.Holes(ctx)
			if err != nil {
				return err
			}
			if err := a.print(result, func(w io.Writer) {
				var rows [][]string
				row := func(state, topic string, partition int, first, last int64, reason string) {
					offsets := ingest.OffsetRange{First: first, Last: last}
					rows = append(rows, []string{state, topic, strconv.Itoa(partition), offsets.String(), reason})
				}
				for _, h := range result.Open {
					row("open", h.Topic, h.Partition, h.First, h.Last, "")
				}
				for _, h := range result.Accepted {
					row("accepted", h.Topic, int(h.Partition), h.First, h.Last, h.Reason)
				}
				if len(rows) == 0 {
					fmt.Fprintln(w, "the ledger has no holes")
					return
				}
				writeTable(w, []string{"", "TOPIC", "PARTITION", "OFFSETS", "REASON"}, rows, 3)
			}); err != nil {
				return err
			}
			if open := len(result.Open); open > 0 {
				return findings(plural(open, "hole is", "holes are") +
					" open (R22): have what was in them published again, and accept them")
			}
			return nil
		}),
	}
}

func newLedgerAcceptCommand(a *app) *cobra.Command {
	var topic, offsets, reason string
	var partition int32
	cmd := &cobra.Command{
		Use:   "accept --topic T --partition N --offsets A-B --reason TEXT",
		Short: "Accept that some offsets will never be taken in",
		Long: `Accepts a hole of the ledger: from then on it stops nobody, and every "reconcile" shows it, with
the reason. It must be open as it is given, see "ledger holes". Have its deliveries published
again before; what is published again has offsets of its own. The acceptance is a command on
registry.commands.v1, and final.`,
		Example: `  apportion ledger accept --config data/apportion.yaml --topic usage.connect.v1 --partition 0 ` +
			`--offsets 0-199 --reason "published again, case 4711"`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			r, err := parseOffsets(offsets)
			if err != nil {
				return err
			}
			if strings.TrimSpace(reason) == "" {
				return usagef("--reason is empty; say why, for whoever asks later")
			}
			return a.acceptHole(ctx, registry.Hole{Topic: topic, Partition: partition, First: r.First, Last: r.Last}, reason)
		}),
	}
	cmd.Flags().StringVar(&topic, "topic", "", "the `topic`, prefix included")
	cmd.Flags().Int32Var(&partition, "partition", 0, "its `partition`")
	cmd.Flags().StringVar(&offsets, "offsets", "", "the first and the last `offset` that are gone, such as 0-199")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log and for whoever reconciles")
	for _, name := range []string{"topic", "partition", "offsets", "reason"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// parseOffsets reads a range such as 0-199, or a single offset.
func parseOffsets(s string) (r ingest.OffsetRange, err error) {
	first, last, several := strings.Cut(s, "-")
	if !several {
		last = first
	}
	if r.First, err = strconv.ParseInt(first, 10, 64); err == nil {
		r.Last, err = strconv.ParseInt(last, 10, 64)
	}
	if err != nil || r.First < 0 || r.Last < r.First {
		return r, usagef("--offsets %q is no range of offsets; write the first and the last, such as 0-199", s)
	}
	return r, nil
}

func (a *app) acceptHole(ctx context.Context, hole registry.Hole, reason string) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	outcomes, err := s.invoices.AcceptHole(ctx, person(), hole, reason)
	if err != nil {
		return err
	}
	return a.printOutcomes(outcomes, []registry.Warning{})
}

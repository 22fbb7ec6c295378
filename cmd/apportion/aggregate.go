package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"apportion/aggregate"
	"apportion/billing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/cobra"
)

// aggregateInterval is how long aggregate rests between two looks at whether something has changed.
const aggregateInterval = 2 * time.Second

func newAggregateCommand(a *app) *cobra.Command {
	var untilCaughtUp bool
	cmd := &cobra.Command{
		Use:   "aggregate",
		Short: "Keep the daily usage current",
		Long: `Works out usage by tenant, date, meter and subscription from the deliveries that ingest has
taken in and what the registry says (R8-R13), into usage_daily and usage_balance. Only the
days that something has touched since the last pass are worked out again: by new deliveries,
late ones, revisions and voids, and by changes to the registry.

Runs until interrupted or, with --until-caught-up, brings the figures up to date once. It can
be killed anywhere, repeated, and run twice at once.`,
		Example: `  apportion aggregate --config data/apportion.yaml
  apportion aggregate --config data/apportion.yaml --until-caught-up --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			if !untilCaughtUp {
				return untilInterrupted(ctx, a.keepAggregating(ctx))
			}
			report, err := a.aggregate(ctx)
			if err != nil {
				return err
			}
			return a.print(report, func(w io.Writer) {
				fmt.Fprintf(w, "current as of pass %d; days worked out: %d\n", report.Pass, report.Days)
			})
		}),
	}
	cmd.Flags().BoolVar(&untilCaughtUp, "until-caught-up", false, "bring the figures up to date once")
	return cmd
}

// aggregate makes one pass.
func (a *app) aggregate(ctx context.Context) (aggregate.Report, error) {
	store, err := a.usage(ctx)
	if err != nil {
		return aggregate.Report{}, err
	}
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return aggregate.Report{}, err
	}
	snapshot, err := billing.Snapshot(state, a.billingRules())
	if err != nil {
		return aggregate.Report{}, err
	}
	var progress *progress
	report, err := aggregate.Refresh(ctx, store, snapshot, a.billingRules().Rules, func(done, total int) {
		if progress == nil {
			progress = a.progress("days worked out", int64(total))
		}
		progress.set(int64(done))
	})
	if err == nil && progress != nil {
		progress.end()
	}
	return report, err
}

// authenticationFailed is ClickHouse's code for a user or password that it does not know.
const authenticationFailed = 516

// keepAggregating makes a pass whenever something has changed. A pass that fails is tried again, because what it
// was for has not gone away.
func (a *app) keepAggregating(ctx context.Context) error {
	for {
		if report, err := a.aggregate(ctx); err != nil && ctx.Err() == nil {
			var refused *clickhouse.Exception
			if errors.As(err, new(usageError)) || errors.As(err, &refused) && refused.Code == authenticationFailed {
				return err // trying again would not mend it
			}
			a.log.Error("aggregation failed and will be tried again", "error", err)
		} else if report.Days > 0 {
			a.log.Info("usage is current", "pass", report.Pass, "days", report.Days)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(aggregateInterval):
		}
	}
}

// billingRules returns the configured numbers of the billing rules.
func (a *app) billingRules() billing.Rules {
	return billing.Rules{
		Rules:         aggregate.Rules{OpenSessionHours: a.cfg.Rules.OpenSessionHours},
		IVRPortFactor: int64(a.cfg.Rules.IVRPortFactor),
		GraceDays:     a.cfg.Rules.GraceDays,
	}
}

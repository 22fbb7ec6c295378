package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"apportion/billing/service"
	"apportion/ingest"
	"apportion/schemas/retry"
	"apportion/schemas/typo"
)

// runParts are the parts of run, in the order in which data flows.
var runParts = []string{"ingest", "registry", "aggregate", "issue", "http"}

func newRunCommand(a *app) *cobra.Command {
	var parts []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run everything in one process, until interrupted",
		Long: `Runs all parts in one process, or those that --part names, until interrupted:

  ingest      takes deliveries in, as "apportion ingest"
  registry    keeps registry_log, the verdicts on registry commands, current
  aggregate   keeps the daily usage current, as "apportion aggregate"; what ingest takes in
              beside it is computed at once
  issue       issues what is due, as "apportion bill issue": on start-up, and then whenever
              schedule.issue fires, a cron expression in UTC
  http        the API on http.listen, and health, readiness and metrics on http.ops, as
              "apportion serve"; without it these are served where http.ops is configured

The schedule issues, from the period schedule.from on, every period of every tenant whose grace
is over in the tenant's own zone and that is not issued yet (R20). It keeps nothing of its own:
missed firings are caught up, and any number of processes may have it. With schedule.out it
writes the files of those periods below that directory.

A part that fails is run again after a while. The process ends, with exit code 1 or 2, when
trying again cannot fix it. Killing it loses and doubles nothing.`,
		Example: `  apportion run --config apportion.yaml --set schedule.from=2026-10
  apportion run --config data/apportion.yaml --part ingest --part aggregate`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error { return a.run(ctx, parts) }),
	}
	cmd.Flags().StringArrayVar(&parts, "part", nil,
		"run only this `part`: "+strings.Join(runParts, ", ")+"; can be repeated")
	cmd.RegisterFlagCompletionFunc("part", cobra.FixedCompletions(runParts, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func checkParts(parts []string) error {
	for _, part := range parts {
		if !slices.Contains(runParts, part) {
			return usagef("--part %s: there is no such part%s; it is one of %s",
				part, typo.Hint(part, runParts), strings.Join(runParts, ", "))
		}
	}
	return nil
}

// run runs the parts named, or all, until interrupted.
func (a *app) run(ctx context.Context, parts []string) error {
	if err := checkParts(parts); err != nil {
		return err
	}
	wanted := func(part string) bool { return len(parts) == 0 || slices.Contains(parts, part) }
	if wanted("http") {
		if err := a.checkListen(); err != nil {
			return err
		}
	}
	conn, err := a.openClickHouse()
	if err != nil {
		return err
	}
	s, err := a.newServices(conn)
	if err != nil {
		return err
	}
	metrics := newMetrics()
	var scheduler *service.Scheduler
	if wanted("issue") {
		if scheduler, err = a.newScheduler(s, metrics); err != nil {
			return err
		}
	}
	a.started("run")
	if !wanted("http") {
		stop, err := a.serveOps(conn, metrics)
		if err != nil {
			return err
		}
		defer stop()
	}
	group, ctx := errgroup.WithContext(ctx)
	start := func(part string, run func(context.Context) error) {
		group.Go(func() error { return a.parts.Run(ctx, part, run) })
	}
	if wanted("issue") {
		start("issue", a.withDatabase(scheduler.Run))
	}
	if wanted("http") {
		start("http", func(ctx context.Context) error {
			if err := a.serveHTTP(ctx, s, metrics); err != nil {
				return retry.Permanent(err)
			}
			return nil
		})
	}
	if wanted("registry") {
		recorder := service.NewRecorder(s.log, s.verdicts)
		recorder.Observe = metrics.observeVerdicts
		metrics.registry.MustRegister(metrics.ofRegistry()...)
		start("registry", a.withDatabase(recorder.Run))
	}
	takenIn := func(ingest.Progress) {}
	if wanted("aggregate") {
		aggregator := a.newAggregator(s, metrics)
		takenIn = func(ingest.Progress) { aggregator.Wake() }
		start("aggregate", a.withDatabase(aggregator.Run))
	}
	if wanted("ingest") {
		start("ingest", func(ctx context.Context) error {
			if _, err := a.openShards(ctx); err != nil { // see ingest
				return err
			}
			if err := a.newIngester(conn, s.kafka, false, metrics, takenIn).Run(ctx); err != nil {
				return retry.Permanent(err) // it waits by itself for what waiting can fix
			}
			return nil
		})
	}
	return group.Wait()
}

// authenticationFailed is ClickHouse's code for a user or password that it does not know.
const authenticationFailed = 516

// isPermanent reports whether running a part again cannot fix an error.
func isPermanent(err error) bool {
	var refused *clickhouse.Exception
	return errors.As(err, new(usageError)) || errors.As(err, &refused) && refused.Code == authenticationFailed
}

// withDatabase has a part begin once ClickHouse answers and has the database, of a schema that this release works with.
func (a *app) withDatabase(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		options, err := a.clickhouseOptions()
		if err != nil {
			return err
		}
		if err := a.checkDatabase(ctx, *options); err != nil {
			return err
		}
		if err := a.checkSchema(ctx); err != nil {
			return err
		}
		return run(ctx)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"apportion/aggregate"
	usage "apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas/civil"
	"apportion/schemas/retry"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// aggregateInterval is how long aggregate rests between two looks at whether something has changed, unless it is
// woken before. A look that finds nothing costs ClickHouse a few milliseconds.
const aggregateInterval = 250 * time.Millisecond

func newAggregateCommand(a *app) *cobra.Command {
	var untilCaughtUp, rebuild bool
	var tenants []string
	var period string
	cmd := &cobra.Command{
		Use:   "aggregate",
		Short: "Keep the daily usage current",
		Long: `Computes usage by tenant, date, meter and subscription from the deliveries that ingest has
taken in and what the registry says (R8-R14), into usage_daily. Only the days that something
has changed since the last pass are computed again: by new deliveries, late ones, revisions
and voids, and by changes to the registry.

Runs until interrupted or, with --until-caught-up, brings the figures up to date once. It can
be killed anywhere, repeated, and run twice at once.

With --rebuild the days of the tenants named or of all, in the period named or in all, are computed
again from the deliveries, whatever stands for them: it fixes figures that were lost, doubled
or restored from elsewhere. Figures that were right come out the same.`,
		Example: `  apportion aggregate --config data/apportion.yaml --rebuild --tenant acme --period 2026-10
  apportion aggregate --config data/apportion.yaml
  apportion aggregate --config data/apportion.yaml --until-caught-up --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			if rebuild {
				return a.rebuild(ctx, tenants, period)
			}
			if tenants != nil || period != "" {
				return usageError{errors.New("--tenant and --period go with --rebuild alone; leave them out, or give it too")}
			}
			if !untilCaughtUp {
				conn, err := a.openClickHouse()
				if err != nil {
					return err
				}
				s, err := a.newServices(conn)
				if err != nil {
					return err
				}
				return a.parts.Run(ctx, "aggregate", a.withDatabase(a.newAggregator(s, newMetrics()).Run))
			}
			report, err := a.aggregate(ctx)
			if err != nil {
				return err
			}
			return a.printPass(report, "current as of pass %d; days computed: %d\n")
		}),
	}
	cmd.Flags().BoolVar(&untilCaughtUp, "until-caught-up", false, "bring the figures up to date once")
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "compute figures again, whatever stands for them")
	cmd.Flags().StringArrayVar(&tenants, "tenant", nil, "with --rebuild: those of this tenant alone; can be given more than once")
	cmd.Flags().StringVar(&period, "period", "", "with --rebuild: those of this period alone, such as 2026-10")
	return cmd
}

// aggregate makes one pass.
func (a *app) aggregate(ctx context.Context) (aggregate.Report, error) {
	s, err := a.services(ctx)
	if err != nil {
		return aggregate.Report{}, err
	}
	return s.invoices.Aggregate(ctx, a.lazily("days computed"))
}

// rebuild computes figures again.
func (a *app) rebuild(ctx context.Context, tenants []string, period string) error {
	var of *civil.Month
	if period != "" {
		p, err := parsePeriod(period)
		if err != nil {
			return err
		}
		of = &p
	}
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	report, err := s.invoices.Rebuild(ctx, tenants, of, a.lazily("days computed"))
	if err != nil {
		return err
	}
	return a.printPass(report, "computed again as pass %d; days: %d\n")
}

// printPass prints what a pass did, its number and its days in the words given; a tenant left behind is a finding.
func (a *app) printPass(report aggregate.Report, words string) error {
	if err := a.print(report, func(w io.Writer) {
		fmt.Fprintf(w, words, report.Pass, report.Days)
		for _, b := range report.Behind {
			fmt.Fprintf(w, "left behind: %s: %s\n", b.Tenant, b.Reason)
		}
	}); err != nil {
		return err
	}
	if n := len(report.Behind); n > 0 {
		return findings("the usage of " + plural(n, "tenant", "tenants") + " could not be computed (R22), as listed above")
	}
	return nil
}

// aggregator keeps the daily usage current.
type aggregator struct {
	a        *app
	log      service.CommandLog
	verdicts service.Verdicts
	store    *usage.Store
	metrics  *metrics
	wake     chan struct{}
}

func (a *app) newAggregator(s *services, m *metrics) *aggregator {
	m.registry.MustRegister(m.dirtyDays, m.passes, m.passFailures, m.tenantsBehind)
	return &aggregator{a, s.log, s.verdicts, a.usage(s.conn), m, make(chan struct{}, 1)}
}

// Wake says that something may have changed. It never waits.
func (g *aggregator) Wake() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Run makes a pass whenever something has changed, until ctx is done. A pass that fails ends it: Run again makes
// the pass again, because what it was for has not gone away.
func (g *aggregator) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	snapshots := make(chan aggregate.Snapshot, 1) // the latest
	group.Go(func() error {
		return service.Follow(ctx, g.log, g.verdicts, func(state registry.State, _ []registry.Decided) error {
			snapshot, err := billing.Snapshot(state, g.a.billingRules())
			if err != nil {
				return err
			}
			select {
			case <-snapshots:
			default:
			}
			snapshots <- snapshot
			return nil
		})
	})
	group.Go(func() error {
		var snapshot aggregate.Snapshot
		select {
		case <-ctx.Done():
			return ctx.Err()
		case snapshot = <-snapshots:
		}
		for {
			began := time.Now()
			if err := g.pass(ctx, snapshot); err != nil {
				return err
			}
			// While deliveries pour in, dirty days are recomputed half of the time at the most.
			if !retry.Sleep(ctx, time.Since(began)) {
				return ctx.Err()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case snapshot = <-snapshots:
			case <-g.wake:
			case <-time.After(aggregateInterval):
			}
		}
	})
	return group.Wait()
}

// pass makes a pass, if anything has changed.
func (g *aggregator) pass(ctx context.Context, snapshot aggregate.Snapshot) error {
	began := time.Now()
	report, err := aggregate.Refresh(ctx, g.store, snapshot, g.a.billingRules().Rules, func(done, total int) {
		g.metrics.dirtyDays.Set(float64(total - done))
	})
	if err != nil {
		if ctx.Err() == nil {
			g.metrics.passFailures.Inc()
		}
		return err
	}
	g.metrics.tenantsBehind.Set(float64(len(report.Behind)))
	if report.Days > 0 {
		for _, b := range report.Behind {
			g.a.log.Warn("a tenant is left behind", "tenant", b.Tenant, "reason", b.Reason)
		}
		g.metrics.passes.Observe(time.Since(began).Seconds())
		g.a.log.Info("usage is current", "pass", report.Pass, "days", report.Days, "took", time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// billingRules returns the configured numbers of the billing rules.
func (a *app) billingRules() billing.Rules {
	return billing.Rules{
		Rules:     aggregate.Rules{OpenSessionHours: a.cfg.Rules.OpenSessionHours, IVRPortFactor: int64(a.cfg.Rules.IVRPortFactor)},
		GraceDays: a.cfg.Rules.GraceDays,
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

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
				a.started("aggregate")
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
	cmd.Flags().StringArrayVar(&tenants, "tenant", nil,
		"with --rebuild: those of this tenant alone; can be given more than once")
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

// newAggregator returns the worker that keeps the daily usage current.
func (a *app) newAggregator(s *services, m *metrics) *aggregate.Worker {
	m.registry.MustRegister(m.ofAggregation()...)
	cfg := aggregate.DefaultConfig()
	cfg.Rules = a.billingRules().Rules
	return aggregate.New(cfg, aggregate.Deps{
		Store: s.invoices.Usage,
		Follow: func(ctx context.Context, changed func(aggregate.Snapshot)) error {
			return service.Follow(ctx, s.log, s.verdicts, func(state registry.State, _ []registry.Decided) error {
				snapshot, err := billing.Snapshot(state, a.billingRules())
				if err == nil {
					changed(snapshot)
				}
				return err
			})
		},
		Log:      a.log,
		Progress: func(done, total int) { m.dirtyDays.Set(float64(total - done)) },
		Passed: func(report aggregate.Report, took time.Duration) {
			m.tenantsBehind.Set(float64(len(report.Behind)))
			if report.Days > 0 {
				m.passes.Observe(took.Seconds())
			}
		},
		Failed: m.passFailures.Inc,
	})
}

// billingRules returns the configured numbers of the billing rules.
func (a *app) billingRules() billing.Rules {
	return billing.Rules{
		Rules: aggregate.Rules{
			OpenSessionHours: a.cfg.Rules.OpenSessionHours,
			IVRPortFactor:    int64(a.cfg.Rules.IVRPortFactor),
		},
		GraceDays: a.cfg.Rules.GraceDays,
	}
}

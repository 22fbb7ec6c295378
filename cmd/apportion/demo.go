package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/schemas/civil"

	"github.com/spf13/cobra"
)

// month is a real one, of a bank's call centre, as deliveries and a registry document.
//
//go:embed month
var month embed.FS

// monthPeriod is the period of the shipped month.
const monthPeriod = "1999-02"

type demoFlags struct {
	registry, period, asOf, out, data string
	events                            []string
}

func newDemoCommand(a *app) *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole pipeline once, from deliveries to invoices",
		Long: `Starts Kafka and ClickHouse on this machine, applies the registry, publishes the deliveries,
takes them in, aggregates, reconciles, issues the period, writes its files to DIR/PERIOD/ and
shows the invoices. Without flags that is a real month of a bank's call centre, to out/.

With --data the topics and tables stay in that directory, for "apportion dev --data" to serve
again; without it they are gone at the end. While the grace of the period is not over as of
--as-of, the invoices are a draft and go to DIR/PERIOD.draft/.`,
		Example: `  apportion demo
  apportion demo --registry tenants.yaml --events usage.ndjson.gz --period 2026-10 --out invoices
  apportion demo --data data --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error { return a.demo(ctx, flags) }),
	}
	cmd.Flags().StringVar(&flags.registry, "registry", "", "registry document, a `file` of YAML or JSON (default: the shipped one)")
	cmd.Flags().StringArrayVar(&flags.events, "events", nil, "deliveries, a `file` with one CloudEvent a line, .gz or not; can be repeated (default: the shipped month)")
	cmd.Flags().StringVar(&flags.period, "period", "", "the `month` billed, such as 2026-10 (default: the shipped one's)")
	cmd.Flags().StringVar(&flags.asOf, "as-of", "", "the `instant` that counts as now, in RFC 3339 (default: a year after the end of the period)")
	cmd.Flags().StringVar(&flags.out, "out", "out", "write the invoice files below this `directory`")
	cmd.Flags().StringVar(&flags.data, "data", "", "keep topics and tables in this `directory`")
	for _, name := range []string{"out", "data"} {
		cmd.MarkFlagDirname(name)
	}
	return cmd
}

// demo is the pipeline, a step after the other.
func (a *app) demo(ctx context.Context, flags demoFlags) (err error) {
	if (flags.registry == "") != (len(flags.events) == 0) {
		return usagef("--registry and --events go together: deliveries mean nothing without the tenants they are of")
	}
	if flags.period == "" {
		if flags.registry != "" {
			return usagef("--period is needed with a registry and events of one's own, such as --period 2026-10")
		}
		flags.period = monthPeriod
	}
	period, err := parsePeriod(flags.period)
	if err != nil {
		return err
	}
	yearAfter := func() time.Time {
		return time.UnixMilli(civil.UTC.Start(period.Next().First())).UTC().AddDate(1, 0, 0)
	}
	asOf, err := parseAsOf(flags.asOf, yearAfter)
	if err != nil {
		return err
	}
	if a.cfg.Seller.Name == "" {
		a.cfg.Seller = sampleSeller()
		fmt.Fprintf(a.stderr, "no seller is configured: the invoices are those of a made one, %s\n", a.cfg.Seller.Name)
	}
	scratch, err := os.MkdirTemp("", "apportion-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if flags.data == "" {
		flags.data = filepath.Join(scratch, "data")
	}
	shipped := flags.registry == ""
	if shipped {
		if flags.registry, flags.events, err = unpackMonth(scratch); err != nil {
			return err
		}
	}
	doc, problems, err := a.readDocument(flags.registry)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return errors.Join(a.printFindings(found(problems), nil),
			fmt.Errorf("%s cannot be applied: put right what is listed above", flags.registry))
	}

	a.step("start Kafka and ClickHouse")
	servers, err := a.startServers(ctx, flags.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Stop()) }()
	if _, err := a.migrate(ctx); err != nil {
		return err
	}

	a.step("apply the registry")
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	outcomes, err := s.registry.Apply(ctx, person(), doc)
	if err != nil {
		return err
	}
	refused := 0
	for _, o := range outcomes {
		for _, r := range o.Refusals {
			fmt.Fprintf(a.stderr, "refused: %s\n", refusalText(r, o.Tenant))
		}
		if !o.Accepted {
			refused++
		}
	}
	for _, warning := range service.Warnings(doc, outcomes) {
		a.log.Debug("warning of the registry", "warning", warning.String())
	}

	a.step("publish the deliveries")
	sent, err := a.publish(ctx, flags.events, 0)
	if err != nil {
		return err
	}

	a.step("take them in")
	if _, err := a.ingest(ctx, true); err != nil {
		return err
	}

	a.step("aggregate")
	if _, err := s.invoices.Aggregate(ctx, a.lazily("days computed")); err != nil {
		return err
	}

	a.step("reconcile")
	// All of the deliveries, not those of the period alone, so that each can be seen to be somewhere.
	balance, err := s.invoices.Balance(ctx, civil.NewDate(1970, 1, 1)-1, civil.NewDate(9999, 12, 31)+2)
	if err != nil {
		return err
	}

	run, leftOut, err := a.demoBill(ctx, s, billFlags{period: period, asOf: asOf, out: flags.out, allowFuture: true})
	if err != nil {
		return err
	}

	result := struct {
		Period    civil.Month             `json:"period"`
		Draft     bool                    `json:"draft"`
		Files     string                  `json:"files"`
		Published int64                   `json:"published"`
		Refused   int                     `json:"refusedCommands"`
		Balance   *service.Reconciliation `json:"balance"`
		Invoices  []billing.InvoiceJSON   `json:"invoices"`
		Stopped   []*billing.Stop         `json:"stopped"`
		LeftOut   []*export.Refusal       `json:"leftOut"`
		Findings  []billing.Finding       `json:"findings"`
	}{period, run.Draft, filepath.Join(flags.out, export.Name(run)), sent.Deliveries, refused, balance,
		invoicesOf(run), append([]*billing.Stop{}, run.Stopped...), append([]*export.Refusal{}, leftOut...),
		append([]billing.Finding{}, run.Findings...)}
	if err := a.print(result, func(w io.Writer) {
		writeInvoices(w, run)
		summarize(w, balance)
		fmt.Fprintf(w, "\nThe lines are in %s.\n", filepath.Join(result.Files, "lines.csv"))
		if shipped {
			fmt.Fprintln(w, "README.md explains this month line by line, and docs/tutorial.md leads to a first one of your own.")
		}
		if flags.data != filepath.Join(scratch, "data") {
			fmt.Fprintf(w, "The usage tables can be queried: apportion dev --data %s serves them.\n", flags.data)
		}
	}); err != nil {
		return err
	}
	return errors.Join(refusedFinding(refused, len(outcomes)), sent.finding(), unbalanced(balance), stopped(run), leftOutFinding(leftOut), lacking(run))
}

// demoBill issues the period, or drafts it for all while the grace of any tenant goes on.
func (a *app) demoBill(ctx context.Context, s *services, flags billFlags) (*billing.Run, []*export.Refusal, error) {
	due, err := s.invoices.Due(ctx, flags.period, flags.asOf)
	if err != nil {
		return nil, nil, err
	}
	if !due {
		a.step("preview " + flags.period.String() + ", since its grace is not over")
		return a.preview(ctx, s, flags)
	}
	a.step("issue " + flags.period.String())
	return a.issue(ctx, s, flags)
}

// sampleSeller is who sends the invoices of a demo that no seller is configured for.
func sampleSeller() config.Seller {
	s := config.Default().Seller
	s.Name, s.VATID, s.RegistrationID = "Sample Seller AB", "SE556677889901", "5566778899"
	s.Address.Street, s.Address.City, s.Address.Postcode, s.Address.Country = "Gatan 1", "Stockholm", "111 22", "SE"
	s.Payment.IBAN = "SE4550000000058398257466"
	return s
}

func (a *app) step(what string) { fmt.Fprintln(a.stderr, "→ "+what) }

// unpackMonth writes the shipped month to files.
func unpackMonth(dir string) (document string, events []string, err error) {
	for _, name := range []string{"registry.json", "events.ndjson.gz"} {
		content, err := month.ReadFile("month/" + name)
		if err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", nil, err
		}
	}
	return filepath.Join(dir, "registry.json"), []string{filepath.Join(dir, "events.ndjson.gz")}, nil
}

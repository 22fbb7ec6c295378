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

	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded"
	"apportion/schemas/civil"
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
	serve                             bool
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
again; without it they are gone at the end. With --serve it goes on until interrupted, and
serves the API as "apportion dev" does. While the grace of the period is not over as of
--as-of, the invoices are a draft and go to DIR/PERIOD.draft/.`,
		Example: `  apportion demo
  apportion demo --registry tenants.yaml --events usage.ndjson.gz --period 2026-10 --out invoices
  apportion demo --data data --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error { return a.demo(ctx, flags) }),
	}
	cmd.Flags().StringVar(&flags.registry, "registry", "",
		"registry document, a `file` of YAML or JSON (default: the shipped one)")
	cmd.Flags().StringArrayVar(&flags.events, "events", nil,
		"deliveries, a `file` with one CloudEvent a line, .gz or not; can be repeated (default: the shipped month)")
	cmd.Flags().StringVar(&flags.period, "period", "", "the `month` billed, such as 2026-10 (default: the shipped one's)")
	cmd.Flags().StringVar(&flags.asOf, "as-of", "",
		"the `instant` that counts as now, in RFC 3339 (default: a year after the end of the period)")
	cmd.Flags().StringVar(&flags.out, "out", "out", "write the invoice files below this `directory`")
	cmd.Flags().StringVar(&flags.data, "data", "", "keep topics and tables in this `directory`")
	cmd.Flags().BoolVar(&flags.serve, "serve", false, "serve the API on this machine afterwards, until interrupted")
	for _, name := range []string{"out", "data"} {
		cmd.MarkFlagDirname(name)
	}
	return cmd
}

// demo is the pipeline, a step after the other.
func (a *app) demo(ctx context.Context, flags demoFlags) (err error) {
	period, asOf, err := flags.billed()
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
	in, err := a.demoInput(flags, scratch)
	if err != nil {
		return err
	}

	a.step("start Kafka and ClickHouse")
	servers, err := a.startServers(ctx, in.data)
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
	var d demonstration
	if d.outcomes, err = s.registry.Apply(ctx, person(), in.doc); err != nil {
		return err
	}
	if err := s.registry.RecordTenants(ctx); err != nil {
		return err
	}
	a.showProblems(in.doc, d.outcomes)

	a.step("publish the deliveries")
	if d.sent, err = a.publish(ctx, in.events, 0); err != nil {
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
	d.balance, err = s.invoices.Balance(ctx, civil.NewDate(1970, 1, 1)-1, civil.NewDate(9999, 12, 31)+2)
	if err != nil {
		return err
	}

	bill := billFlags{period: period, asOf: asOf, out: in.out, allowFuture: true}
	if d.run, d.leftOut, err = a.demoBill(ctx, s, bill); err != nil {
		return err
	}
	return a.demoServe(ctx, servers, in, a.printDemo(in, d))
}

// demoServe serves what a demo did, until interrupted, where it is to, and returns what it found.
func (a *app) demoServe(ctx context.Context, servers *embedded.Servers, in demoInput, found error) error {
	if !in.serve || found != nil && !errors.As(found, new(findings)) {
		return found
	}
	a.step("serve the API, until interrupted")
	l, stop, err := a.serveLocally(ctx, in.data)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(a.stderr, "API:           http://%s\ntoken:         %s\nconfiguration: %s\nsign in, once: %s\n",
		a.cfg.HTTP.Listen, l.token, l.config, l.link())
	select {
	case <-ctx.Done():
		return found
	case err := <-servers.Done():
		return errors.Join(found, err)
	}
}

// billed returns the period that is billed, and the instant that counts as now.
func (f demoFlags) billed() (period civil.Month, asOf int64, err error) {
	if (f.registry == "") != (len(f.events) == 0) {
		return period, 0, usagef("--registry and --events go together: " +
			"deliveries mean nothing without the tenants they are of")
	}
	if f.period == "" {
		if f.registry != "" {
			return period, 0, usagef("--period is needed with a registry and events of one's own, such as --period 2026-10")
		}
		f.period = monthPeriod
	}
	if period, err = parsePeriod(f.period); err != nil {
		return period, 0, err
	}
	asOf, err = parseAsOf(f.asOf, func() time.Time {
		return time.UnixMilli(civil.UTC.Start(period.Next().First())).UTC().AddDate(1, 0, 0)
	})
	return period, asOf, err
}

// demoInput is what a demo runs on: the flags, with what is shipped or scratch where they name nothing.
type demoInput struct {
	demoFlags
	doc           *registry.Document
	shipped, kept bool // the events are those of the shipped month; the data stays
}

func (a *app) demoInput(flags demoFlags, scratch string) (in demoInput, err error) {
	in = demoInput{demoFlags: flags, shipped: flags.registry == "", kept: flags.data != ""}
	if !in.kept {
		in.data = filepath.Join(scratch, "data")
	}
	if in.shipped {
		if in.registry, in.events, err = unpackMonth(scratch); err != nil {
			return in, err
		}
	}
	var problems []registry.Problem
	if in.doc, problems, err = a.readDocument(in.registry); err != nil {
		return in, err
	}
	if len(problems) > 0 {
		return in, errors.Join(a.printFindings(found(problems), nil),
			fmt.Errorf("%s cannot be applied: put right what is listed above", in.registry))
	}
	return in, nil
}

// showProblems says which commands are refused and why, and logs what else is wrong with the document.
func (a *app) showProblems(doc *registry.Document, outcomes []*service.Outcome) {
	for _, o := range outcomes {
		for _, r := range o.Refusals {
			fmt.Fprintf(a.stderr, "refused: %s\n", refusalText(r, o.Tenant))
		}
	}
	for _, warning := range service.Warnings(doc, outcomes) {
		a.log.Debug("warning of the registry", "warning", warning.String())
	}
}

// demonstration is what a demo did.
type demonstration struct {
	outcomes []*service.Outcome
	sent     published
	balance  *service.Reconciliation
	run      *billing.Run
	leftOut  []*export.Refusal
}

// printDemo prints what a demo did, and returns what somebody should look at.
func (a *app) printDemo(in demoInput, d demonstration) error {
	refused := refusedOf(d.outcomes)
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
	}{d.run.Period, d.run.Draft, filepath.Join(in.out, export.Name(d.run)), d.sent.Deliveries, refused, d.balance,
		export.InvoicesOf(d.run), orEmpty(d.run.Stopped), orEmpty(d.leftOut), orEmpty(d.run.Findings)}
	if err := a.print(result, func(w io.Writer) {
		writeInvoices(w, d.run)
		summarize(w, d.balance)
		fmt.Fprintf(w, "\nThe lines are in %s.\n", filepath.Join(result.Files, "lines.csv"))
		if in.shipped {
			fmt.Fprintln(w, "README.md explains this month line by line, and docs/tutorial.md leads to a first one of your own.")
		}
		if in.kept {
			fmt.Fprintf(w, "The console shows it, and the usage tables can be queried: apportion dev --data %s serves both.\n",
				in.data)
		}
	}); err != nil {
		return err
	}
	return errors.Join(refusedFinding(refused, len(d.outcomes)), d.sent.finding(),
		unbalanced(d.balance.Differences(), &d.balance.LedgerBalance, d.balance.TableDiffers),
		stopped(d.run), leftOutFinding(d.leftOut), lacking(d.run))
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

package main

import (
	"context"
	"os"
	"os/user"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	stores "apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
)

// services are the use cases, over the servers that are configured.
type services struct {
	conn       driver.Conn
	kafka      *kafka.Client
	events     *service.Events
	deliveries *service.Deliveries
	log        service.CommandLog
	verdicts   service.Verdicts
	registry   *service.Registry
	invoices   *service.Invoices
	rejected   *service.Rejected
	figures    *service.Figures
	pipeline   *service.Pipeline

	// answered and signedIn are told what is counted of the API; they may be nil.
	answered func(web.Answer)
	signedIn func(accepted bool)
}

// services connects to both servers, and returns what can be asked of them. How far billing is is shown as progress.
func (a *app) services(ctx context.Context) (*services, error) {
	if _, err := a.kafka(); err != nil {
		return nil, err
	}
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return nil, err
	}
	s, err := a.newServices(conn)
	if err == nil {
		s.invoices.Progress = a.lazily("tenants billed")
	}
	return s, err
}

// newServices returns the same over a connection that is open, and shows nothing.
func (a *app) newServices(conn driver.Conn) (*services, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	return a.newServicesOn(conn, client.NewLog(a.topic(schemas.TopicRegistry)))
}

// newServicesOn returns the same with a log of the registry.
func (a *app) newServicesOn(conn driver.Conn, log service.CommandLog) (*services, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	s := &services{conn: conn, kafka: client, log: log, verdicts: a.verdicts(conn)}
	s.registry = service.NewRegistry(s.log, s.verdicts, a.now)
	s.registry.Failpoint = a.failpoint
	ledger := ingest.NewLedger(client, conn, a.cfg.Kafka.TopicPrefix)
	s.invoices = service.NewInvoices(service.InvoiceDeps{
		Registry:   s.registry,
		Usage:      a.usage(conn),
		Lines:      a.invoiceLines(conn),
		Ledger:     ledger,
		Findings:   stores.NewFindings(conn),
		Rules:      a.billingRules(),
		Seller:     a.cfg.Seller.Sender(),
		ItemCodes:  a.cfg.Files.ItemCodes,
		TwoPersons: a.cfg.Auth.TwoPersons,

		SealAfterMonths: a.cfg.Seal.AfterMonths,
		Clock:           a.now,
		ServerMS: func(ctx context.Context) (ms int64, err error) {
			err = conn.QueryRow(ctx, "SELECT toUnixTimestamp64Milli(now64(3))").Scan(&ms)
			return ms, err
		},
	})
	s.figures = service.NewFigures(service.FigureDeps{
		Registry: s.registry, Invoices: s.invoices, Store: a.usage(conn), Waiting: ledger,
		Rules: a.billingRules(), Clock: a.now,
	})
	schedule, err := a.schedule()
	if err != nil {
		return nil, err
	}
	s.pipeline = service.NewPipeline(service.PipelineDeps{
		Registry: s.registry, Verdicts: s.verdicts, Store: a.usage(conn), Ledger: ledger, Rules: a.billingRules(),
		Clock: a.now, Schedule: schedule, Firings: &service.Firings{},
	})
	types := map[string]schemas.Type{}
	for _, t := range schemas.Types {
		types[a.topic(t.Topic())] = t
	}
	s.rejected = service.NewRejected(ingest.DeadLetters{ClickHouse: conn, Kafka: client}, types)
	s.events = a.newEvents(s)
	s.deliveries = service.NewDeliveries(service.DeliveryDeps{
		Registry: s.registry, Store: a.usage(conn), Rules: a.billingRules(), Clock: a.now,
	})
	return s, nil
}

// lazily returns what shows how far something is, from the first call on.
func (a *app) lazily(what string) func(done, total int) {
	var shown *progress
	return func(done, total int) {
		if shown == nil {
			shown = a.progress(what, int64(total))
		}
		shown.set(int64(done))
		if done == total {
			shown.end()
			shown = nil
		}
	}
}

// loadRegistry returns the registry as it stands, for those who only read it: they need no ClickHouse.
func (a *app) loadRegistry(ctx context.Context) (registry.State, error) {
	_, state, err := a.readRegistry(ctx)
	return state, err
}

// readRegistry returns the registry with its history, too.
func (a *app) readRegistry(ctx context.Context) (*service.Registry, registry.State, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, registry.State{}, err
	}
	r := service.NewRegistry(client.NewLog(a.topic(schemas.TopicRegistry)), nil, a.now)
	state, err := r.CatchUp(ctx)
	return r, state, err
}

// person is who runs this program by hand.
func person() registry.Actor {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return registry.Actor{Type: "user", ID: name + "@" + host()}
}

func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// now is the process's clock.
func (a *app) now() time.Time {
	if a.clock != nil {
		return a.clock()
	}
	return time.Now()
}

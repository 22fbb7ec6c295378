package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"apportion/billing/web"
	"apportion/cmd/apportion/config"
	"apportion/ingest"
)

func newServeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the API, and health, readiness and metrics",
		Long: `Serves the API on http.listen (default: 127.0.0.1:8080), until interrupted, for whom the
section auth of the configuration names; a token or a browser's session says who asks. Where
others than this machine reach http.listen, auth must name somebody.

Serves for whoever reaches http.ops (default: 127.0.0.1:8081):

  /healthz   200 while the process answers
  /readyz    200 while deliveries are being taken in, else 503 with the reason: Kafka or
             ClickHouse do not answer, a backlog has stood still for half a minute, or the
             tables are of a schema that this release does not work with
  /metrics   for Prometheus; the lag of every partition and the age of the oldest change that
             the daily usage does not show yet, whichever process works on them

An ingest with http.ops configured serves the same of itself, and so does a run of any parts, which
is not ready either while one of them has been failing for longer than a minute.`,
		Example: `  apportion serve --config apportion.yaml
  apportion serve --config apportion.yaml --set http.ops=0.0.0.0:8081`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			if err := a.checkListen(); err != nil {
				return err
			}
			conn, err := a.openClickHouse()
			if err != nil {
				return err
			}
			s, err := a.newServices(conn)
			if err != nil {
				return err
			}
			a.started("serve")
			return a.serveHTTP(ctx, s, newMetrics())
		}),
	}
}

// checkListen refuses an address that others reach when nothing says who may use the API.
func (a *app) checkListen() error {
	if config.Loopback(a.cfg.HTTP.Listen) || a.cfg.Auth.Configured() {
		return nil
	}
	return usagef("http.listen (from %s) is %s, which others than this machine reach, "+
		"and nothing says who may use the API: configure auth.oidc for people or auth.tokens for programs, "+
		"or set http.listen to an address of this machine, "+
		"such as 127.0.0.1:8080", a.sources["http.listen"], a.cfg.HTTP.Listen)
}

// serveHTTP serves the API, and health and metrics apart from it, until ctx is done.
func (a *app) serveHTTP(ctx context.Context, s *services, m *metrics) error {
	m.watch(s)
	stopOps, err := a.serveHealth(cmp.Or(a.cfg.HTTP.Ops, defaultOps), s.conn, m)
	if err != nil {
		return err
	}
	defer stopOps()
	stopAPI, err := a.serveAPI(s)
	if err != nil {
		return err
	}
	defer stopAPI()
	// It answers before ClickHouse does. What it would show of tables that this release does not work with is wrong.
	checked := a.withDatabase(func(context.Context) error { return nil })
	if err := a.parts.Run(ctx, "tables", checked); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// defaultOps is where serve, run and dev serve health and metrics, unless http.ops says otherwise.
const defaultOps = "127.0.0.1:8081"

// serveHealth serves health, readiness and metrics until it is stopped.
func (a *app) serveHealth(address string, conn driver.Conn, m *metrics) (stop func(), err error) {
	listener, err := a.listen("http.ops", address)
	if err != nil {
		return nil, err
	}
	return a.serveHealthOn(listener, conn, m)
}

// serveOps serves the same of a part that serves nothing else, where http.ops is configured.
func (a *app) serveOps(conn driver.Conn, m *metrics) (stop func(), err error) {
	if a.cfg.HTTP.Ops == "" {
		return func() {}, nil
	}
	stop, err = a.serveHealth(a.cfg.HTTP.Ops, conn, m)
	if errors.Is(err, syscall.EADDRINUSE) { // such as by dev, whose configuration this one is given
		a.log.Warn("another process serves on http.ops: this one serves no health and metrics", "address", a.cfg.HTTP.Ops)
		return func() {}, nil
	}
	return stop, err
}

func (a *app) serveHealthOn(listener net.Listener, conn driver.Conn, m *metrics) (stop func(), err error) {
	client, err := a.kafka()
	if err != nil {
		listener.Close()
		return nil, err
	}
	monitor := ingest.NewMonitor(client, conn, a.cfg.Kafka.TopicPrefix, a.log)
	monitor.Check = a.checkSchema
	m.registry.MustRegister(lag{monitor}, aggregationLag{a.usage(conn), a.log})
	unready := func() []string { return append(monitor.Unready(), a.parts.Failing(time.Now())...) }
	ctx, cancel := context.WithCancel(context.Background())
	go monitor.Run(ctx)
	stopServer := a.serveOn(listener, healthHandler(unready, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})))
	a.log.Info("serving /healthz, /readyz and /metrics", "address", listener.Addr().String())
	return func() {
		cancel()
		stopServer()
	}, nil
}

// listen listens on the address of a setting.
func (a *app) listen(key, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; set %s to an address that is free, such as 127.0.0.1:0", err, key)
	}
	return listener, nil
}

// serveOn serves a handler, with limits on what one client can hold up, until it is stopped: what is being answered
// then has a while to end.
func (a *app) serveOn(listener net.Listener, handler http.Handler) (stop func()) {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      web.DefaultConfig().Timeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("HTTP is served no longer", "address", listener.Addr().String(), "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			server.Close()
		}
		<-ended
	}
}

// healthHandler serves what schedulers and Prometheus ask.
func healthHandler(unready func() []string, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if found := unready(); len(found) > 0 {
			http.Error(w, "not ready: "+strings.Join(found, "; "), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

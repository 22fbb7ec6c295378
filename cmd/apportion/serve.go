package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"apportion/ingest"
)

func newServeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve health, readiness and metrics over HTTP",
		Long: `Serves on http.listen (default: 127.0.0.1:8080), until interrupted:

  /healthz   200 while the process answers
  /readyz    200 while deliveries are being taken in, else 503 with the reason: Kafka or
             ClickHouse do not answer, or a backlog has stood still for half a minute
  /metrics   for Prometheus; the lag of every partition and the age of the oldest change that
             the daily usage does not show yet, whichever process works on them

An ingest with http.listen configured serves the same of itself, and so does a run, which
is not ready either while a part of it has been failing for longer than a minute.`,
		Example: `  apportion serve --config data/apportion.yaml
  apportion serve --config data/apportion.yaml --set http.listen=0.0.0.0:8080`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			conn, err := a.openClickHouse()
			if err != nil {
				return err
			}
			stop, err := a.serveHealth(cmp.Or(a.cfg.HTTP.Listen, "127.0.0.1:8080"), conn, newMetrics())
			if err != nil {
				return err
			}
			defer stop()
			<-ctx.Done()
			return nil
		}),
	}
}

// serveHealth serves health, readiness and metrics until it is stopped.
func (a *app) serveHealth(listen string, conn driver.Conn, m *metrics) (stop func(), err error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("%w; set http.listen to an address that is free", err)
	}
	monitor := ingest.NewMonitor(client, conn, a.cfg.Kafka.TopicPrefix, a.log)
	m.registry.MustRegister(lag{monitor}, aggregationLag{a.usage(conn), a.log})
	unready := func() []string { return append(monitor.Unready(), a.parts.Failing(time.Now())...) }
	server := &http.Server{
		Handler:           healthHandler(unready, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})),
		ReadHeaderTimeout: 5 * time.Second,
	}
	ctx, cancel := context.WithCancel(context.Background())
	go monitor.Run(ctx)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("HTTP is served no longer", "error", err)
		}
	}()
	a.log.Info("serving /healthz, /readyz and /metrics", "address", listener.Addr().String())
	return func() {
		cancel()
		server.Close()
	}, nil
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

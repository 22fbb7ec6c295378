package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded"
	"apportion/schemas/tables"
)

func newDevCommand(a *app) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "dev --data DIR",
		Short: "Run Kafka, ClickHouse and the API on this machine until interrupted",
		Long: `Runs Kafka and ClickHouse on loopback, with their data in DIR, creates the topics and tables,
and serves the API, health and metrics as "apportion serve". Says the addresses once all can be
used and writes them to DIR/apportion.yaml, which every other command takes as --config. Data
stays over restarts; ports change.

A link signs a browser in as the local operator, once; programs send the token in DIR/token.
Both are new at every start, and only for this machine.

ClickHouse has a user for analysts, "analyst" without a password, who may only read.

The first start fetches ClickHouse with npm into the user's cache, unless there is a
clickhouse on PATH.`,
		Example: `  apportion dev --data data
  apportion --config data/apportion.yaml publish usage.ndjson.gz`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error { return untilInterrupted(ctx, a.dev(ctx, data)) }),
	}
	cmd.Flags().StringVar(&data, "data", "", "keep topics and tables in this `directory`")
	cmd.MarkFlagRequired("data")
	return cmd
}

func (a *app) dev(ctx context.Context, data string) (err error) {
	servers, err := a.startServers(ctx, data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Stop()) }()
	if _, err := a.migrate(ctx); err != nil {
		return err
	}
	l, stop, err := a.serveLocally(ctx, data)
	if err != nil {
		return err
	}
	defer stop()
	if err := a.printLocal(servers, l); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "ready; pass --config %s to other commands, and interrupt this one to stop\n", l.config)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-servers.Done():
		return err
	}
}

// printLocal says where everything is.
func (a *app) printLocal(servers *embedded.Servers, l *local) error {
	result := struct {
		Kafka          string `json:"kafka"`
		ClickHouse     string `json:"clickhouse"`
		ClickHouseHTTP string `json:"clickhouseHttp"`
		Config         string `json:"config"`
		API            string `json:"api"`
		Ops            string `json:"ops"`
		Token          string `json:"token"`
		SignIn         string `json:"signIn"`
	}{servers.Kafka, servers.ClickHouse, servers.ClickHouseHTTP, l.config, "http://" + a.cfg.HTTP.Listen,
		"http://" + a.cfg.HTTP.Ops, l.token, l.link()}
	return a.print(result, func(w io.Writer) {
		writeTable(w, nil, [][]string{
			{"Kafka", result.Kafka},
			{"ClickHouse", result.ClickHouse},
			{"ClickHouse HTTP", result.ClickHouseHTTP},
			{"configuration", result.Config},
			{"API", result.API},
			{"health and metrics", result.Ops},
			{"token", result.Token},
			{"sign in, once", result.SignIn},
		})
	})
}

// analystUser may read on the embedded ClickHouse, without a password.
const analystUser = "analyst"

// startServers starts the embedded Kafka and ClickHouse on a data directory and turns the configuration to them.
func (a *app) startServers(ctx context.Context, data string) (*embedded.Servers, error) {
	analyst := tables.Analyst{Database: a.cfg.ClickHouse.Database}
	options := embedded.Options{Data: data, Log: a.log, Progress: a.stderr}
	options.ClickHouseProfiles, options.ClickHouseUsers = analyst.UsersXML(analystUser)
	servers, err := embedded.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	a.cfg.Kafka.Brokers, a.cfg.Kafka.TLS, a.cfg.Kafka.SASL = []string{servers.Kafka}, config.TLS{}, config.SASL{}
	a.cfg.ClickHouse.Addr, a.cfg.ClickHouse.Cluster = []string{servers.ClickHouse}, ""
	a.cfg.ClickHouse.User, a.cfg.ClickHouse.Password, a.cfg.ClickHouse.TLS = "default", "", config.TLS{}
	return servers, nil
}

// writeConfig writes the configuration as a file that --config takes, whole or not at all: somebody may be
// waiting for it to appear.
func writeConfig(file string, cfg config.Config) error {
	body, err := yaml.Dump(cfg)
	if err != nil {
		return err
	}
	const head = "# Written by `apportion dev` at every start; change settings with APPORTION_… variables or --set.\n"
	return writePrivate(file, append([]byte(head), body...))
}

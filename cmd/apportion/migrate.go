package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"apportion/ingest"
	"apportion/schemas/tables"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/cobra"
)

func newMigrateCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade the topics and tables",
		Long: `Creates the Kafka topics, the ClickHouse database and its tables, those that are not there
yet, and brings older tables up to date. Topics that exist stay as they are. It is safe to
repeat, and to run again after it was interrupted.`,
		Example: `  apportion migrate --config data/apportion.yaml
  APPORTION_KAFKA_BROKERS=kafka:9092 APPORTION_CLICKHOUSE_ADDR=clickhouse:9000 apportion migrate`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			applied, err := a.migrate(ctx)
			if err != nil {
				return err
			}
			result := struct {
				Database string   `json:"database"`
				Applied  []string `json:"applied"`
			}{a.cfg.ClickHouse.Database, append([]string{}, applied...)}
			return a.print(result, func(w io.Writer) {
				for _, name := range applied {
					fmt.Fprintln(w, "applied", name)
				}
				fmt.Fprintf(w, "topics and tables are up to date, in database %s\n", result.Database)
			})
		}),
	}
}

// migrate creates the topics, the database and the tables that are not there, and returns the names of the files
// of tables that it applied.
func (a *app) migrate(ctx context.Context) (applied []string, err error) {
	brokers, err := a.brokers()
	if err != nil {
		return nil, err
	}
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	if err := ingest.CreateTopics(ctx, brokers, a.cfg.Kafka.TopicPrefix, a.cfg.Kafka.Partitions); err != nil {
		return nil, err
	}

	// A connection to a database that does not exist is refused, so this one names none.
	outside := *options
	outside.Auth.Database = ""
	server := clickhouse.OpenDB(&outside)
	// The name needs no more quoting: the configuration has been checked.
	_, err = server.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+options.Auth.Database+"`")
	if err := errors.Join(a.explain(err), server.Close()); err != nil {
		return nil, err
	}

	db := clickhouse.OpenDB(options)
	applied, err = tables.Migrate(ctx, db)
	return applied, errors.Join(err, db.Close())
}

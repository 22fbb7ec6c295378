package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/cobra"

	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas/tables"
)

func newMigrateCommand(a *app) *cobra.Command {
	var cluster, tenant string
	var grants, check, plan bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade the topics and tables",
		Long: `Creates the Kafka topics, the ClickHouse database and its tables, those that are not there
yet, and brings older tables up to date. It is safe to repeat, and to run again after it was
interrupted.

Topics that exist stay as they are, and are checked: the partitions of the registry's, and of
all how long they keep what, compaction, and the size of records. What could lose deliveries or
registry commands is listed with the command that fixes it, and the exit code is 3.

With --check nothing is changed: the exit code is 3 when something is to be done. With --plan
neither, and what would be done is printed, with its SQL.

With --cluster, or clickhouse.cluster configured, it does so on every node of a ClickHouse
cluster: tables for the tenants of each shard, replicated where ClickHouse has a Keeper, and
tables over the cluster by the same names. The other commands need clickhouse.cluster then.

With --grants nothing is created: it prints the SQL of a role for analysts, who may read and
have limits of time and memory, for somebody who may create roles. With --tenant the role sees
that tenant's rows alone. Print and run it again after an upgrade.`,
		Example: `  apportion migrate --config data/apportion.yaml
  APPORTION_KAFKA_BROKERS=kafka:9092 APPORTION_CLICKHOUSE_ADDR=clickhouse:9000 apportion migrate
  apportion migrate --config apportion.yaml --check
  apportion migrate --config apportion.yaml --cluster metering
  apportion migrate --config apportion.yaml --grants --tenant acme | clickhouse-client`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			if grants {
				return a.grants(ctx, tenant)
			}
			if tenant != "" {
				return usagef("--tenant goes with --grants alone; leave it out, or give it too")
			}
			if check || plan {
				return a.planMigration(ctx, check, plan)
			}
			return a.migrateCommand(ctx)
		}),
	}
	cmd.Flags().BoolVar(&grants, "grants", false, "print the SQL of a role that may read, and create nothing")
	cmd.Flags().BoolVar(&check, "check", false, "change nothing; exit code 3 when something is to be done")
	cmd.Flags().BoolVar(&plan, "plan", false, "change nothing; print what would be done")
	cmd.MarkFlagsMutuallyExclusive("grants", "check")
	cmd.MarkFlagsMutuallyExclusive("grants", "plan")
	cmd.Flags().StringVar(&tenant, "tenant", "", "with --grants: the `tenant` whose rows the role sees")
	cmd.Flags().StringVar(&cluster, "cluster", "",
		"create the tables over a ClickHouse `cluster`: --set clickhouse.cluster=…")
	cmd.PreRun = func(*cobra.Command, []string) {
		if cluster != "" {
			a.set = append(a.set, "clickhouse.cluster="+cluster)
		}
	}
	return cmd
}

// migrateCommand migrates, checks the topics, and says what it did and what is still to be done.
func (a *app) migrateCommand(ctx context.Context) error {
	applied, err := a.migrate(ctx)
	if err != nil {
		return err
	}
	client, err := a.kafka()
	if err != nil {
		return err
	}
	faults, unseen, err := client.CheckTopics(ctx, a.topics())
	if err != nil {
		return err
	}
	a.logUnseen(unseen)
	result := migration{a.cfg.ClickHouse.Database, a.cfg.ClickHouse.Cluster,
		orEmpty(applied), orEmpty(faults), orEmpty(unseen)}
	err = a.print(result, func(w io.Writer) { writeMigration(w, result) })
	if err == nil && len(faults) > 0 {
		err = findings("deliveries or registry commands can be lost: " +
			plural(len(faults), "configuration of a topic is", "configurations of topics are") +
			" not as needed, as listed above")
	}
	return err
}

// logUnseen says what Kafka did not let be checked.
func (a *app) logUnseen(unseen []string) {
	for _, what := range unseen {
		a.log.Warn("not checked: " + what + "; look at it with kafka-configs.sh --describe --entity-type topics")
	}
}

// migration is what was migrated, and what the topics lack.
type migration struct {
	Database string             `json:"database"`
	Cluster  string             `json:"cluster,omitempty"`
	Applied  []string           `json:"applied"`
	Topics   []kafka.TopicFault `json:"topics"`
	Unseen   []string           `json:"unseen"`
}

// writeMigration writes what was migrated for people.
func writeMigration(w io.Writer, m migration) {
	for _, name := range m.Applied {
		fmt.Fprintln(w, "applied", name)
	}
	for _, fault := range m.Topics {
		commands := ""
		if fault.Config == "partitions" {
			commands = refill
		}
		fmt.Fprintf(w, "%v%s\n", fault, commands)
	}
	what := "topics and tables"
	if len(m.Topics) > 0 {
		what = "tables"
	}
	of := ""
	if m.Cluster != "" {
		of = " of every node of the cluster " + m.Cluster
	}
	fmt.Fprintf(w, "%s are up to date, in database %s%s\n", what, m.Database, of)
}

// topics returns the topics as they are to be.
func (a *app) topics() kafka.Topics {
	k := a.cfg.Kafka
	return kafka.Topics{
		Prefix: k.TopicPrefix, Partitions: k.Partitions,
		Retention: time.Duration(k.RetentionDays) * 24 * time.Hour,
	}
}

// migrate creates the topics, the database and the tables that are not there, and returns the names of the files
// of tables that it applied.
func (a *app) migrate(ctx context.Context) (applied []string, err error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	if err := client.CreateTopics(ctx, a.topics()); err != nil {
		return nil, err
	}

	if a.cfg.ClickHouse.Cluster != "" {
		return a.migrateCluster(ctx, options)
	}

	// A connection to a database that does not exist is refused, so this one names none.
	outside := *options
	outside.Auth.Database = ""
	server := clickhouse.OpenDB(&outside)
	if err = a.connectError(server.PingContext(ctx)); err == nil {
		_, err = a.checkCluster(ctx, server)
	}
	if err == nil {
		// The name needs no more quoting: the configuration has been checked.
		_, err = server.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+options.Auth.Database+"`")
	}
	if err := errors.Join(err, server.Close()); err != nil {
		return nil, err
	}

	db := clickhouse.OpenDB(options)
	applied, err = tables.Migrate(ctx, db)
	return applied, errors.Join(schemaError(err), db.Close())
}

// grants prints the SQL of the role of an analyst.
func (a *app) grants(ctx context.Context, tenant string) error {
	if tenant != "" && !registry.ValidID(tenant) {
		return usagef("--tenant %s: that is no id of a tenant (R1)", tenant)
	}
	options, err := a.clickhouseOptions()
	if err != nil {
		return err
	}
	if err := a.checkDatabase(ctx, *options); err != nil {
		return err
	}
	db := clickhouse.OpenDB(options)
	defer db.Close()
	analyst, err := tables.NewAnalyst(ctx, db, a.cfg.ClickHouse.Database, a.cfg.ClickHouse.Cluster, tenant)
	if err != nil {
		return err
	}
	result := struct {
		Role       string   `json:"role"`
		Statements []string `json:"statements"`
		User       []string `json:"user"`
	}{analyst.Role(), analyst.SQL(), analyst.UserSQL("anna")}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintln(w, "-- For each user of the role besides, such as anna:")
		for _, statement := range result.User {
			fmt.Fprintf(w, "-- %s;\n", statement)
		}
		for _, statement := range result.Statements {
			fmt.Fprintf(w, "%s;\n", statement)
		}
	})
}

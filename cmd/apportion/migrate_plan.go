package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/ingest/kafka"
	"apportion/schemas/tables"
)

// migrationPlan is what a migration would do, and what would be left to do by hand.
type migrationPlan struct {
	Database string `json:"database"`
	Cluster  string `json:"cluster,omitempty"`
	// Newest is the version of the schema that the tables would be of, unless they are newer.
	Newest int64              `json:"newest"`
	Tables []tables.Plan      `json:"tables"`
	Create []kafka.NewTopic   `json:"create"`
	Topics []kafka.TopicFault `json:"topics"`
	Unseen []string           `json:"unseen"`
}

// planMigration prints what a migration would do, if that is asked for, and finds with check whether it is anything.
func (a *app) planMigration(ctx context.Context, check, plan bool) error {
	p := migrationPlan{Database: a.cfg.ClickHouse.Database, Cluster: a.cfg.ClickHouse.Cluster, Newest: tables.Newest()}
	client, err := a.kafka()
	if err != nil {
		return err
	}
	if p.Create, p.Topics, p.Unseen, err = client.PlanTopics(ctx, a.topics()); err != nil {
		return err
	}
	a.logUnseen(p.Unseen)
	p.Create, p.Topics, p.Unseen = orEmpty(p.Create), orEmpty(p.Topics), orEmpty(p.Unseen)
	if p.Tables, err = a.planTables(ctx); err != nil {
		return schemaError(err)
	}
	if err := a.print(p, func(w io.Writer) { writePlan(w, p, plan) }); err != nil || !check {
		return err
	}
	if n := p.steps(); n > 0 {
		return findings("not migrated: " + plural(n, "thing is", "things are") + " to be done, as listed above")
	}
	return nil
}

// planTables asks ClickHouse, or every node of the cluster.
func (a *app) planTables(ctx context.Context) ([]tables.Plan, error) {
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	open := func(addrs ...string) *sql.DB {
		of := *options
		of.Addr, of.Auth.Database = addrs, ""
		return clickhouse.OpenDB(&of)
	}
	if a.cfg.ClickHouse.Cluster != "" {
		nodes, err := a.nodes(ctx)
		if err != nil {
			return nil, err
		}
		return tables.NewClusterPlan(ctx, a.cfg.ClickHouse.Cluster, options.Auth.Database, nodes,
			func(addr string) *sql.DB { return open(addr) })
	}
	db := open(options.Addr...)
	defer db.Close()
	if _, err := a.checkCluster(ctx, db); err != nil {
		return nil, err
	}
	p, err := tables.NewPlan(ctx, db, options.Auth.Database)
	return []tables.Plan{p}, err
}

// steps counts what is to be done.
func (p migrationPlan) steps() int {
	n := len(p.Create) + len(p.Topics)
	for _, t := range p.Tables {
		n += len(t.Steps)
	}
	return n
}

// writePlan writes what is to be done for people, with its SQL or without.
func writePlan(w io.Writer, p migrationPlan, withSQL bool) {
	for _, t := range p.Create {
		fmt.Fprintln(w, "create", t)
	}
	for _, fault := range p.Topics {
		fmt.Fprintln(w, fault)
	}
	for _, t := range p.Tables {
		on := ""
		if t.Node != "" {
			on = " on " + t.Node
		}
		for _, step := range t.Steps {
			fmt.Fprintf(w, "apply %s%s\n", step.Name, on)
			if withSQL {
				fmt.Fprintln(w, strings.TrimSuffix(step.SQL, "\n"))
			}
		}
		fmt.Fprintf(w, "the tables of the database %s%s are of version %d of the schema; this release makes %d\n",
			p.Database, on, t.Version, p.Newest)
	}
	if p.steps() == 0 {
		fmt.Fprintln(w, "nothing to do")
	}
}

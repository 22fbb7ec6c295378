package tables

import (
	"context"
	"database/sql"
	"io/fs"
	"slices"
)

// Step is a part of a migration: a file of SQL, or a statement beside them.
type Step struct {
	// Name is that of the file, or of what the statement creates.
	Name string `json:"name"`
	SQL  string `json:"sql"`
}

// Plan is what a migration would do on a server.
type Plan struct {
	// Node is its address in a cluster, "" without one.
	Node string `json:"node,omitempty"`
	// Version is that of the tables as they are, 0 where there are none.
	Version int64  `json:"version"`
	Steps   []Step `json:"steps"`
}

// NewPlan returns what [Migrate] would do, the database itself included, and changes nothing. The connection need not
// be to a database.
func NewPlan(ctx context.Context, db *sql.DB, database string) (Plan, error) {
	return newPlan(ctx, db, database, migrations, createDatabase(database))
}

// newPlan returns what is to be done to a database, that of creating it only where it is not there.
func newPlan(ctx context.Context, db *sql.DB, database string, files fs.FS, create ...Step) (p Plan, err error) {
	p.Steps = []Step{}
	if p.Version, err = version(ctx, db, database); err != nil {
		return p, err
	}
	works := Window{oldest, newest(files) + 1}
	if p.Version > works.To {
		return p, VersionError{p.Version, works}
	}
	for _, step := range create {
		var there bool
		if err := db.QueryRowContext(ctx, "SELECT count() > 0 FROM system.databases WHERE name = ?", step.Name).
			Scan(&there); err != nil {
			return p, err
		}
		if !there {
			p.Steps = append(p.Steps, step)
		}
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return p, err
	}
	for _, name := range names { // which are in order
		if numberOf(name) > p.Version {
			text, err := fs.ReadFile(files, name)
			if err != nil {
				return p, err
			}
			p.Steps = append(p.Steps, Step{name, string(text)})
		}
	}
	return p, nil
}

// NewClusterPlan returns what [MigrateCluster] would do on each node, and changes nothing. Tables over the cluster that
// files are still to make are not among it. The connections that open returns need not be to a database.
func NewClusterPlan(
	ctx context.Context, cluster, database string, nodes []Node, open func(addr string) *sql.DB,
) (plans []Plan, err error) {
	for _, node := range nodes {
		p, err := planNode(ctx, open(node.Addr), cluster, database, node)
		if err != nil {
			return nil, node.wrap(err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func planNode(ctx context.Context, db *sql.DB, cluster, database string, node Node) (p Plan, err error) {
	defer db.Close()
	keeper, err := hasKeeper(ctx, db)
	if err != nil {
		return p, err
	}
	if err := refuseDatabases(ctx, db, cluster, database, node); err != nil {
		return p, err
	}
	p, err = newPlan(ctx, db, ShardDatabase(database), shardFiles(keeper), createShard(database, node)...)
	if err != nil {
		return p, err
	}
	p.Node = node.Addr
	steps, err := undistributed(ctx, db, cluster, database)
	p.Steps = slices.Concat(p.Steps, steps)
	return p, err
}

// createDatabase creates a database, unless it is there. The name needs no more quoting: the configuration has been
// checked.
func createDatabase(name string) Step {
	return Step{name, "CREATE DATABASE IF NOT EXISTS `" + name + "`"}
}

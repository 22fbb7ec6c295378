package tables

import (
	"context"
	"database/sql"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Analyst is a role that may read, and whose queries may take so much and no more. With a tenant it sees that tenant's
// rows alone.
type Analyst struct {
	Database, Cluster, Tenant string
	// readable are the tables and views of a tenant's analyst, and filtered those of them that have rows of other
	// tenants too.
	readable, filtered []table
}

type table struct{ database, name string }

// What a query of an analyst may take: seconds, and bytes of memory.
const (
	analystSeconds = 60
	analystMemory  = 4_000_000_000
)

// NewAnalyst returns the role of a database that has been migrated; of the analyst of all tenants where there is no
// tenant.
func NewAnalyst(ctx context.Context, db *sql.DB, database, cluster, tenant string) (*Analyst, error) {
	a := &Analyst{Database: database, Cluster: cluster, Tenant: tenant}
	rows, err := db.QueryContext(ctx, `
		SELECT database, name, engine = 'View', (database, name) IN (
			SELECT database, table FROM system.columns WHERE name = 'tenant')
		FROM system.tables WHERE has([?, ?], database) AND engine != 'MaterializedView' ORDER BY database, name`,
		database, a.shardDatabase())
	if err != nil {
		return nil, fmt.Errorf("reading which tables there are: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t table
		var isView, ofTenants uint8
		if err := rows.Scan(&t.database, &t.name, &isView, &ofTenants); err != nil {
			return nil, err
		}
		// Views read as whoever asks them, so that rows which are kept back from the tables are from the views too. Not
		// so materialized views, which show all rows of the table that they fill: nobody needs to read them.
		switch {
		case ofTenants == 1 && isView == 0:
			a.filtered = append(a.filtered, t)
			a.readable = append(a.readable, t)
		case ofTenants == 1 || t.name == "usage_ranked":
			a.readable = append(a.readable, t)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(a.filtered) == 0 {
		return nil, fmt.Errorf("the database %s has no tables; `apportion migrate` creates them", database)
	}
	return a, nil
}

func (a *Analyst) shardDatabase() string {
	if a.Cluster == "" {
		return a.Database
	}
	return ShardDatabase(a.Database)
}

// Role is the name of the role.
func (a *Analyst) Role() string {
	role := a.Database + "_analyst"
	if a.Tenant != "" {
		role += "_" + a.Tenant
	}
	return role
}

// Grants are what the role may read.
func (a *Analyst) Grants() (grants []string) {
	if a.Tenant == "" {
		for _, database := range slices.Compact([]string{a.Database, a.shardDatabase()}) {
			grants = append(grants, "GRANT SELECT ON "+identifier(database)+".*")
		}
		return grants
	}
	for _, t := range a.readable {
		grants = append(grants, "GRANT SELECT ON "+t.String())
	}
	return grants
}

// SQL returns the statements that make the role, or make it again after an upgrade.
func (a *Analyst) SQL() (statements []string) {
	on := a.onCluster()
	role := identifier(a.Role())
	statements = append(statements,
		fmt.Sprintf("CREATE SETTINGS PROFILE OR REPLACE %s%s SETTINGS readonly = 2, "+
			"max_execution_time = %[3]d MIN 1 MAX %[3]d, max_memory_usage = %[4]d MIN 1 MAX %[4]d",
			role, on, analystSeconds, analystMemory),
		fmt.Sprintf("CREATE ROLE IF NOT EXISTS %s%s", role, on),
		fmt.Sprintf("ALTER ROLE %[1]s%[2]s SETTINGS PROFILE %[1]s", role, on),
	)
	if a.Tenant != "" { // before what they keep back is granted
		for _, t := range a.filtered {
			statements = append(statements, fmt.Sprintf("CREATE ROW POLICY OR REPLACE %s%s ON %s FOR SELECT USING %s TO %[1]s",
				role, on, t, a.filter()))
		}
	}
	for _, grant := range a.Grants() {
		statements = append(statements, strings.Replace(grant, "GRANT", "GRANT"+on, 1)+" TO "+role)
	}
	return statements
}

// UserSQL returns the statements that make a user of the role, with … for the password. On a cluster every node has to
// know the user, and the role as a default one: a shard applies row policies to whoever it knows.
func (a *Analyst) UserSQL(user string) (statements []string) {
	role := identifier(a.Role())
	return []string{
		fmt.Sprintf("CREATE USER %s%s IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE %s", user, a.onCluster(), role),
		fmt.Sprintf("GRANT%s %s TO %s", a.onCluster(), role, user),
	}
}

func (a *Analyst) onCluster() string {
	if a.Cluster == "" {
		return ""
	}
	return " ON CLUSTER " + identifier(a.Cluster)
}

// filter is true of the rows that a tenant's analyst sees.
func (a *Analyst) filter() string {
	return "tenant = '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(a.Tenant) + "'"
}

// UsersXML returns a user of the role's rights as ClickHouse's users.xml has it, without a password, for a server that
// keeps its users there and is reached from its own machine alone: what is inside of <profiles>, and of <users>.
func (a *Analyst) UsersXML(user string) (profiles, users string) {
	limit := func(name string, limit int) string {
		return fmt.Sprintf("<%s><min>1</min><max>%d</max></%[1]s>", name, limit)
	}
	profiles = fmt.Sprintf("<%s><readonly>2</readonly><max_execution_time>%d</max_execution_time>"+
		"<max_memory_usage>%d</max_memory_usage><constraints>%s%s</constraints></%[1]s>", user, analystSeconds, analystMemory,
		limit("max_execution_time", analystSeconds), limit("max_memory_usage", analystMemory))
	var b strings.Builder
	fmt.Fprintf(&b, "<%s><password></password><networks><ip>127.0.0.1</ip></networks><profile>%[1]s</profile>"+
		"<quota>default</quota><grants>", user)
	for _, grant := range a.Grants() {
		b.WriteString("<query>" + escaped(grant) + "</query>")
	}
	b.WriteString("</grants>")
	if a.Tenant != "" {
		b.WriteString("<databases>")
		for _, t := range a.filtered {
			fmt.Fprintf(&b, "<%s><%s><filter>%s</filter></%[2]s></%[1]s>", t.database, t.name, escaped(a.filter()))
		}
		b.WriteString("</databases>")
	}
	fmt.Fprintf(&b, "</%s>", user)
	return profiles, b.String()
}

func (t table) String() string { return identifier(t.database) + "." + identifier(t.name) }

// identifier quotes a name; those of databases, tables and tenants have no backtick and no backslash.
func identifier(name string) string { return "`" + name + "`" }

func escaped(text string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

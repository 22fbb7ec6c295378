package tables

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// Replicas agree on a table by its path, which has to be the same on each of them, and another on each shard.
func TestReplicatedTables(t *testing.T) {
	names, err := fs.Glob(shardFiles(true), "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	tables := 0
	for _, name := range names {
		plain, err := fs.ReadFile(shardFiles(false), name)
		if err != nil {
			t.Fatal(err)
		}
		replicated, err := fs.ReadFile(shardFiles(true), name)
		if err != nil {
			t.Fatal(err)
		}
		const path = `('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'`
		n := strings.Count(string(plain), "CREATE TABLE")
		tables += n
		if strings.Count(string(replicated), "MergeTree"+path) != n || strings.Count(string(replicated), "ENGINE = Replicated") != n {
			t.Errorf("%s creates %d tables, and not as many that are replicated", name, n)
		}
		undo := strings.NewReplacer(path+")", "", path+", ", "(", "ENGINE = Replicated", "ENGINE = ")
		if undone := undo.Replace(string(replicated)); undone != string(plain) {
			t.Errorf("%s differs in more than its engines", name)
		}
	}
	if tables < 10 {
		t.Errorf("%d tables only", tables)
	}
	if got := engine.ReplaceAllString("ENGINE = ReplacingMergeTree(version, deleted)", "$1 of $2"); got != "ReplacingMergeTree of version, deleted" {
		t.Errorf("the engine's own arguments: %s", got)
	}
}

var created = regexp.MustCompile(`(?s)CREATE TABLE IF NOT EXISTS (\w+)\n\((.*?)\n\)\nENGINE`)

// All usage of a tenant is on one shard, and what the registry says of it: a shard computes it alone.
func TestUsageIsSharded(t *testing.T) {
	sharded := 0
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range created.FindAllStringSubmatch(string(text), -1) {
			ofTenants := regexp.MustCompile(`^(usage_|events?_|registry_tenants$)`).MatchString(m[1]) && regexp.MustCompile(`(?m)^    tenant `).MatchString(m[2])
			if key, ok := shardedBy[m[1]]; ok {
				sharded++
				if ofTenants != (key == "cityHash64(tenant)") {
					t.Errorf("%s is sharded by %s", m[1], key)
				}
			} else if ofTenants {
				t.Errorf("%s has the usage of tenants, and is not sharded", m[1])
			}
		}
	}
	if sharded != len(shardedBy) {
		t.Errorf("%d tables are sharded, and the SQL creates %d of them", len(shardedBy), sharded)
	}
}

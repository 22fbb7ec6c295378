package main

import (
	"context"
	"encoding/json"
	"os"
	"os/user"
	"sort"
	"time"

	"apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// issueLog is the [billing.Log] over a fold of the command topic.
type issueLog struct {
	a    *app
	fold *registryFold
	conn driver.Conn
	by   registry.Actor
}

func (l issueLog) CatchUp(ctx context.Context) (registry.State, error) {
	err := l.fold.catchUp(ctx, l.a)
	return l.fold.state, err
}

func (l issueLog) At(offset int64) (registry.State, error) { return l.fold.at(offset), nil }

// Claim gives the commands, as many at once as Kafka takes, and writes what became of them to the tables.
func (l issueLog) Claim(ctx context.Context, claims []registry.Command) (registry.State, error) {
	client, err := l.a.kafka()
	if err != nil {
		return registry.State{}, err
	}
	records := make([]kafka.LogRecord, len(claims))
	for n, c := range claims {
		c.By, c.TimeMS = l.by, time.Now().UnixMilli()
		if records[n].Value, err = json.Marshal(c); err != nil {
			return registry.State{}, err
		}
		records[n].Key = c.TenantID
	}
	l.a.at("before claim")
	if _, err := client.AppendLog(ctx, l.a.topic(schemas.TopicRegistry), records...); err != nil {
		return registry.State{}, err
	}
	l.a.at("after claim")
	if err := l.fold.catchUp(ctx, l.a); err != nil {
		return registry.State{}, err
	}
	return l.fold.state, recordVerdicts(ctx, l.a.registryLog(l.conn), l.fold.judged)
}

// at returns the state before the command at an offset, which is the next of that state.
func (f *registryFold) at(offset int64) registry.State {
	n := sort.Search(len(f.judged), func(i int) bool { return f.judged[i].Offset >= offset })
	if n == 0 {
		return registry.State{}
	}
	return f.states[n-1]
}

// person is who runs this program by hand.
func person() registry.Actor {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return registry.Actor{Type: "user", ID: name + "@" + host()}
}

// scheduled is the actor of what this program does by itself.
func scheduled() registry.Actor { return registry.Actor{Type: "system", ID: "schedule@" + host()} }

func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// first connects to the database that has the rows of the tables which are not spread over the cluster, if there is one.
func (a *app) first(conn driver.Conn) clickhouse.First {
	return func(ctx context.Context) (driver.Conn, error) {
		if a.cfg.ClickHouse.Cluster == "" {
			return conn, nil
		}
		shards, err := a.openShards(ctx)
		if err != nil {
			return nil, err
		}
		return shards[0], nil
	}
}

// invoiceLines returns the lines of what is issued.
func (a *app) invoiceLines(conn driver.Conn) *clickhouse.Lines {
	lines := clickhouse.NewLines(conn, a.first(conn))
	lines.At = a.issueAt
	return lines
}

// registryLog returns the tables of what the command topic comes to.
func (a *app) registryLog(conn driver.Conn) *clickhouse.RegistryLog {
	log := clickhouse.NewRegistryLog(conn, a.first(conn))
	log.At = a.issueAt
	return log
}

package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/ingest/kafka"
)

// victim is the environment variable that makes this program an Ingester in a
// process of its own, and says how.
const victim = "APPORTION_TEST_VICTIM"

type victimConfig struct {
	Config         Config
	Broker         string
	Addr, Database string
}

// beVictim ingests until it is killed or has caught up.
func beVictim(config string) {
	var v victimConfig
	err := json.Unmarshal([]byte(config), &v)
	if err == nil {
		deps := Deps{Kafka: kafka.NewClient(kafka.Brokers{Addrs: []string{v.Broker}}, nil)}
		deps.ClickHouse, err = clickhouse.Open(&clickhouse.Options{Addr: []string{v.Addr}, Auth: clickhouse.Auth{Database: v.Database}})
		if err == nil {
			err = New(v.Config, deps).Run(context.Background())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

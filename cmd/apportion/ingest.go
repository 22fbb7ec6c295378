package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"apportion/ingest"
	"apportion/ingest/kafka"
)

func newIngestCommand(a *app) *cobra.Command {
	var untilCaughtUp bool
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Take deliveries in from Kafka",
		Long: `Reads the usage topics, decodes every delivery by the event contract, and writes the good
ones to usage_events and the refused ones, whole and with the reason, to the table rejected
and the topic usage.rejected.v1.

With http.ops configured, serves /healthz, /readyz and /metrics there: not ready while a
backlog stands still.

Runs until interrupted or, with --until-caught-up, until every partition is taken in to the
end that it had when the command started. Killing it loses and doubles nothing.`,
		Example: `  apportion ingest --config data/apportion.yaml
  apportion ingest --config data/apportion.yaml --until-caught-up --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			result, err := a.ingest(ctx, untilCaughtUp)
			if err != nil {
				return err
			}
			return a.print(result, func(w io.Writer) {
				var rows [][]string
				for _, topic := range slices.Sorted(maps.Keys(result)) {
					n := result[topic]
					rows = append(rows, []string{topic, strconv.FormatInt(n.Accepted, 10), strconv.FormatInt(n.Rejected, 10)})
				}
				writeTable(w, []string{"TOPIC", "ACCEPTED", "REJECTED"}, rows, 2, 3)
			})
		}),
	}
	cmd.Flags().BoolVar(&untilCaughtUp, "until-caught-up", false, "end at the ends that the partitions have now")
	return cmd
}

// ingested counts the deliveries of one topic that a run took in.
type ingested struct {
	Accepted int64 `json:"accepted"`
	Rejected int64 `json:"rejected"`
}

// ingest takes deliveries in until interrupted, or until caught up, and counts them by topic.
func (a *app) ingest(ctx context.Context, untilCaughtUp bool) (map[string]*ingested, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	if _, err := a.clickhouseOptions(); err != nil {
		return nil, err
	}
	if !untilCaughtUp {
		a.started("ingest")
	}
	// Ingest itself has no use for the shards. But a tenant must not get rows on a second one.
	if _, err := a.openShards(ctx); err != nil {
		return nil, err
	}
	conn, err := a.openClickHouse()
	if err != nil {
		return nil, err
	}
	metrics := newMetrics()
	if !untilCaughtUp {
		stop, err := a.serveOps(conn, metrics)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	result := make(map[string]*ingested)
	var taken int64
	progress := a.progress("taken in", -1)
	ingester := a.newIngester(conn, client, untilCaughtUp, metrics, func(p ingest.Progress) {
		if result[p.Topic] == nil {
			result[p.Topic] = new(ingested)
		}
		result[p.Topic].Accepted += int64(p.Accepted)
		result[p.Topic].Rejected += int64(p.Rejected)
		taken += int64(p.Accepted + p.Rejected)
		progress.set(taken)
	})
	err = ingester.Run(ctx)
	if err == nil && untilCaughtUp {
		err = ctx.Err() // interrupted before it was
	}
	if err == nil {
		progress.end()
	}
	return result, err
}

// newIngester returns what takes deliveries in. It calls progress after each batch.
func (a *app) newIngester(
	conn driver.Conn, client *kafka.Client, untilCaughtUp bool, m *metrics, progress func(ingest.Progress),
) *ingest.Ingester {
	cfg := ingest.DefaultConfig()
	cfg.TopicPrefix, cfg.Group = a.cfg.Kafka.TopicPrefix, a.cfg.Kafka.Group
	cfg.UntilCaughtUp = untilCaughtUp
	deps := ingest.Deps{Kafka: client, ClickHouse: conn, Check: a.checkSchema, Log: a.log}
	deps.Progress = func(p ingest.Progress) {
		m.observe(p)
		progress(p)
	}
	if a.ingestTuning != nil {
		a.ingestTuning(&cfg, &deps)
	}
	return ingest.New(cfg, deps)
}

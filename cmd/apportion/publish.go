package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"apportion/ingest/kafka"
)

func newPublishCommand(a *app) *cobra.Command {
	var perSecond int
	cmd := &cobra.Command{
		Use:   "publish FILE...",
		Short: "Publish deliveries from files to their topics",
		Long: `Publishes deliveries, one CloudEvent a line, from files that may be gzipped; - is standard
input. Each line goes byte for byte to the topic of its type, keyed by its tenant. A line
whose type cannot be read goes to usage.agent.v1, where ingest refuses it and keeps it.

Publishing a file again does no harm: deliveries that are repeated count once (R8).`,
		Example: `  apportion publish --config data/apportion.yaml usage-2026-10.ndjson.gz
  apportion publish --config data/apportion.yaml --rate 50 usage.ndjson
  zcat usage-*.gz | apportion publish --config data/apportion.yaml -`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.command(func(ctx context.Context, files []string) error {
			if perSecond < 0 {
				return usagef("--rate %d: give a number of deliveries a second, or 0 for as fast as it goes", perSecond)
			}
			return a.publishCommand(ctx, files, perSecond)
		}),
	}
	cmd.Flags().IntVar(&perSecond, "rate", 0,
		"publish this `number` of deliveries a second, for a steady load (default: as fast as it goes)")
	return cmd
}

// published is what became of the files.
type published struct {
	Deliveries int64            `json:"deliveries"`
	Bytes      int64            `json:"bytes"`
	Topics     map[string]int64 `json:"topics"` // deliveries by topic
	LeftOut    []string         `json:"leftOut,omitempty"`
}

func (a *app) publishCommand(ctx context.Context, files []string, perSecond int) error {
	result, err := a.publish(ctx, files, perSecond)
	if err != nil {
		return err
	}
	err = a.print(result, func(w io.Writer) {
		var rows [][]string
		for _, topic := range slices.Sorted(maps.Keys(result.Topics)) {
			rows = append(rows, []string{topic, strconv.FormatInt(result.Topics[topic], 10)})
		}
		writeTable(w, []string{"TOPIC", "DELIVERIES"}, rows, 2)
		for _, line := range result.LeftOut {
			fmt.Fprintf(w, "%s: left out, too large for a Kafka record\n", line)
		}
	})
	return errors.Join(err, result.finding())
}

// finding returns the finding that lines were left out, if any were.
func (p published) finding() error {
	if len(p.LeftOut) == 0 {
		return nil
	}
	return findings(fmt.Sprintf(
		"%d lines are too large for a Kafka record and were left out; have them sent again, smaller",
		len(p.LeftOut)))
}

// publish writes the deliveries in the files to their topics, so many a second or, with 0, as fast as it goes.
func (a *app) publish(ctx context.Context, files []string, perSecond int) (published, error) {
	result := published{Topics: make(map[string]int64)}
	client, err := a.kafka()
	if err != nil {
		return result, err
	}
	progress := a.progress("published", -1)
	publisher := client.NewPublisher(a.cfg.Kafka.TopicPrefix, func(p kafka.Published) {
		progress.set(result.Deliveries + p.Lines)
	})
	if perSecond > 0 {
		publisher.Limit(perSecond)
	}
	for _, file := range files {
		done, err := a.publishFile(ctx, publisher, file)
		result.Deliveries += done.Lines
		result.Bytes += done.Bytes
		for topic, n := range done.Topics {
			result.Topics[topic] += n
		}
		for _, line := range done.LeftOut {
			result.LeftOut = append(result.LeftOut, fmt.Sprintf("%s:%d", file, line))
		}
		progress.set(result.Deliveries)
		if err != nil {
			return result, fmt.Errorf(
				"publishing %s: %w; %d deliveries were published, and it does no harm to publish them again",
				file, err, result.Deliveries)
		}
	}
	progress.end()
	return result, nil
}

func (a *app) publishFile(ctx context.Context, publisher *kafka.Publisher, file string) (kafka.Published, error) {
	if file == "-" {
		return publisher.Publish(ctx, a.stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return kafka.Published{}, err
	}
	defer f.Close()
	return publisher.Publish(ctx, f)
}

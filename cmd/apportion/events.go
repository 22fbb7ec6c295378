package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"apportion/billing/service"
	"apportion/ingest/kafka"
	"apportion/schemas"
)

func newEventsCommand(a *app) *cobra.Command {
	return group("events", "Check deliveries before they are sent",
		`Checks deliveries by the event contract, as ingest would. It needs no server.`,
		`  apportion events check usage.ndjson`,
		&cobra.Command{
			Use:   "check FILE...",
			Short: "Say which deliveries in files would be refused, and why",
			Long: `Checks deliveries, one CloudEvent a line, from files that may be gzipped; - is standard input.
Each that ingest would refuse is named with its line, the code, the field and what to do. Nothing
is published. Exits 3 when any would be refused.

Whether a tenant or a subscription is known is no matter: such a delivery is stored (R10).`,
			Example: `  apportion events check usage-2026-10.ndjson.gz
  zcat usage-*.gz | apportion events check --json -`,
			Args: cobra.MinimumNArgs(1),
			RunE: a.command(a.checkEvents),
		})
}

// checkedEvents is what `events check` says.
type checkedEvents struct {
	Deliveries int64                  `json:"deliveries"`
	Accepted   int64                  `json:"accepted"`
	Rejected   map[schemas.Code]int64 `json:"rejected"`
	Refused    []refusedLine          `json:"refused"`
}

// refusedLine is a delivery that would be refused, at its line of a file, from 1.
type refusedLine struct {
	File string `json:"file"`
	Line int64  `json:"line"`
	service.RefusedEvent
	text string
}

func (a *app) checkEvents(ctx context.Context, files []string) error {
	result := checkedEvents{Rejected: make(map[schemas.Code]int64), Refused: []refusedLine{}}
	for _, file := range files {
		n, err := a.checkFile(ctx, file, func(line int64, why *schemas.Rejection) {
			result.Rejected[why.Code]++
			result.Refused = append(result.Refused, refusedLine{file, line, service.NewRefusedEvent(why), why.Error()})
		})
		result.Deliveries += n
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
	}
	result.Accepted = result.Deliveries - int64(len(result.Refused))
	err := a.print(result, func(w io.Writer) {
		for _, r := range result.Refused {
			fmt.Fprintf(w, "%s:%d: %s\n", r.File, r.Line, r.text)
		}
		fmt.Fprintf(w, "%d deliveries, %d accepted, %d refused\n", result.Deliveries, result.Accepted, len(result.Refused))
		for _, code := range schemas.CodesOf(schemas.RefusesDelivery) {
			if n := result.Rejected[code]; n > 0 {
				fmt.Fprintf(w, "%s: %d\n", code, n)
			}
		}
	})
	if err == nil && len(result.Refused) > 0 {
		err = findings(fmt.Sprintf("%d of %d deliveries would be refused: put right what is listed above",
			len(result.Refused), result.Deliveries))
	}
	return err
}

// checkFile checks the deliveries of one file.
func (a *app) checkFile(
	ctx context.Context, file string, refused func(line int64, why *schemas.Rejection),
) (deliveries int64, err error) {
	if file == "-" {
		return kafka.Check(ctx, a.stdin, refused)
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return kafka.Check(ctx, f, refused)
}

// newEvents returns what publishes events that are sent over HTTP.
func (a *app) newEvents(s *services) *service.Events {
	topics := map[schemas.Type]string{}
	for _, t := range schemas.Types {
		topics[t] = a.topic(t.Topic())
	}
	return service.NewEvents(service.EventDeps{
		Producer: s.kafka.NewProducer(), Topics: topics, Registry: s.registry, Rules: a.billingRules(), Clock: a.now,
	})
}

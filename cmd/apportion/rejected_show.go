package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"apportion/billing/service"
	"apportion/ingest"
	"apportion/schemas"
	"apportion/schemas/civil"
)

func newRejectedShowCommand(a *app) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show TOPIC/PARTITION/OFFSET",
		Short: "Show everything of a refused delivery",
		Long: `Shows one refused delivery whole: why it was refused and what to do about it, whose it is,
whether its event has been accepted since, and the key, headers and payload that it came
with. What a terminal cannot show is escaped.

With --raw only the bytes of the payload are written, nothing before or after them: put them
into a file, fix them, and publish that. A file to publish has one event a line, and an event
that came in binary mode has its attributes in the headers, not in the payload. Keep source
and id; the revision that was refused is free to be used.`,
		Example: `  apportion rejected show --config data/apportion.yaml usage.agent.v1/0/17
  apportion rejected show --config data/apportion.yaml --raw usage.agent.v1/0/17 > delivery.json`,
		Args: cobra.ExactArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error {
			record, err := a.parseRecordID(args[0])
			if err != nil {
				return err
			}
			return a.showRejected(ctx, record, raw)
		}),
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the bytes of the payload, and nothing else")
	return cmd
}

// parseRecordID reads the id of a record on Kafka, its topic with or without the prefix.
func (a *app) parseRecordID(s string) (schemas.RecordID, error) {
	p, err := schemas.ParseRecordID(s)
	if err != nil {
		return p, usageError{err}
	}
	p.Topic = a.rejectedTopic(p.Topic)
	return p, nil
}

func (a *app) showRejected(ctx context.Context, record schemas.RecordID, raw bool) error {
	if raw && a.json {
		return usagef("--raw and --json are two results; give one of them")
	}
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return err
	}
	deadLetters := ingest.DeadLetters{ClickHouse: conn}
	letters, err := deadLetters.Read(ctx, []schemas.RecordID{record})
	if err != nil {
		return err
	}
	if len(letters) == 0 {
		return fmt.Errorf("no delivery was refused at %s; `apportion rejected list` shows those that were", record)
	}
	l := &letters[0]
	if raw {
		_, err := a.stdout.Write(l.Value)
		return err
	}
	var accepted []ingest.Acceptance
	if id, ok := l.Identity(); ok {
		if accepted, err = deadLetters.Accepted(ctx, id); err != nil {
			return err
		}
	}
	result := service.NewRejectedLetter(l, accepted)
	return a.print(result, func(w io.Writer) { writeRejected(w, result, l, accepted) })
}

// writeRejected shows the letter to people.
func writeRejected(w io.Writer, r *service.RejectedLetter, l *ingest.DeadLetter, accepted []ingest.Acceptance) {
	fmt.Fprintf(w, "%s, arrived %s\n\n%s\n%s\n\n", l.RecordID, r.Time, l.Why.Error(), sentence(r.Advice))
	rows := [][]string{
		{"tenant", escape(r.Tenant)},
		{"source", escape(r.Source)},
		{"id", escape(r.ID)},
		{"key", strconv.Quote(string(r.Key))},
	}
	for _, h := range l.Headers {
		rows = append(rows, []string{"header", escape(h.Key) + ": " + strconv.Quote(string(h.Value))})
	}
	rows = append(rows, []string{"accepted", acceptance(r, l)})
	for i := range accepted {
		rows = append(rows, []string{"", describe(&accepted[i], l)})
	}
	payload := escape(string(r.Payload))
	size := fmt.Sprintf("%d bytes", len(r.Payload))
	if payload != string(r.Payload) {
		size += ", in part escaped here; --raw has them as they are"
	}
	writeTable(w, nil, append(rows, []string{"payload", size}))
	fmt.Fprintf(w, "\n%s\n", payload)
}

// acceptance says whether the refusal still stands.
func acceptance(r *service.RejectedLetter, l *ingest.DeadLetter) string {
	_, known := l.Identity()
	switch {
	case !known:
		return "unknown: its tenant, source or id could not be read"
	case len(r.Accepted) > 0 && !r.Open:
		return "yes, an accepted delivery of the event answers it"
	case len(r.Accepted) > 0:
		return "no; what has been accepted of the event counts, and this delivery would have corrected it"
	}
	return "no, nothing of the event has been accepted"
}

// describe says which delivery of its event was accepted.
func describe(d *ingest.Acceptance, l *ingest.DeadLetter) string {
	text := fmt.Sprintf("revision %d", d.Revision)
	if d.Voided {
		text += ", voided"
	}
	when := "before"
	if d.After(l) {
		when = "since"
	}
	return fmt.Sprintf("%s: %s, at %s, arrived %s", when, text, d.RecordID, civil.FormatMillis(d.ArrivedMS))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"apportion/ingest"
	"apportion/schemas"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"
)

func newRejectedReplayCommand(a *app) *cobra.Command {
	var flags rejectedFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "replay [TOPIC/PARTITION/OFFSET]...",
		Short: "Publish refused deliveries again that would now be accepted",
		Long: `Publishes refused deliveries again, each to its own topic with the key, headers and payload
that it came with: after an upgrade that reads what an older version refused. Without records
or filters it looks at all of them.

Each is decoded first. One that would be refused again is reported and not published, and the
exit code is then 3: the sender must fix it. One whose event has been accepted at the same
revision, since or before, is left alone: it would be a duplicate or a conflict (R8).

What is published is a delivery of its own at a new offset; the refused one stays where it
was, as history. Replaying twice before ingest has taken the first in publishes duplicates,
which count once (R8).`,
		Example: `  apportion rejected replay --config data/apportion.yaml --code invalid_field --dry-run
  apportion rejected replay --config data/apportion.yaml --tenant acme --since 2026-10-14T00:00:00Z
  apportion rejected replay --config data/apportion.yaml usage.agent.v1/0/17`,
		Args: cobra.ArbitraryArgs,
		RunE: a.command(func(ctx context.Context, args []string) error {
			filter, err := a.filter(flags)
			if err != nil {
				return err
			}
			for _, arg := range args {
				record, err := a.parseRecordID(arg)
				if err != nil {
					return err
				}
				filter.Records = append(filter.Records, record)
			}
			result, err := a.replay(ctx, filter, flags.limit, dryRun)
			if err != nil {
				return err
			}
			return errors.Join(a.print(result, result.write), result.finding())
		}),
	}
	flags.register(cmd, 0)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be published, and publish nothing")
	return cmd
}

// replayResult is what became of the dead letters chosen, by record.
type replayResult struct {
	DryRun     bool       `json:"dryRun"`
	Replayed   int        `json:"replayed"` // or would be, on a dry run
	Accepted   int        `json:"accepted"`
	Refused    int        `json:"refused"`
	Deliveries []replayed `json:"deliveries"`
}

// replayed is one of them.
type replayed struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Tenant    string `json:"tenant"` // the identity, each empty where it cannot be read
	Source    string `json:"source"`
	ID        string `json:"id"`
	Outcome   string `json:"outcome"`
	Reason    string `json:"reason,omitempty"` // why it was not replayed
}

// What becomes of a dead letter.
const (
	letterReplayed = "replayed"
	letterAccepted = "accepted" // the event is, at this revision
	letterRefused  = "refused"  // and would be again
)

// replayPage is how many dead letters are read, judged and published at a time: few enough for their identities to
// fit into one query.
const replayPage = 100

// replay publishes those of the chosen dead letters again that would be accepted. All are chosen before the first
// is published: those that come back, because an older version still takes deliveries in, are none of them.
func (a *app) replay(ctx context.Context, filter ingest.RejectedFilter, limit int, dryRun bool) (*replayResult, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return nil, err
	}
	records, err := a.choose(ctx, conn, filter, limit)
	if err != nil {
		return nil, err
	}
	result := &replayResult{DryRun: dryRun, Deliveries: []replayed{}}
	for page := range slices.Chunk(records, replayPage) {
		// One byte more than there may be is enough to refuse a value for its size.
		letters, err := ingest.ReadRejected(ctx, conn, page, schemas.MaxValueBytes+1)
		if err != nil {
			return nil, err
		}
		verdicts, err := a.judge(ctx, conn, letters)
		if err != nil {
			return nil, err
		}
		var good []ingest.DeadLetter
		for i, v := range verdicts {
			if v.Outcome == letterReplayed {
				good = append(good, letters[i])
			}
		}
		if !dryRun && len(good) > 0 {
			if err := ingest.Replay(ctx, client, good); err != nil {
				return nil, fmt.Errorf("replaying: %w; %d deliveries were published, and it does no harm to replay them again", err, result.Replayed)
			}
		}
		result.add(verdicts)
	}
	return result, nil
}

// choose returns the records of the dead letters on topics of ours that the filter chooses, in order.
func (a *app) choose(ctx context.Context, conn driver.Conn, filter ingest.RejectedFilter, limit int) ([]schemas.RecordID, error) {
	if len(filter.Topics) == 0 {
		for _, topic := range usageTopics() {
			filter.Topics = append(filter.Topics, a.topic(topic))
		}
	}
	letters, err := ingest.ListRejected(ctx, conn, filter, limit)
	if err != nil {
		return nil, err
	}
	records := make([]schemas.RecordID, len(letters))
	for i := range letters {
		records[i] = letters[i].RecordID
	}
	for _, p := range filter.Records {
		if !slices.Contains(records, p) {
			return nil, fmt.Errorf("no delivery that the filters choose was refused at %s; `apportion rejected list` shows those that were", p)
		}
	}
	slices.SortFunc(records, schemas.RecordID.Compare)
	return records, nil
}

// judge says what is to become of each dead letter.
func (a *app) judge(ctx context.Context, conn driver.Conn, letters []ingest.DeadLetter) ([]replayed, error) {
	verdicts := make([]replayed, len(letters))
	revisions := make([]int32, len(letters))
	var ids []ingest.Identity
	var decoder schemas.Decoder
	for i := range letters {
		l := &letters[i]
		v := &verdicts[i]
		*v = replayed{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Outcome: letterReplayed}
		var e schemas.Event
		if why := decoder.Decode(a.topicType(l.Topic), l.Headers, l.Value, &e); why != nil {
			v.Outcome, v.Reason = letterRefused, why.Error()
			v.Tenant, v.Source, v.ID = why.Tenant, why.Source, why.ID
			continue
		}
		v.Tenant, v.Source, v.ID, revisions[i] = e.Tenant, e.Source, e.ID, e.Revision
		ids = append(ids, v.identity())
	}
	accepted, err := ingest.Accepted(ctx, conn, ids...)
	if err != nil {
		return nil, err
	}
	type delivery struct {
		ingest.Identity
		revision int32
	}
	taken := make(map[delivery]schemas.RecordID)
	for _, d := range accepted {
		taken[delivery{d.Identity, d.Revision}] = d.RecordID
	}
	for i := range verdicts {
		v := &verdicts[i]
		if at, ok := taken[delivery{v.identity(), revisions[i]}]; ok && v.Outcome == letterReplayed {
			v.Outcome, v.Reason = letterAccepted, fmt.Sprintf("revision %d of it has been accepted, at %s", revisions[i], at)
		}
	}
	return verdicts, nil
}

// topicType returns the type that a topic of ours carries.
func (a *app) topicType(topic string) schemas.Type {
	for _, t := range schemas.Types {
		if a.topic(t.Topic()) == topic {
			return t
		}
	}
	return 0
}

func (r *replayed) identity() ingest.Identity {
	return ingest.Identity{Tenant: r.Tenant, Source: r.Source, ID: r.ID}
}

func (r *replayResult) add(verdicts []replayed) {
	for _, v := range verdicts {
		switch v.Outcome {
		case letterReplayed:
			r.Replayed++
		case letterAccepted:
			r.Accepted++
		case letterRefused:
			r.Refused++
		}
	}
	r.Deliveries = append(r.Deliveries, verdicts...)
}

func (r *replayResult) write(w io.Writer) {
	if len(r.Deliveries) == 0 {
		fmt.Fprint(w, noneRejected)
		return
	}
	published := "published again"
	if r.DryRun {
		published = "would be published again"
	}
	rows := make([][]string, len(r.Deliveries))
	for i, d := range r.Deliveries {
		outcome := d.Outcome
		if outcome == letterReplayed && r.DryRun {
			outcome = "to be replayed"
		}
		record := schemas.RecordID{Topic: d.Topic, Partition: d.Partition, Offset: d.Offset}
		rows[i] = []string{record.String(), escape(d.Tenant), event(d.Source, d.ID), outcome, shorten(d.Reason, 100)}
	}
	writeTable(w, []string{"TOPIC/PARTITION/OFFSET", "TENANT", "SOURCE/ID", "OUTCOME", "REASON"}, rows)
	fmt.Fprintf(w, "\n%s: %d; accepted already: %d; would be refused again: %d\n", published, r.Replayed, r.Accepted, r.Refused)
}

// finding returns the finding that deliveries cannot be replayed, if any cannot.
func (r *replayResult) finding() error {
	if r.Refused == 0 {
		return nil
	}
	return findings(fmt.Sprintf("would be refused again and were not published: %d; "+
		"have their senders fix them, `apportion rejected show` says how", r.Refused))
}

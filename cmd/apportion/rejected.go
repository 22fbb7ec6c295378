package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"apportion/billing/export"
	"apportion/billing/service"
	"apportion/ingest"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/typo"
)

func newRejectedCommand(a *app) *cobra.Command {
	return group("rejected", "Look into refused deliveries, and publish them again",
		`Refused deliveries are kept whole, with the reason, in the table rejected and on the topic
usage.rejected.v1. These commands list them, show one of them down to its last byte, and
publish those again that are refused no longer.`,
		`  apportion rejected list --config data/apportion.yaml --summary
  apportion rejected show --config data/apportion.yaml usage.agent.v1/0/17`,
		newRejectedListCommand(a),
		newRejectedShowCommand(a),
		newRejectedReplayCommand(a),
	)
}

// rejectedFlags choose refused deliveries.
type rejectedFlags struct {
	codes, topics, tenants []string
	since, until           string
	limit                  int
}

func (f *rejectedFlags) register(cmd *cobra.Command, limit int) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.codes, "code", nil, "only those refused for this `code`; can be repeated")
	flags.StringArrayVar(&f.topics, "topic", nil,
		"only those of this `topic`, with or without the prefix; can be repeated")
	flags.StringArrayVar(&f.tenants, "tenant", nil,
		"only those of this `tenant`, '' where it could not be read; can be repeated")
	flags.StringVar(&f.since, "since", "", "only those that arrived at this `instant` or later, RFC 3339")
	flags.StringVar(&f.until, "until", "", "only those that arrived before this `instant`, RFC 3339")
	flags.IntVar(&f.limit, "limit", limit, "only the newest `N`; 0 means all")
	cmd.RegisterFlagCompletionFunc("code", cobra.FixedCompletions(codes(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("topic", cobra.FixedCompletions(usageTopics(), cobra.ShellCompDirectiveNoFileComp))
}

// codes are the names of all codes.
func codes() []string {
	var names []string
	for _, c := range schemas.CodesOf(schemas.RefusesDelivery) {
		names = append(names, string(c))
	}
	return names
}

// usageTopics are the topics that carry usage, as the event contract calls them.
func usageTopics() []string {
	var names []string
	for _, t := range schemas.Types {
		names = append(names, t.Topic())
	}
	return names
}

// rejectedTopic returns the name that a topic has here, whether it was given with the prefix or without.
func (a *app) rejectedTopic(name string) string {
	if slices.Contains(usageTopics(), name) {
		return a.topic(name)
	}
	return name
}

// filter reads the flags.
func (a *app) filter(f rejectedFlags) (filter ingest.RejectedFilter, err error) {
	for _, code := range f.codes {
		if !slices.Contains(codes(), code) {
			return filter, usagef("--code: %q is none of %s%s", code, strings.Join(codes(), ", "), typo.Hint(code, codes()))
		}
		filter.Codes = append(filter.Codes, schemas.Code(code))
	}
	for _, topic := range f.topics {
		name := a.rejectedTopic(topic)
		contract, ok := strings.CutPrefix(name, a.cfg.Kafka.TopicPrefix)
		if !ok || !slices.Contains(usageTopics(), contract) {
			return filter, usagef("--topic: %q is none of %s%s",
				topic, strings.Join(usageTopics(), ", "), typo.Hint(topic, usageTopics()))
		}
		filter.Topics = append(filter.Topics, name)
	}
	filter.Tenants = f.tenants
	for _, bound := range []struct {
		flag, value string
		ms          *int64
	}{
		{"--since", f.since, &filter.SinceMS},
		{"--until", f.until, &filter.UntilMS},
	} {
		if bound.value != "" {
			if *bound.ms, err = civil.ParseInstant(bound.value); err != nil {
				return filter, usagef("%s: %w", bound.flag, err)
			}
		}
	}
	if f.limit < 0 {
		return filter, usagef("--limit: %d is not a number of deliveries; 0 means all", f.limit)
	}
	return filter, nil
}

func newRejectedListCommand(a *app) *cobra.Command {
	var flags rejectedFlags
	var summary, open, unknown, asCSV bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List refused deliveries, or count them by code and tenant",
		Long: `Lists refused deliveries, newest first: where each lies on Kafka, whose it is as far as that
could be read, and why it was refused. TIME is when it arrived on Kafka. With --summary they
are counted by code and tenant instead. A terminal gets what is long shortened; --json, --csv and
a pipe have all of it.

With --open those are left out whose event has been accepted as they were meant to change it: at
a revision as high or, where the refused one's cannot be read, with a time as late (R24). One
whose tenant, source or id cannot be read stays open.

With --unknown-tenant it lists what was not refused and counts for nobody all the same: deliveries
of tenants that the registry does not have, with ids of those that it has and that may be meant.
They count once their tenant is in the registry (R10); where the id is wrong, the source has to
send the events again.`,
		Example: `  apportion rejected list --config data/apportion.yaml --summary
  apportion rejected list --config data/apportion.yaml --open --tenant acme
  apportion rejected list --config data/apportion.yaml --code invalid_field
  apportion rejected list --config data/apportion.yaml --unknown-tenant --summary
  apportion rejected list --config data/apportion.yaml --since 2026-10-14T00:00:00Z --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			filter, err := a.filter(flags)
			if err != nil {
				return err
			}
			filter.Open = open
			if unknown {
				return a.listUnknownTenants(ctx, filter, flags.limit, summary, asCSV)
			}
			if summary {
				return a.countRejected(ctx, filter, asCSV)
			}
			return a.listRejected(ctx, filter, flags.limit, asCSV)
		}),
	}
	flags.register(cmd, 50)
	cmd.Flags().BoolVar(&summary, "summary", false, "count them by code and tenant")
	cmd.Flags().BoolVar(&open, "open", false, "leave out those whose event has been accepted since")
	cmd.Flags().BoolVar(&unknown, "unknown-tenant", false, "instead, accepted ones of tenants that the registry lacks")
	csvFlag(cmd, &asCSV)
	cmd.MarkFlagsMutuallyExclusive("summary", "limit")
	cmd.MarkFlagsMutuallyExclusive("unknown-tenant", "open")
	cmd.MarkFlagsMutuallyExclusive("unknown-tenant", "code")
	return cmd
}

const noneRejected = "no refused delivery is chosen\n"

// rejectedColumns are the columns of refused deliveries.
var rejectedColumns = []string{"time", "topic", "partition", "offset", "tenant_id", "source", "id",
	"code", "field", "value", "message"}

// rejectedRow guards the names. A value is in quotes or a number, and a message begins with words of the program.
func rejectedRow(e *service.RejectedEntry) []string {
	return []string{e.Time, e.Topic, strconv.Itoa(int(e.Partition)), strconv.FormatInt(e.Offset, 10),
		export.Guard(e.Tenant), export.Guard(e.Source), export.Guard(e.ID),
		string(e.Code), e.Field, e.Value, e.Message}
}

func (a *app) listRejected(ctx context.Context, filter ingest.RejectedFilter, limit int, asCSV bool) error {
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return err
	}
	letters, err := ingest.DeadLetters{ClickHouse: conn}.List(ctx, filter, more(limit))
	if err != nil {
		return err
	}
	letters = newest(a, letters, limit)
	if len(letters) == 0 {
		if err := a.hintUnknownTenants(ctx, filter.Tenants); err != nil {
			return err
		}
	}
	result := make([]service.RejectedEntry, len(letters))
	rows, columns := make([][]string, len(letters)), make([][]string, len(letters))
	for i := range letters {
		l := &letters[i]
		result[i] = service.NewRejectedEntry(l)
		columns[i] = rejectedRow(&result[i])
		rows[i] = []string{result[i].Time, l.RecordID.String(), escape(l.Why.Tenant), event(l.Why.Source, l.Why.ID),
			string(l.Why.Code), l.Why.Field, a.shorten(l.Why.Value, 40), a.shorten(l.Why.Message, 60)}
	}
	if asCSV {
		return a.printCSV(rejectedColumns, columns)
	}
	return a.print(result, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprint(w, noneRejected)
			return
		}
		writeTable(w, []string{"TIME", "TOPIC/PARTITION/OFFSET", "TENANT", "SOURCE/ID", "CODE", "FIELD", "VALUE", "DETAIL"},
			rows)
	})
}

// more is one more than the limit, where there is one: to know whether there are more.
func more(limit int) int {
	if limit > 0 {
		limit++
	}
	return limit
}

// newest cuts what was asked for by more to the limit, and says so.
func newest[T any](a *app, all []T, limit int) []T {
	if limit == 0 || len(all) <= limit {
		return all
	}
	fmt.Fprintf(a.stderr, "only the newest %d are listed; give --limit 0 for all, or --summary to count them\n", limit)
	return all[:limit]
}

func (a *app) countRejected(ctx context.Context, filter ingest.RejectedFilter, asCSV bool) error {
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return err
	}
	counts, err := ingest.DeadLetters{ClickHouse: conn}.Count(ctx, filter)
	if err != nil {
		return err
	}
	if len(counts) == 0 {
		if err := a.hintUnknownTenants(ctx, filter.Tenants); err != nil {
			return err
		}
	}
	type count struct {
		Code       schemas.Code `json:"code"`
		Tenant     string       `json:"tenantId"` // empty where it could not be read
		Deliveries uint64       `json:"deliveries"`
		First      string       `json:"first"` // when the first and the last arrived on Kafka
		Last       string       `json:"last"`
	}
	result := make([]count, len(counts))
	rows := make([][]string, len(counts))
	for i, n := range counts {
		c := count{n.Code, n.Tenant, n.Deliveries, civil.FormatMillis(n.FirstMS), civil.FormatMillis(n.LastMS)}
		result[i] = c
		rows[i] = []string{string(c.Code), export.Guard(escape(c.Tenant)),
			strconv.FormatUint(c.Deliveries, 10), c.First, c.Last}
	}
	if asCSV {
		return a.printCSV([]string{"code", "tenant_id", "deliveries", "first", "last"}, rows)
	}
	return a.print(result, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprint(w, noneRejected)
			return
		}
		writeTable(w, []string{"CODE", "TENANT", "DELIVERIES", "FIRST", "LAST"}, rows, 3)
	})
}

// event names an event of a tenant, as far as that could be read.
func event(source, id string) string {
	if source == "" && id == "" {
		return ""
	}
	return escape(cmp.Or(source, "?") + "/" + cmp.Or(id, "?"))
}

// shorten cuts a text to so many characters for a terminal, and nowhere else.
func (a *app) shorten(s string, characters int) string {
	if f, ok := a.stdout.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	return shorten(s, characters)
}

// shorten cuts a text to so many characters.
func shorten(s string, characters int) string {
	if utf8.RuneCountInString(s) <= characters {
		return s
	}
	return string([]rune(s)[:characters-1]) + "…"
}

// escape makes what others sent safe to show on a terminal: all but line feeds, tabs and what can be printed is
// written as Go would in a string.
func escape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		invalid := r == utf8.RuneError && n == 1
		if !invalid && (unicode.IsPrint(r) || r == '\n' || r == '\t') {
			b.WriteString(s[:n])
		} else {
			quoted := strconv.Quote(s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

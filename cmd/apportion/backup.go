package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"apportion/billing/export"
	"apportion/schemas/civil"
)

func newBackupCommand(a *app) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "backup --to DIR",
		Short: "Write what cannot be computed again to files",
		Long: `Writes to DIR, whole or not at all, what no other data gives again: the registry's log, with what
is held, sealed and issued, the lines that are issued, and every delivery that was taken in, with
the ledger; Kafka may delete those meanwhile. Daily figures are not among it, since they are
computed from these. Each table is a Parquet file, which every tool reads; manifest.json has their
SHA-256, how many rows each has, and up to which command and which offsets they go.

It is consistent while everything else goes on: what comes after those is left out. Lines that are
not those that were issued are an error. Make one after each issue, and keep several.`,
		Example: `  apportion backup --config data/apportion.yaml --to backups/2026-10-04
  apportion backup verify --config data/apportion.yaml backups/2026-10-04
  apportion backup restore --config data/apportion.yaml backups/2026-10-04`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error { return a.backup(ctx, to) }),
	}
	cmd.Flags().StringVar(&to, "to", "", "write to this `directory`")
	cmd.MarkFlagRequired("to")
	cmd.MarkFlagDirname("to")
	cmd.AddCommand(newBackupVerifyCommand(a), newBackupRestoreCommand(a))
	return cmd
}

// backupVersion is the form of backups.
const backupVersion = 1

// The tables of a backup, in the order in which they are put back: a row of the last two must not be put back twice, of
// the others it may. The ledger is the last, since ingest goes on from there.
var backedTables = []string{"registry_log", "usage_events", "rejected", "invoice_lines", "ingest_batches"}

// backupManifest says what a backup has.
type backupManifest struct {
	Version     int    `json:"version"`
	MadeAt      string `json:"madeAt"`
	Database    string `json:"database"`
	TopicPrefix string `json:"topicPrefix"`
	// Commands is how many the registry's log has, and Issues how many of them are claims that were accepted.
	Commands int64 `json:"commands"`
	Issues   int   `json:"issues"`
	// Positions are the last offsets of deliveries that it has, by partition.
	Positions []backupPosition `json:"positions"`
	Files     []backupFile     `json:"files"`
}

type backupPosition struct {
	Topic      string `json:"topic"`
	Partition  int64  `json:"partition"`
	LastOffset int64  `json:"lastOffset"`
}

type backupFile struct {
	export.File
	Rows int64 `json:"rows"`
}

// file is that of a table; it has no path where there is none.
func (m *backupManifest) file(table string) backupFile {
	at := slices.IndexFunc(m.Files, func(f backupFile) bool { return f.Path == table+".parquet" })
	if at < 0 {
		return backupFile{}
	}
	return m.Files[at]
}

func (m *backupManifest) rows(table string) int64 { return m.file(table).Rows }

func (a *app) backup(ctx context.Context, to string) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	state, err := s.registry.CatchUp(ctx)
	if err != nil {
		return err
	}
	if err := s.registry.Record(ctx); err != nil {
		return err
	}
	if _, changed, err := s.invoices.List(ctx, 0, nil); err != nil {
		return err
	} else if len(changed) > 0 {
		return fmt.Errorf("nothing is backed up: %w", changed[0])
	}
	m := &backupManifest{Version: backupVersion, MadeAt: a.now().UTC().Format(time.RFC3339),
		Database: a.cfg.ClickHouse.Database, TopicPrefix: a.cfg.Kafka.TopicPrefix, Commands: state.Offset() + 1,
		Positions: []backupPosition{}}
	for _, t := range state.Tenants() {
		m.Issues += len(state.Issues(t.ID))
	}
	to = filepath.Clean(to)
	dir, err := export.Directory(filepath.Dir(to), filepath.Base(to), func(f *export.Folder) error {
		return m.write(ctx, s.conn, f)
	})
	if err != nil {
		return err
	}
	return a.print(m, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d commands of the registry, %d issues with %d lines, %d deliveries and %d that were refused\n",
			dir, m.Commands, m.Issues, m.rows("invoice_lines"), m.rows("usage_events"), m.rows("rejected"))
	})
}

// write writes the tables and the manifest. The ledger is read first: whatever it has was stored before.
func (m *backupManifest) write(ctx context.Context, conn driver.Conn, f *export.Folder) error {
	rows := map[string]int64{}
	ends := map[backupPosition]int64{}
	table := func(name, where string, each func(map[string]any)) error {
		err := f.Write(name+".parquet", func(w io.Writer) (err error) {
			rows[name], err = backUpTable(ctx, conn, w, name, where, each)
			return err
		})
		if err != nil {
			return fmt.Errorf("backing up %s: %w", name, err)
		}
		return nil
	}
	if err := table("ingest_batches", "ORDER BY topic, partition, first_offset, run", func(row map[string]any) {
		at := backupPosition{Topic: row["topic"].(string), Partition: row["partition"].(int64)}
		ends[at] = max(ends[at], row["last_offset"].(int64))
	}); err != nil {
		return err
	}
	known := []string{"false"}
	for at, last := range ends {
		at.LastOffset = last
		m.Positions = append(m.Positions, at)
	}
	slices.SortFunc(m.Positions, func(x, y backupPosition) int {
		return strings.Compare(fmt.Sprintf("%s/%09d", x.Topic, x.Partition), fmt.Sprintf("%s/%09d", y.Topic, y.Partition))
	})
	for _, p := range m.Positions { // a topic's name has letters, digits, points, underscores and hyphens alone
		known = append(known, fmt.Sprintf("topic = '%s' AND partition = %d AND offset <= %d",
			p.Topic, p.Partition, p.LastOffset))
	}
	upTo := "FINAL WHERE (" + strings.Join(known, ") OR (") + ")"
	for _, t := range []struct{ name, where string }{
		{"usage_events", upTo}, {"rejected", upTo},
		{"registry_log", fmt.Sprintf("FINAL WHERE offset < %d ORDER BY offset", m.Commands)},
		{"invoice_lines", fmt.Sprintf("WHERE (tenant, issue) IN (SELECT tenant, issue FROM issued_periods FINAL "+
			"WHERE command_offset < %d) ORDER BY period, tenant, subscription, issue, line_no", m.Commands)},
	} {
		if err := table(t.name, t.where, nil); err != nil {
			return err
		}
	}
	if rows["registry_log"] != m.Commands {
		return fmt.Errorf("registry_log has %d of the %d commands of the topic; `apportion registry rebuild` writes it again",
			rows["registry_log"], m.Commands)
	}
	for _, file := range f.Files() {
		m.Files = append(m.Files, backupFile{file, rows[strings.TrimSuffix(file.Path, ".parquet")]})
	}
	return f.Write(export.ManifestName, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(m)
	})
}

// readBackup reads the manifest of a backup, and makes sure that its files are those that were written.
func readBackup(dir string) (*backupManifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, export.ManifestName))
	if err != nil {
		return nil, fmt.Errorf("%s is no backup: %w", dir, err)
	}
	var m backupManifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s is no backup: %w", dir, err)
	}
	if m.Version != backupVersion {
		return nil, fmt.Errorf("this release does not read backups of version %d, as %s is", m.Version, dir)
	}
	for _, table := range backedTables {
		of := m.file(table)
		if of.Path == "" {
			return nil, fmt.Errorf("the backup %s has no file of %s", dir, table)
		}
		sum := sha256.New()
		file, err := os.Open(filepath.Join(dir, of.Path))
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(sum, file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		if hex.EncodeToString(sum.Sum(nil)) != of.SHA256 {
			return nil, fmt.Errorf("%s is not the file that was written: its SHA-256 is not that of %s; take another backup",
				filepath.Join(dir, of.Path), export.ManifestName)
		}
	}
	return &m, nil
}

// fill puts the tables of a backup back into a database, whose tables must be empty.
func (m *backupManifest) fill(ctx context.Context, conn driver.Conn, dir string) error {
	for _, table := range backedTables {
		var rows uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+table).Scan(&rows); err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("%s has rows already, and a backup is put back into empty tables alone; "+
				"drop the database, run `apportion migrate`, and restore again", table)
		}
	}
	for _, table := range backedTables {
		rows, err := restoreTable(ctx, conn, filepath.Join(dir, table+".parquet"), table)
		if err == nil && rows != m.rows(table) {
			err = fmt.Errorf("the file of %s has %d rows, and %d were written", table, rows, m.rows(table))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func newBackupRestoreCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore DIR",
		Short: "Put a backup back into an empty database",
		Long: `Puts the tables of a backup back, after "migrate" has made them, and writes to the registry's topic
what it has lost, all of it where it was recreated. What has come since the backup is taken from
Kafka: ingest goes on where the ledger ends, and daily figures are computed as ever. Files are
compared with their SHA-256 first.

What was issued since the backup has no lines in it: its tenants are stopped until a later backup
is restored. Stop whatever else writes to the topics and the database before.`,
		Example: `  apportion migrate --config data/apportion.yaml
  apportion backup restore --config data/apportion.yaml backups/2026-10-04`,
		Args: cobra.ExactArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error { return a.restore(ctx, args[0]) }),
	}
}

func (a *app) restore(ctx context.Context, dir string) error {
	m, err := readBackup(dir)
	if err != nil {
		return err
	}
	if m.TopicPrefix != a.cfg.Kafka.TopicPrefix {
		return fmt.Errorf("the backup is of topics that begin with %q, and kafka.topicPrefix is %q",
			m.TopicPrefix, a.cfg.Kafka.TopicPrefix)
	}
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	if err := m.fill(ctx, s.conn, dir); err != nil {
		return err
	}
	written, err := s.registry.Restore(ctx)
	if err != nil {
		return err
	}
	commands, err := s.registry.Rebuild(ctx)
	if err != nil {
		return err
	}
	result := struct {
		*backupManifest
		Written int `json:"writtenToTopic"`
	}{m, written}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "restored: %d deliveries and %d that were refused, %d lines, %d commands of the registry\n",
			m.rows("usage_events"), m.rows("rejected"), m.rows("invoice_lines"), commands)
		if written > 0 {
			fmt.Fprintf(w, "written to the registry's topic: %d commands\n", written)
		}
	})
}

// made is when a backup was made, for people.
func (m *backupManifest) made() string {
	at, err := time.Parse(time.RFC3339, m.MadeAt)
	if err != nil {
		return m.MadeAt
	}
	return civil.FormatMillis(at.UnixMilli())
}

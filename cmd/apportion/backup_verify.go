package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/ingest/kafka"
	"apportion/schemas/civil"
)

func newBackupVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Prove that a backup can be put back",
		Long: `Puts a backup back beside what stands, into a database of its own on the configured ClickHouse, with
the registry as the backup's commands come to; computes the daily figures, reconciles every period
(R22), and writes the files of every issued period, which must be the same bytes as those of what
stands (R23). The database is dropped at the end. Nothing that stands is changed.

Where what stands is lost or has issued more since, the lines are compared with the hashes that the
registry's log has of them, and the files with nothing. The exit code is 3 when anything differs.`,
		Example: `  apportion backup verify --config data/apportion.yaml backups/2026-10-04`,
		Args:    cobra.ExactArgs(1),
		RunE:    a.command(func(ctx context.Context, args []string) error { return a.verifyBackup(ctx, args[0]) }),
	}
}

// verifiedBackup is what came of putting a backup back beside what stands.
type verifiedBackup struct {
	Backup      *backupManifest  `json:"backup"`
	Periods     []verifiedPeriod `json:"periods"`
	Differences []string         `json:"differences"`
}

// verifiedPeriod is an issued period of a backup.
type verifiedPeriod struct {
	Period   civil.Month `json:"period"`
	Invoices int         `json:"invoices"`
	// Files counts those that are the same bytes as those of what stands; 0 where there is nothing to compare with.
	Files int `json:"files"`
}

func (a *app) verifyBackup(ctx context.Context, dir string) (err error) {
	m, err := readBackup(dir)
	if err != nil {
		return err
	}
	log, err := readCommandLog(filepath.Join(dir, "registry_log.parquet"))
	if err != nil {
		return err
	}
	beside := &app{environ: a.environ, stdout: io.Discard, stderr: io.Discard, clock: a.clock}
	beside.cfg, beside.log = a.cfg, a.log
	beside.cfg.Kafka.TopicPrefix = m.TopicPrefix
	beside.cfg.ClickHouse.Cluster = "" // one server has it all
	beside.cfg.ClickHouse.Database = "apportion_verify_" + uuid.NewString()[:8]
	defer func() { err = errors.Join(err, beside.dropDatabase(context.WithoutCancel(ctx)), beside.close()) }()
	if _, err := beside.migrate(ctx); err != nil {
		return err
	}
	conn, err := beside.clickhouse(ctx)
	if err != nil {
		return err
	}
	if err := m.fill(ctx, conn, dir); err != nil {
		return err
	}
	restored, err := beside.newServicesOn(conn, log)
	if err != nil {
		return err
	}
	if _, err := restored.registry.Rebuild(ctx); err != nil {
		return err
	}
	result := &verifiedBackup{Backup: m, Periods: []verifiedPeriod{}, Differences: []string{}}
	if err := result.reconcile(ctx, restored); err != nil {
		return err
	}
	if err := a.verifyIssued(ctx, restored, result); err != nil {
		return err
	}
	if err := a.print(result, func(w io.Writer) { writeVerified(w, result) }); err != nil {
		return err
	}
	if n := len(result.Differences); n > 0 {
		return findings(plural(n, "difference", "differences") + ", as listed above: do not rely on this backup")
	}
	return nil
}

func writeVerified(w io.Writer, v *verifiedBackup) {
	fmt.Fprintf(w, "backup of %s: put back, %d deliveries, %d issues, %d commands\n",
		v.Backup.made(), v.Backup.rows("usage_events"), v.Backup.Issues, v.Backup.Commands)
	for _, p := range v.Periods {
		fmt.Fprintf(w, "%s: %s, ", p.Period, plural(p.Invoices, "invoice as it was issued", "invoices as they were issued"))
		if p.Files > 0 {
			fmt.Fprintf(w, "%s the same bytes\n", plural(p.Files, "file", "files"))
		} else {
			fmt.Fprintln(w, "and no files to compare with")
		}
	}
	for _, d := range v.Differences {
		fmt.Fprintln(w, "differs: "+d)
	}
}

// reconcile notes what does not balance of what was put back. What is on Kafka and not in the backup is no difference.
func (v *verifiedBackup) reconcile(ctx context.Context, restored *services) error {
	r, err := restored.invoices.ReconcileAll(ctx)
	if err != nil {
		return err
	}
	v.Differences = append(v.Differences, ledgerDifferences(&r.LedgerBalance)...)
	for _, p := range r.Periods {
		for _, d := range tenantDifferences(p.Tenants) {
			v.Differences = append(v.Differences, p.Period.String()+": "+d)
		}
	}
	return nil
}

// verifyIssued writes the files of every issued period as it was put back and as it stands, and compares them.
func (a *app) verifyIssued(ctx context.Context, restored *services, v *verifiedBackup) error {
	state, err := restored.registry.CatchUp(ctx)
	if err != nil {
		return err
	}
	var periods []civil.Month
	for of := range billing.IssuedPeriods(state) {
		if !slices.Contains(periods, of.Period) {
			periods = append(periods, of.Period)
		}
	}
	slices.Sort(periods)
	stands, standsErr := a.services(ctx) // it may be lost
	work, err := os.MkdirTemp("", "apportion-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for _, period := range periods {
		run, err := restored.invoices.Issued(ctx, period)
		if err != nil {
			return err
		}
		for _, stop := range run.Stopped {
			v.Differences = append(v.Differences, stop.Error())
		}
		verified := verifiedPeriod{Period: period, Invoices: len(run.Invoices)}
		if standsErr == nil && len(run.Stopped) == 0 {
			if verified.Files, err = v.compareFiles(ctx, stands, run, work); err != nil {
				return err
			}
		}
		v.Periods = append(v.Periods, verified)
	}
	return nil
}

// compareFiles compares the files of a period with those of what stands, and counts the same ones; 0 where other
// tenants are issued there by now, or its lines are no longer those that were issued.
func (v *verifiedBackup) compareFiles(
	ctx context.Context, stands *services, run *billing.Run, work string,
) (int, error) {
	other, err := stands.invoices.Issued(ctx, run.Period)
	if err != nil || len(other.Stopped) > 0 || len(other.Accounts) != len(run.Accounts) {
		return 0, nil // it is lost, or has gone on
	}
	restored, _, err := export.Write(filepath.Join(work, "restored"), run)
	if err != nil {
		return 0, err
	}
	standing, _, err := export.Write(filepath.Join(work, "standing"), other)
	if err != nil {
		return 0, err
	}
	same := 0
	err = filepath.WalkDir(standing, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(standing, path)
		wanted, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join(restored, name)); err != nil || !bytes.Equal(got, wanted) {
			v.Differences = append(v.Differences, fmt.Sprintf("%s: %s is not the same bytes", run.Period, name))
		} else {
			same++
		}
		return nil
	})
	return same, err
}

// dropDatabase drops the database that the app is configured with.
func (a *app) dropDatabase(ctx context.Context) error {
	options, err := a.clickhouseOptions()
	if err != nil {
		return err
	}
	database := options.Auth.Database
	options.Auth.Database = ""
	db := clickhouse.OpenDB(options)
	_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+database+"`")
	return errors.Join(err, db.Close())
}

// commandLog is the registry's log as a backup has it.
type commandLog struct{ commands []loggedCommand }

type loggedCommand struct {
	arrivedMS int64
	payload   []byte
}

// readCommandLog reads the commands of a backup, which has every one from the first on.
func readCommandLog(path string) (*commandLog, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	type row struct {
		Offset    int64  `parquet:"offset"`
		ArrivedMS int64  `parquet:"arrived_ms"`
		Payload   string `parquet:"payload"`
	}
	in := parquet.NewGenericReader[row](file)
	defer in.Close()
	log, rows := &commandLog{}, make([]row, 100)
	for {
		n, err := in.Read(rows)
		for _, r := range rows[:n] {
			if r.Offset != int64(len(log.commands)) {
				return nil, fmt.Errorf("%s has no command %d, so none after it has its offset", path, len(log.commands))
			}
			log.commands = append(log.commands, loggedCommand{r.ArrivedMS, []byte(r.Payload)})
		}
		if errors.Is(err, io.EOF) {
			return log, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// Read hands over the commands from an offset on.
func (l *commandLog) Read(_ context.Context, from int64, visit kafka.LogVisitor) (next int64, err error) {
	for n := from; n < int64(len(l.commands)); n++ {
		if err := visit(n, l.commands[n].arrivedMS, l.commands[n].payload); err != nil {
			return n, err
		}
	}
	return int64(len(l.commands)), nil
}

// Tail is Read: nothing is ever added.
func (l *commandLog) Tail(ctx context.Context, from int64, visit kafka.LogVisitor) (next int64, err error) {
	return l.Read(ctx, from, visit)
}

// Append refuses: a backup is read alone.
func (l *commandLog) Append(context.Context, ...kafka.LogRecord) (last int64, err error) {
	return 0, errors.New("a backup is not written to")
}

// Same makes sure that the log has a command at an offset.
func (l *commandLog) Same(_ context.Context, offset int64, value []byte) error {
	if offset >= int64(len(l.commands)) || !bytes.Equal(l.commands[offset].payload, value) {
		return fmt.Errorf("the backup has another command at offset %d than registry_log", offset)
	}
	return nil
}

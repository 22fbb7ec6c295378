package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas/civil"
	"apportion/schemas/retry"
	"apportion/schemas/tables"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"
)

// app is what the commands share: how the program was started, the configuration once it stands, and the
// connections, which are opened when a command first asks for them.
type app struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer

	// Flags of every command.
	configFile string
	set        []string
	logLevel   string
	json       bool

	// These stand once a command has begun.
	begun   bool
	cfg     config.Config
	sources map[string]string // where each setting came from, by key
	log     *slog.Logger

	conn        driver.Conn      // see clickhouse
	opening     sync.Mutex       // of the two below
	kafkaClient *kafka.Client    // see kafka
	parts       retry.Supervisor // of run, and aggregate by itself
	shards      []driver.Conn    // see openShards
	closers     []func() error

	// ingestTuning, nil but in tests, has the last word on how ingest is made.
	ingestTuning func(*ingest.Config, *ingest.Deps)
	// clock, time.Now but in tests, is the process's clock.
	clock func() time.Time
	// issueAt, nil but in tests, is told of every point that an issue passes.
	issueAt func(point string)
}

// command wraps what a command does, for cobra: the configuration is loaded before, connections are closed
// after. Completion and help do without, so that a faulty configuration does not stop them.
func (a *app) command(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		if a.logLevel != "" {
			a.set = append(a.set, "log.level="+a.logLevel)
		}
		if a.cfg, a.sources, err = config.Load(a.configFile, a.environ, a.set); err != nil {
			return usageError{err}
		}
		a.log = newLogger(a.stderr, a.cfg)
		a.parts.Log, a.parts.Permanent = a.log, isPermanent
		if name := a.cfg.Time.ZoneData; name != "" {
			data, err := readZoneData(name)
			if err != nil {
				return usagef("time.zoneData (from %s): %w", a.sources["time.zoneData"], err)
			}
			civil.Use(data)
		}
		a.begun = true
		defer func() {
			for _, close := range a.closers {
				err = errors.Join(err, close())
			}
		}()
		return withAdvice(do(cmd.Context(), args))
	}
}

// withAdvice adds to an error which command helps, where one does.
func withAdvice(err error) error {
	cannot := new(service.Error)
	if !errors.As(err, &cannot) {
		return err
	}
	if command := withCommand("", cannot.Code, "PERIOD", cannot.Period.String()); command != "" {
		return fmt.Errorf("%w; %s%s", err, cannot.Code.Advice(), command)
	}
	return err
}

// untilInterrupted gives the result of a command that runs until it is interrupted, which is then no failure.
func untilInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// usageError is wrong usage or configuration.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// findings says what a command that was done found.
type findings string

func (f findings) Error() string { return string(f) }

// exitCode returns the program's exit code. Until a command has begun all errors are cobra's own, on flags,
// arguments and names, or the configuration's.
func (a *app) exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case !a.begun, errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, new(findings)):
		return exitFindings
	}
	return exitFailed
}

func newLogger(w io.Writer, cfg config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		panic(err) // the configuration has been checked
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// kafka returns the client of Kafka, which the command's end closes, or says how to configure it.
func (a *app) kafka() (*kafka.Client, error) {
	a.opening.Lock()
	defer a.opening.Unlock()
	if a.kafkaClient == nil {
		brokers, err := a.brokers()
		if err != nil {
			return nil, err
		}
		a.kafkaClient = kafka.NewClient(brokers, a.log)
		a.closers = append(a.closers, a.kafkaClient.Close)
	}
	return a.kafkaClient, nil
}

// brokers returns the Kafka cluster, or says how to configure it.
func (a *app) brokers() (brokers kafka.Brokers, err error) {
	k := a.cfg.Kafka
	if len(k.Brokers) == 0 {
		return brokers, notConfigured("Kafka", "kafka.brokers")
	}
	brokers.Addrs = k.Brokers
	if brokers.TLS, err = k.TLS.Load("kafka.tls"); err != nil {
		return brokers, usageError{err}
	}
	if k.SASL.Mechanism != "" {
		if brokers.SASL, err = kafka.SASL(k.SASL.Mechanism, k.SASL.User, k.SASL.Password); err != nil {
			return brokers, usagef("kafka.sasl: %w", err)
		}
		a.warnOfClearPassword()
	}
	return brokers, nil
}

// warnOfClearPassword says that whoever reads along learns Kafka's password, if that is so.
func (a *app) warnOfClearPassword() {
	if k := a.cfg.Kafka; k.SASL.Mechanism == "PLAIN" && !k.TLS.Enabled {
		a.log.Warn("kafka.sasl.mechanism PLAIN sends the password in the clear; set kafka.tls.enabled, or use SCRAM-SHA-512")
	}
}

// topic returns the name that a topic of the event contract has here.
func (a *app) topic(name string) string { return a.cfg.Kafka.TopicPrefix + name }

// clickhouseOptions returns what both interfaces of the driver connect with, or says how to configure it.
func (a *app) clickhouseOptions() (*clickhouse.Options, error) {
	c := a.cfg.ClickHouse
	if len(c.Addr) == 0 {
		return nil, notConfigured("ClickHouse", "clickhouse.addr")
	}
	secure, err := c.TLS.Load("clickhouse.tls")
	if err != nil {
		return nil, usageError{err}
	}
	options := &clickhouse.Options{
		Addr:         c.Addr,
		TLS:          secure,
		Auth:         clickhouse.Auth{Database: c.Database, Username: c.User, Password: c.Password},
		Compression:  &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
		Settings:     tables.Settings(),
		MaxOpenConns: 64, // ingest uses one for each partition
		MaxIdleConns: 16,
	}
	if c.Cluster != "" {
		options.Settings = tables.Settings(clusterSettings)
	}
	return options, nil
}

// clickhouse returns the connection to ClickHouse, which the command's end closes, once the server has answered.
func (a *app) clickhouse(ctx context.Context) (driver.Conn, error) {
	if a.conn != nil {
		return a.conn, nil
	}
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	if err := a.checkDatabase(ctx, *options); err != nil {
		return nil, err
	}
	return a.openClickHouse()
}

// openClickHouse returns the same for those that wait for the server by themselves.
func (a *app) openClickHouse() (driver.Conn, error) {
	if a.conn != nil {
		return a.conn, nil
	}
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	if a.conn, err = clickhouse.Open(options); err != nil {
		return nil, err
	}
	a.closers = append(a.closers, a.conn.Close)
	return a.conn, nil
}

// checkDatabase makes sure that the server answers and has the database, and so has every shard of the cluster, if
// there is one. It asks on a connection that names none,
// because the embedded server ends at a handshake that it refuses, and is away until it is started again.
func (a *app) checkDatabase(ctx context.Context, options clickhouse.Options) error {
	database := options.Auth.Database
	options.Auth.Database = ""
	db := clickhouse.OpenDB(&options)
	defer db.Close()
	var n uint64
	if err := db.QueryRowContext(ctx, "SELECT count() FROM system.databases WHERE name = ?", database).Scan(&n); err != nil {
		return a.explain(err)
	}
	if n == 0 {
		return fmt.Errorf("ClickHouse has no database %s; `apportion migrate` creates it", database)
	}
	if err := a.checkCluster(ctx, db); err != nil {
		return err
	}
	_, err := a.openShards(ctx)
	return err
}

// ClickHouse's codes for a setting that the user's profile fixes: all of them, or one by a constraint.
const (
	readonlyProfile    = 164
	settingConstrained = 452
)

// explain says what to do about an error of connecting to ClickHouse.
func (a *app) explain(err error) error {
	var refused *clickhouse.Exception
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && (refused.Code == readonlyProfile || refused.Code == settingConstrained):
		return retry.Permanent(fmt.Errorf("ClickHouse does not let the user %s have a setting that a right result depends on: %w; "+
			"lift `readonly` or the constraint in the user's profile, or set clickhouse.user to another", a.cfg.ClickHouse.User, err))
	case errors.As(err, &refused):
		return err
	}
	return fmt.Errorf("ClickHouse at %s does not answer: %w; check clickhouse.addr, or start it with `apportion dev --data DIR`",
		strings.Join(a.cfg.ClickHouse.Addr, ", "), err)
}

func notConfigured(server, key string) error {
	return usagef("no %s configured: start `apportion dev --data DIR` and pass --config DIR/apportion.yaml, or set %s", server, key)
}

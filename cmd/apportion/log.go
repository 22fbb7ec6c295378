package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"apportion/cmd/apportion/config"
	"apportion/schemas/tables"
)

// newLogger returns the log, in which durations are in seconds.
func newLogger(w io.Writer, cfg config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		panic(err) // the configuration has been checked
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			return slog.Float64(a.Key+"Seconds", a.Value.Duration().Seconds())
		}
		return a
	}}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// started begins the log of a command that runs until it is interrupted. From then on all that it says is in the log,
// its last error too.
func (a *app) started(command string) {
	a.lasting = true
	b, ch := thisBuild(), a.cfg.ClickHouse
	a.log.Info("started", "command", command, "version", b.Version, "commit", b.Commit, "go", b.Go,
		"schema", b.Schema.String(), "zoneData", b.ZoneData, "configuration", a.configuration(),
		"kafka", strings.Join(a.cfg.Kafka.Brokers, ","), "topicPrefix", a.cfg.Kafka.TopicPrefix,
		"clickhouse", strings.Join(ch.Addr, ","), "database", ch.Database, "cluster", ch.Cluster)
	a.warnOfStaleZones()
}

// configuration says where the settings came from that are not the defaults, without what they are.
func (a *app) configuration() string {
	var from []string
	for _, s := range config.Settings(&a.cfg) {
		switch source := a.sources[s.Key]; {
		case source == "default", source == "":
		case source == "flag", strings.HasPrefix(source, "environment "):
			from = append(from, source+" "+s.Key)
		default: // a line of the file
			from = append(from, source[:strings.LastIndex(source, ":")])
		}
	}
	slices.Sort(from)
	if from = slices.Compact(from); len(from) == 0 {
		return "default"
	}
	return strings.Join(from, ", ")
}

// ended says why a command ended with an error.
func (a *app) ended(err error, code int) {
	text := fmt.Sprintf("%v%s", err, advice(err))
	if a.lasting {
		a.log.Error("ended", "error", text, "exitCode", code)
		return
	}
	fmt.Fprintf(a.stderr, "apportion: %s\n", text)
}

// logSchema says once which version the tables are of.
func (c *connections) logSchema(version int64) {
	if c.lasting {
		c.schemaLogged.Do(func() {
			c.log.Info("the tables are as needed", "schema", version, "worksWith", tables.Works().String())
		})
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/ingest"
	"apportion/schemas/civil"
	"apportion/schemas/retry"
)

// app is what the commands share: how the program was started, and once a command has begun its configuration and
// connections.
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
	sources map[string]string // where each setting came from, by key
	parts   retry.Supervisor  // of run, and aggregate by itself
	connections

	// ingestTuning, nil but in tests, has the last word on how ingest is made.
	ingestTuning func(*ingest.Config, *ingest.Deps)
	// clock, time.Now but in tests, is the process's clock.
	clock func() time.Time
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
		if err := a.startTracing(cmd.Context()); err != nil {
			return err
		}
		a.begun = true
		defer func() { err = errors.Join(err, a.close()) }()
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

// Command apportion meters a contact centre's usage and turns it into monthly invoice lines for tenants that
// hold several subscriptions.
//
// This package wires the others by hand: every subcommand is one small file that opens what it needs, in the
// order in which data flows, and hands it over. What the commands share (configuration, logging, results,
// connections) is the [app]. Drivers, the clock and the schedule enter the program here and nowhere above.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"apportion/deploy/embedded"
)

// The exit codes are a contract with scripts and schedulers.
const (
	exitDone     = 0
	exitFailed   = 1 // it could not be done
	exitUsage    = 2 // wrong usage or configuration
	exitFindings = 3 // done, with findings
)

func main() {
	// First of all: the embedded ClickHouse is this program, started again.
	embedded.RunChild()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal finds the default handler again, and ends a program that does not come to its end.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for what only a process has, and returns its exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runApp(ctx, &app{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}, args)
}

func runApp(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)

	err := root.ExecuteContext(ctx)
	code := a.exitCode(err)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = errors.New("interrupted before it was done; run it again to go on")
		}
		a.ended(err, code)
	}
	return code
}

// newRoot returns the command tree, its subcommands in the order in which data flows.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "apportion",
		Short: "Meter contact centre usage and invoice it across subscriptions",
		Long: `Apportion meters a contact centre's usage and turns it into monthly invoice lines for
tenants that hold several subscriptions.

Results go to stdout, messages and progress to stderr. Settings come from the file that
--config or APPORTION_CONFIG names, then from APPORTION_… variables, then from flags, the
later winning; "apportion config" shows what is in effect and where it came from.

Exit codes: 0 done; 1 it could not be done, and the message says what to do; 2 wrong usage
or configuration; 3 done, with findings (refused commands, tenants stopped, an unbalanced
period, differences).`,
		Example: `  apportion demo
  apportion dev --data data
  apportion --config data/apportion.yaml bill preview --period 2026-10`,
		Version:       thisBuild().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "read settings from this YAML `file` (default: APPORTION_CONFIG)")
	flags.StringArrayVar(&a.set, "set", nil,
		"set a `key=value` of the configuration, such as kafka.group=billing; can be repeated")
	flags.StringVar(&a.logLevel, "log-level", "",
		"log from this `level` on: debug, info, warn or error (default: log.level)")
	flags.BoolVar(&a.json, "json", false, "print the result as JSON")

	root.AddCommand(
		newDemoCommand(a),
		newDevCommand(a),
		newMigrateCommand(a),
		newRegistryCommand(a),
		newEventsCommand(a),
		newPublishCommand(a),
		newIngestCommand(a),
		newRejectedCommand(a),
		newAggregateCommand(a),
		newReconcileCommand(a),
		newBillCommand(a),
		newAdviseCommand(a),
		newLedgerCommand(a),
		newSealCommand(a),
		newBackupCommand(a),
		newExplainCommand(a),
		newRunCommand(a),
		newVerifyCommand(a),
		newServeCommand(a),
		newHealthCommand(a),
		newTokenCommand(a),
		newConfigCommand(a),
		newVersionCommand(a),
	)
	return asGroup(root)
}

// group returns a command that only has subcommands.
func group(name, short, long, example string, subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Example: example}
	cmd.AddCommand(subcommands...)
	return asGroup(cmd)
}

// asGroup makes a command refuse what is none of its subcommands. Cobra by itself takes any word after a group
// for a wish to see its help, and the script that mistyped it goes on.
func asGroup(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := cmd.CommandPath()
		if len(args) == 0 {
			cmd.SetOut(cmd.ErrOrStderr())
			if err := cmd.Help(); err != nil {
				return err
			}
			return usagef("%s needs a command, see above", path)
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("%s has no command %q; did you mean %s?", path, args[0], near[0])
		}
		return usagef("%s has no command %q; `%s --help` lists them", path, args[0], path)
	}
	return cmd
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"apportion/billing/registry"
	"apportion/billing/service"
)

func newRegistryApplyCommand(a *app) *cobra.Command {
	var file string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Bring tenants to where a document says they should stand",
		Long: `Compares a registry document, YAML or JSON, with what stands and gives the commands that
get there, one for each tenant that differs, all or nothing per tenant. Tenants that the
document leaves out stay as they are. Applying a document again changes nothing.

A command that a rule refuses is reported with the rule's code, the field, its value and
what to do; the exit code is then 3. Warned of are prices that an invoice may need
and that are missing (R19), ids that a spreadsheet takes for numbers, and a tax that takes
the place of another without a date (R26).`,
		Example: `  apportion registry apply --config data/apportion.yaml -f tenants.yaml
  apportion registry apply --config data/apportion.yaml -f tenants.yaml --dry-run --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			return a.registryApply(ctx, file, dryRun)
		}),
	}
	documentFlag(cmd, &file)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the commands and what they change, and give none")
	return cmd
}

func newRegistryCheckCommand(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -f FILE",
		Short: "Check a registry document without changing anything",
		Long: `Checks a registry document, YAML or JSON: by itself, and where Kafka is configured also
against what stands. Everything that would be refused is reported with its code, field,
value and what to do, and the exit code is then 3. Warned of are prices that an invoice may
come to need and that are missing (R19), ids that a spreadsheet takes for numbers, and a tax
that takes the place of another without a date (R26).`,
		Example: `  apportion registry check -f tenants.yaml
  apportion registry check --config data/apportion.yaml -f tenants.yaml --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error { return a.registryCheck(ctx, file) }),
	}
	documentFlag(cmd, &file)
	return cmd
}

func documentFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "file", "f", "",
		"the registry document, a `file` of YAML or JSON, or - for standard input")
	cmd.MarkFlagRequired("file")
	cmd.MarkFlagFilename("file", "yaml", "yml", "json")
}

// readDocument reads a registry document, or says what is wrong with its form.
func (a *app) readDocument(file string) (*registry.Document, []registry.Problem, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(a.stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the registry document: %w", err)
	}
	doc, problems := registry.Parse(file, data)
	return doc, problems, nil
}

func (a *app) registryApply(ctx context.Context, file string, dryRun bool) error {
	doc, problems, err := a.readDocument(file)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		if err := a.printFindings(found(problems), nil); err != nil {
			return err
		}
		return fmt.Errorf("%s cannot be applied, and nothing was: put right what is listed above", file)
	}
	var outcomes []*service.Outcome
	if dryRun {
		state, err := a.loadRegistry(ctx)
		if err != nil {
			return err
		}
		_, outcomes = service.DryRunDocument(state, doc, a.now().UnixMilli())
	} else {
		s, err := a.services(ctx)
		if err != nil {
			return err
		}
		if outcomes, err = s.registry.Apply(ctx, person(), doc); err != nil {
			return err
		}
		if err := s.registry.RecordTenants(ctx); err != nil {
			return err
		}
	}
	return a.printOutcomes(outcomes, service.Warnings(doc, outcomes))
}

// printOutcomes prints what became of commands, and returns a finding if one was refused.
func (a *app) printOutcomes(outcomes []*service.Outcome, warnings []registry.Warning) error {
	result := struct {
		Commands []*service.Outcome `json:"commands"`
		Warnings []registry.Warning `json:"warnings"`
	}{orEmpty(outcomes), warnings}
	err := a.print(result, func(w io.Writer) {
		writeOutcomes(w, outcomes)
		for _, warning := range warnings {
			fmt.Fprintln(w, "warning:", warning)
		}
	})
	return errors.Join(err, refusedFinding(refusedOf(outcomes), len(outcomes)))
}

// writeOutcomes says for people what became of commands, or would.
func writeOutcomes(w io.Writer, outcomes []*service.Outcome) {
	if len(outcomes) == 0 {
		fmt.Fprintln(w, "nothing to do: everything stands as it should")
	}
	of := func(o *service.Outcome) string { return strings.TrimSpace(o.Command + " " + o.Tenant) }
	for _, o := range outcomes {
		switch {
		case !o.Accepted:
			fmt.Fprintf(w, "%s: refused\n", of(o))
		case o.Offset == nil:
			fmt.Fprintf(w, "%s: would be accepted\n", of(o))
		default:
			fmt.Fprintf(w, "%s: accepted, at offset %d\n", of(o), *o.Offset)
		}
		for _, line := range o.Changes {
			fmt.Fprintln(w, "  "+line)
		}
		for _, r := range o.Refusals {
			fmt.Fprintln(w, "  "+refusalText(r, o.Tenant))
		}
	}
}

// refusedOf counts the commands that were refused, or would be.
func refusedOf(outcomes []*service.Outcome) int {
	refused := 0
	for _, o := range outcomes {
		if !o.Accepted {
			refused++
		}
	}
	return refused
}

// refusedFinding returns the finding that commands were refused, if any were.
func refusedFinding(refused, commands int) error {
	if refused == 0 {
		return nil
	}
	return findings(fmt.Sprintf("refused: %d of %d commands; put right what is listed above", refused, commands))
}

// finding is one thing to put right in a document.
type finding struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	registry.Refusal

	tenant string
}

func found(problems []registry.Problem) []finding {
	all := make([]finding, len(problems))
	for i, p := range problems {
		all[i] = finding{p.File, p.Line, p.Refusal, ""}
	}
	return all
}

func (a *app) registryCheck(ctx context.Context, file string) error {
	doc, problems, err := a.readDocument(file)
	if err != nil {
		return err
	}
	all, missing := found(problems), []registry.Warning(nil)
	if len(problems) == 0 {
		var standing registry.State
		if len(a.cfg.Kafka.Brokers) > 0 {
			if standing, err = a.loadRegistry(ctx); err != nil {
				return err
			}
		}
		_, outcomes := service.DryRunDocument(standing, doc, 0)
		for _, o := range outcomes {
			for _, r := range o.Refusals {
				all = append(all, finding{Refusal: r, tenant: o.Tenant})
			}
		}
		missing = service.Warnings(doc, outcomes)
	}
	if err := a.printFindings(all, missing); err != nil {
		return err
	}
	if len(all) > 0 {
		return findings(file + " would be refused: put right what is listed above")
	}
	return nil
}

// printFindings prints what is to be put right in a document, and the prices that it lacks.
func (a *app) printFindings(all []finding, missing []registry.Warning) error {
	result := struct {
		Findings []finding          `json:"findings"`
		Warnings []registry.Warning `json:"warnings"`
	}{orEmpty(all), orEmpty(missing)}
	return a.print(result, func(w io.Writer) {
		for _, f := range all {
			if f.Line > 0 {
				fmt.Fprintf(w, "%s:%d: ", f.File, f.Line)
			}
			fmt.Fprintln(w, refusalText(f.Refusal, f.tenant))
		}
		for _, warning := range missing {
			fmt.Fprintln(w, "warning:", warning)
		}
		if len(all) == 0 {
			fmt.Fprintln(w, "nothing would be refused")
		}
	})
}

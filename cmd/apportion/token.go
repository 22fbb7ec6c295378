package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"apportion/billing/web/access"
	"apportion/cmd/apportion/config"
	"apportion/schemas/civil"
)

func newTokenCommand(a *app) *cobra.Command {
	return group("token", "Make tokens, by which programs may use the API",
		`Makes tokens, by which programs may use the API.`,
		`  apportion token new --name wxcc-eu1 --role publisher --tenant acme --source /wxcc/eu1`,
		newTokenNewCommand(a))
}

func newTokenNewCommand(a *app) *cobra.Command {
	var token config.Token
	cmd := &cobra.Command{
		Use:   "new --name NAME --role ROLE",
		Short: "Make a token, and what the configuration has of it",
		Long: `Makes a token of 256 random bits and shows it, once, with what goes into the configuration,
below auth.tokens: its SHA-256 and what its holder may do. The token itself is kept nowhere.

A tenant's administrator needs --tenant, a publisher --tenant and --source too. Other roles
reach all tenants unless --tenant limits them.`,
		Example: `  apportion token new --name wxcc-eu1 --role publisher --tenant acme --source /wxcc/eu1 --expires 2027-06-30
  apportion token new --name erp --role finance --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(context.Context, []string) error { return a.newToken(token) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&token.Name, "name", "", "`name` of the program that has it, for logs and commands")
	flags.StringArrayVar(&token.Roles, "role", nil,
		"what it is to Apportion, a `role`: operator, finance, analyst, tenant or publisher; can be repeated")
	flags.StringArrayVar(&token.Tenants, "tenant", nil, "only this `tenant`; can be repeated")
	flags.StringArrayVar(&token.Sources, "source", nil, "a `source` that a publisher publishes from; can be repeated")
	flags.BoolVar(&token.SeeAgents, "see-agents", false, "see the ids of agents, also as analyst or tenant")
	flags.StringVar(&token.Expires, "expires", "", "the first `date`, in UTC, on which it is not accepted")
	for _, name := range []string{"name", "role"} {
		cmd.MarkFlagRequired(name)
	}
	var roles []string
	for _, role := range access.Roles {
		roles = append(roles, string(role))
	}
	cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// tokenFlags are the flags of what a token has.
var tokenFlags = map[string]string{
	"name": "--name", "roles": "--role", "tenants": "--tenant", "sources": "--source", "expires": "--expires",
}

// newToken makes and prints a token.
func (a *app) newToken(t config.Token) error {
	secret, err := access.NewToken(rand.Reader)
	if err != nil {
		return err
	}
	t.SHA256 = access.HashToken(secret)
	if member, must := t.Check(); member != "" {
		return usagef("%s must %s", tokenFlags[member], must)
	}
	if date, err := civil.ParseDate(t.Expires); err == nil && !a.now().Before(date.Time()) {
		return usagef("--expires %s must be a date to come", date)
	}
	if slices.ContainsFunc(a.cfg.Auth.Tokens, func(other config.Token) bool { return other.Name == t.Name }) {
		return usagef("--name %s: a token of that name is configured already; take another, such as %[1]s-2", t.Name)
	}
	entry, err := t.YAML()
	if err != nil {
		return err
	}
	return a.print(struct {
		Token string `json:"token"`
		YAML  string `json:"yaml"`
	}{secret, string(entry)}, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n\nThis is the only time that the token is shown. "+
			"Into the configuration, below auth.tokens, goes:\n\n%s", secret, entry)
	})
}

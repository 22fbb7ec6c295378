package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

func newRegistryShowCommand(a *app) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "show [TENANT]",
		Short: "Show what stands, and what it means at an instant",
		Long: `Lists the tenants or, for one of them, its subscriptions as they are at an
instant: which are active (R3), which is the primary (R4), what they commit to, and what
the tenant is entitled to (R14), and by which command of whom it was last changed. With --json,
one tenant comes with its whole document.`,
		Example: `  apportion registry show --config data/apportion.yaml
  apportion registry show --config data/apportion.yaml acme --at 2026-10-14T08:00:00Z`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error { return a.registryShow(ctx, args, at) }),
	}
	cmd.Flags().StringVar(&at, "at", "", "show it as it is at this `instant`, RFC 3339 (default: now)")
	return cmd
}

func newRegistryLosingAccessCommand(a *app) *cobra.Command {
	var on string
	cmd := &cobra.Command{
		Use:   "losing-access --on DATE",
		Short: "List the users who lose access on a date (R7)",
		Long: `Lists the users who have access until a date and none from it on, because no subscription
that they are mapped to stays active (R7). The date begins at 00:00 in each tenant's zone.
Map them to another subscription before then.`,
		Example: `  apportion registry losing-access --config data/apportion.yaml --on 2027-01-01`,
		Args:    cobra.NoArgs,
		RunE:    a.command(func(ctx context.Context, _ []string) error { return a.registryLosingAccess(ctx, on) }),
	}
	cmd.Flags().StringVar(&on, "on", "", "the `date`, such as 2027-01-01")
	cmd.MarkFlagRequired("on")
	return cmd
}

func (a *app) registryShow(ctx context.Context, args []string, at string) error {
	ms := time.Now().UnixMilli()
	if at != "" {
		var err error
		if ms, err = civil.ParseInstant(at); err != nil {
			return usagef("--at: %w", err)
		}
	}
	history, state, err := a.readRegistry(ctx)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return a.showTenant(history, state, args[0], ms)
	}
	result := []*service.TenantAt{}
	var rows [][]string
	for _, t := range state.Tenants() {
		f, err := service.NewTenantAt(state, t, ms, a.billingRules())
		if err != nil {
			return err
		}
		result = append(result, f)
		rows = append(rows, []string{f.Tenant, f.Name, f.TimeZone, f.Telephony, f.Primary,
			fmt.Sprintf("%d of %d", len(f.Active), f.Subscriptions)})
	}
	return a.print(result, func(w io.Writer) {
		writeTable(w, []string{"TENANT", "NAME", "ZONE", "TELEPHONY", "PRIMARY", "ACTIVE"}, rows)
	})
}

func (a *app) showTenant(history *service.Registry, state registry.State, id string, ms int64) error {
	t := state.Tenant(id)
	if t == nil {
		return fmt.Errorf("no tenant %s stands; `apportion registry show` lists those that do", id)
	}
	f, err := service.NewTenantAt(state, t, ms, a.billingRules())
	if err != nil {
		return err
	}
	f.Document = t
	last := func(tenant string, offset, _ int64) bool { return tenant == id && offset == f.Offset }
	for _, c := range history.Changes(last)[id] {
		f.Changed = &c
	}
	return a.print(f, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %s\n%s in %s, telephony %s, %d users mapped\n\n",
			t.ID, t.Name, f.At, t.TimeZone, t.Telephony, countUsers(t))
		var rows [][]string
		for i := range t.Subscriptions {
			rows = append(rows, rowOf(f, &t.Subscriptions[i]))
		}
		writeTable(w, []string{"SUBSCRIPTION", "NAME", "STATE", "MODEL", "PLAN", "DEPLOYMENT", "BILLING", "TERMS",
			"COMMITMENTS"}, rows)
		fmt.Fprintf(w, "\nentitled to %s\n", meters(f.Entitlement))
		if f.Changed != nil {
			fmt.Fprintf(w, "last changed by %s\n", changeText(*f.Changed))
		}
	})
}

func countUsers(t *registry.Tenant) int {
	users := make(map[string]bool)
	for _, l := range t.Licences {
		users[l.User] = true
	}
	return len(users)
}

// rowOf describes a subscription as it stands at the instant.
func rowOf(f *service.TenantAt, s *registry.Subscription) []string {
	state := "not active"
	switch {
	case s.ID == f.Primary:
		state = "primary"
	case s.ActiveOn(f.Date):
		state = "active"
	case s.Cancelled != civil.NoDate && f.Date >= s.Cancelled:
		state = "cancelled"
	}
	var terms []string
	for _, term := range s.Terms {
		terms = append(terms, term.From.String()+" to "+term.To.String())
	}
	commitments := "-"
	if v := s.VersionOn(f.Date); v != nil {
		commitments = meters(v.Commitments)
	}
	return []string{s.ID, s.Name, state, s.LicenceModel, s.Plan, s.Deployment, s.Billing + " " + s.Currency,
		strings.Join(terms, ", "), commitments}
}

// meters lists counts by meter, in byte order.
func meters(counts map[string]int64) string {
	var list []string
	for meter, n := range counts {
		list = append(list, meter+" "+strconv.FormatInt(n, 10))
	}
	slices.Sort(list)
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func (a *app) registryLosingAccess(ctx context.Context, on string) error {
	date, err := civil.ParseDate(on)
	if err != nil {
		return usagef("--on: %w", err)
	}
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return err
	}
	result := service.LosingAccess(state, date)
	var rows [][]string
	for _, l := range result {
		rows = append(rows, []string{l.Tenant, l.User, strings.Join(l.Subscriptions, ", ")})
	}
	return a.print(result, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintf(w, "nobody loses access on %s\n", date)
			return
		}
		writeTable(w, []string{"TENANT", "USER", "UNTIL NOW THROUGH"}, rows)
	})
}

package service

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"apportion/billing/registry"
)

// Document is the plan that gets to a document from what stands: one command for each tenant that differs, all or
// nothing per tenant. timeMS is when the commands are given, in UTC epoch milliseconds.
func Document(doc *registry.Document, timeMS int64) Plan {
	return func(state registry.State) []*Outcome {
		_, outcomes := DryRunDocument(state, doc, timeMS)
		return outcomes
	}
}

// DryRunDocument returns what would stand after the commands that get to a document, and what would become of each.
func DryRunDocument(state registry.State, doc *registry.Document, timeMS int64) (registry.State, []*Outcome) {
	refused := make(map[string][]registry.Refusal) // by tenant
	for _, r := range doc.Validate() {
		id, _, _ := strings.Cut(strings.TrimPrefix(r.Field, "tenants["), "]")
		refused[id] = append(refused[id], r)
	}
	var outcomes []*Outcome
	for _, c := range registry.Plan(state, doc, timeMS) {
		if _, ok := refused[c.TenantID]; ok {
			continue // all or nothing per tenant
		}
		var o *Outcome
		state, o = DryRun(state, c)
		outcomes = append(outcomes, o)
	}
	for _, id := range slices.Sorted(maps.Keys(refused)) {
		outcomes = append(outcomes, &Outcome{Tenant: id, Command: registry.PutTenant, Refusals: refused[id]})
	}
	slices.SortStableFunc(outcomes, func(a, b *Outcome) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return state, outcomes
}

// Warnings returns what to say of a document's tenants, those that a rule refuses left out, and of what changes.
func Warnings(doc *registry.Document, outcomes []*Outcome) []registry.Warning {
	all := []registry.Warning{}
	for i := range doc.Tenants {
		t := &doc.Tenants[i]
		if !slices.ContainsFunc(outcomes, func(o *Outcome) bool { return o.Tenant == t.ID && !o.Accepted }) {
			all = append(all, registry.Warnings(t)...)
		}
	}
	for _, o := range outcomes {
		all = append(all, o.Warnings...)
	}
	return all
}

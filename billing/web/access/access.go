// Package access says who may do what: roles, the one table of the operations that each role may ask for, and the scope
// that an answer is limited to. It takes what authentication found out about a caller and gives a [Scope], without
// which no handler can name a tenant; it opens nothing and reads no clock.
package access

import (
	"slices"
	"strings"

	"apportion/billing/registry"
)

// Role is what somebody is to Apportion.
type Role string

// The roles.
const (
	Operator  Role = "operator"  // runs it for all tenants
	Finance   Role = "finance"   // issues, holds and signs
	Analyst   Role = "analyst"   // reads figures
	Tenant    Role = "tenant"    // administers its own tenants
	Publisher Role = "publisher" // publishes events of its own sources
)

// Roles has every role.
var Roles = []Role{Operator, Finance, Analyst, Tenant, Publisher}

// Grant is a role, as far as it goes.
type Grant struct {
	Role Role `json:"role"`
	// Tenants limits it to these; without any, a role reaches all tenants, [Tenant] and [Publisher] none.
	Tenants []string `json:"tenants,omitempty"`
	// Sources limits a publisher to these; without any there is none that it may publish.
	Sources []string `json:"sources,omitempty"`
	// SeesAgents lets it see the ids of agents, who are persons.
	SeesAgents bool `json:"seesAgents,omitempty"`
}

// Identity is who asks, as authentication found out.
type Identity struct {
	// Subject names a person or a machine in logs and on commands.
	Subject string
	// Machine says that it is one: it has come with a token, and is `service` on its commands, where people are `user`.
	Machine bool
	Grants  []Grant
}

// Actor is who gives the commands of an identity, by CloudEvents' authtype and authid.
func (i Identity) Actor() registry.Actor {
	if i.Machine {
		return registry.Actor{Type: "service", ID: i.Subject}
	}
	return registry.Actor{Type: "user", ID: i.Subject}
}

// Has reports whether an identity has a role.
func (i Identity) Has(role Role) bool {
	return slices.ContainsFunc(i.Grants, func(g Grant) bool { return g.Role == role })
}

// Scope returns what an identity may ask of an operation for, and whether it may ask at all. It is the sum of those of
// its grants whose role may.
func (i Identity) Scope(operation string) (Scope, bool) {
	s := Scope{identity: i}
	for _, g := range i.Grants {
		if !slices.Contains(operations[operation], g.Role) {
			continue
		}
		s.granted = true
		s.grants = append(s.grants, g)
		switch {
		case len(g.Tenants) > 0:
			s.tenants = append(s.tenants, g.Tenants...)
		case g.Role != Tenant && g.Role != Publisher:
			s.all = true
		}
		s.sources = append(s.sources, g.Sources...)
		s.anySource = s.anySource || g.Role != Publisher
		s.seesAgents = s.seesAgents || g.SeesAgents || g.Role != Analyst && g.Role != Tenant
	}
	slices.Sort(s.tenants)
	s.tenants = slices.Compact(s.tenants)
	return s, s.granted
}

// Scope is what one answer is limited to. Only [Identity.Scope] makes one that reaches anything.
type Scope struct {
	identity   Identity
	granted    bool
	grants     []Grant // those whose role may
	all        bool
	tenants    []string // in byte order
	sources    []string
	anySource  bool
	seesAgents bool
}

// Identity is whose scope it is.
func (s Scope) Identity() Identity { return s.identity }

// Actor is who gives the commands.
func (s Scope) Actor() registry.Actor { return s.identity.Actor() }

// SeesAgents reports whether the ids of agents may be told.
func (s Scope) SeesAgents() bool { return s.seesAgents }

// HasTenant reports whether a tenant is within the scope.
func (s Scope) HasTenant(id string) bool {
	_, listed := slices.BinarySearch(s.tenants, id)
	return s.all || listed
}

// HasSource reports whether a source is within the scope.
func (s Scope) HasSource(source string) bool {
	return s.anySource || slices.Contains(s.sources, source)
}

// HasEvents reports whether the events of a tenant and source are within the scope of one grant: who publishes for two
// tenants, each from its own source, does not publish for one from the other's.
func (s Scope) HasEvents(tenant, source string) bool {
	return slices.ContainsFunc(s.grants, func(g Grant) bool {
		ofTenant := slices.Contains(g.Tenants, tenant) || len(g.Tenants) == 0 && g.Role != Tenant && g.Role != Publisher
		return ofTenant && (g.Role != Publisher || slices.Contains(g.Sources, source))
	})
}

// Sources returns the sources within the scope, and whether those are all there are.
func (s Scope) Sources() (sources []string, all bool) { return s.sources, s.anySource }

// TenantID is the id of a tenant that somebody may ask for.
type TenantID struct{ id string }

// String is the id.
func (t TenantID) String() string { return t.id }

// Tenant returns a tenant that a request names, and whether it is within the scope: to those who may not see it, a
// tenant is not there.
func (s Scope) Tenant(id string) (TenantID, bool) {
	if !s.HasTenant(id) {
		return TenantID{}, false
	}
	return TenantID{id}, true
}

// Tenants returns the tenants that a list is of: all within the scope or, where a request names one, that one. For a
// scope without a limit it returns everyone; none of the ids and not everyone is nobody.
func (s Scope) Tenants(named string) (ids []string, everyone bool) {
	switch {
	case named != "" && s.HasTenant(named):
		return []string{named}, false
	case named != "":
		return nil, false
	}
	return s.tenants, s.all
}

// GroupTenant stands for the tenant's id in the name of a group.
const GroupTenant = "{tenant}"

// GroupGrant gives roles to the members of a group.
type GroupGrant struct {
	Group      string // {tenant} in it stands for the id of the one tenant that the roles are for
	Roles      []Role
	SeesAgents bool
}

// member reports whether a rule is for the members of a group, and for which tenant if it is for one.
func (rule GroupGrant) member(group string) (tenant string, ok bool) {
	before, after, ofTenant := strings.Cut(rule.Group, GroupTenant)
	if !ofTenant {
		return "", group == rule.Group
	}
	rest, begins := strings.CutPrefix(group, before)
	id, ends := strings.CutSuffix(rest, after)
	return id, begins && ends && id != ""
}

// Granting returns those of some groups that a rule is for.
func Granting(rules []GroupGrant, groups []string) (granting []string) {
	for _, group := range groups {
		if slices.ContainsFunc(rules, func(rule GroupGrant) bool {
			_, ok := rule.member(group)
			return ok
		}) {
			granting = append(granting, group)
		}
	}
	return granting
}

// GrantsOf returns what the members of some groups are granted.
func GrantsOf(rules []GroupGrant, groups []string) (grants []Grant) {
	for _, rule := range rules {
		var tenants []string
		member := false
		for _, group := range groups {
			tenant, ok := rule.member(group)
			member = member || ok
			if ok && tenant != "" {
				tenants = append(tenants, tenant)
			}
		}
		if !member {
			continue
		}
		for _, role := range rule.Roles {
			grants = append(grants, Grant{Role: role, Tenants: tenants, SeesAgents: rule.SeesAgents})
		}
	}
	return grants
}

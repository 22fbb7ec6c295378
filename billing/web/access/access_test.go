package access

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What a scope reaches is the sum of the grants whose role may ask for the operation, and of no others.
func TestScope(t *testing.T) {
	both := Identity{Subject: "eva", Grants: []Grant{
		{Role: Analyst}, {Role: Tenant, Tenants: []string{"b", "a"}}, {Role: Publisher, Tenants: []string{"c"}, Sources: []string{"/s"}},
	}}
	for _, c := range []struct {
		who        Identity
		operation  string
		may        bool
		tenants    string
		seesAgents bool
	}{
		{both, "listUsage", true, "everyone", false},
		{both, "listUsers", true, "a b", false},
		{both, "postEvents", true, "c", true},
		{both, "putTenant", false, "", false},
		{both, "noSuchOperation", false, "", false},
		{Identity{}, "getMe", false, "", false},
		{Identity{Grants: []Grant{{Role: Tenant}}}, "listUsage", true, "", false},
		{Identity{Grants: []Grant{{Role: Operator, Tenants: []string{"a"}}}}, "listUsage", true, "a", true},
		{Identity{Grants: []Grant{{Role: Tenant, Tenants: []string{"a"}, SeesAgents: true}}}, "listUsage", true, "a", true},
	} {
		scope, may := c.who.Scope(c.operation)
		ids, everyone := scope.Tenants("")
		got := strings.Join(ids, " ")
		if everyone {
			got = "everyone"
		}
		if may != c.may || got != c.tenants || scope.SeesAgents() != c.seesAgents {
			t.Errorf("%s of %v: %t, %q, agents %t; want %t, %q, %t", c.operation, c.who.Grants, may, got, scope.SeesAgents(),
				c.may, c.tenants, c.seesAgents)
		}
	}
	scope, _ := both.Scope("listUsers")
	if ids, everyone := scope.Tenants("c"); ids != nil || everyone {
		t.Errorf("a foreign tenant that is named gives %v, %t", ids, everyone)
	}
	if _, ok := scope.Tenant("c"); ok {
		t.Error("a foreign tenant is within the scope")
	}
	if ids, everyone := (Scope{}).Tenants(""); len(ids) > 0 || everyone {
		t.Error("an empty scope reaches something")
	}
	publisher, _ := both.Scope("postEvents")
	if publisher.HasSource("/t") || !publisher.HasSource("/s") {
		t.Error("a publisher has sources that are not its own")
	}
}

// What two grants reach is not what their tenants and sources reach crosswise.
func TestScopeOfEvents(t *testing.T) {
	both := Identity{Subject: "gateway", Grants: []Grant{
		{Role: Publisher, Tenants: []string{"a"}, Sources: []string{"/a"}},
		{Role: Publisher, Tenants: []string{"b"}, Sources: []string{"/b", "/c"}},
		{Role: Publisher, Sources: []string{"/d"}}, {Role: Operator, Tenants: []string{"e"}},
	}}
	for _, c := range []struct {
		operation, tenant, source string
		want                      bool
	}{
		{"postEvents", "a", "/a", true}, {"postEvents", "b", "/c", true}, {"postEvents", "a", "/b", false},
		{"postEvents", "b", "/a", false}, {"postEvents", "a", "/d", false}, {"postEvents", "d", "/d", false},
		{"postEvents", "e", "/x", false}, {"checkEvents", "e", "/x", true}, {"checkEvents", "a", "/x", false},
	} {
		scope, _ := both.Scope(c.operation)
		if got := scope.HasEvents(c.tenant, c.source); got != c.want {
			t.Errorf("%s of %s from %s: %t, want %t", c.operation, c.tenant, c.source, got, c.want)
		}
	}
	if (Scope{}).HasEvents("a", "/a") {
		t.Error("an empty scope reaches something")
	}
}

func TestGrantsOf(t *testing.T) {
	rules := []GroupGrant{
		{Group: "ops", Roles: []Role{Operator}},
		{Group: "cc-admin:{tenant}", Roles: []Role{Tenant, Analyst}, SeesAgents: true},
	}
	got := GrantsOf(rules, []string{"cc-admin:acme", "cc-admin:", "ops2", "cc-admin:b"})
	if len(got) != 2 || got[0].Role != Tenant || !slices.Equal(got[0].Tenants, []string{"acme", "b"}) || !got[1].SeesAgents {
		t.Errorf("%+v", got)
	}
	if got := GrantsOf(rules, []string{"ops", "staff"}); len(got) != 1 || got[0].Role != Operator || got[0].Tenants != nil {
		t.Errorf("%+v", got)
	}
}

// A token is known by its checksum, whichever of its characters is changed or lost.
func TestToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringN(0, 80, 80).Draw(t, "random")
		token, err := NewToken(strings.NewReader(secret))
		if len(secret) < tokenBytes {
			if err == nil {
				t.Fatal("a token of too few bits")
			}
			return
		}
		if err != nil || !IsToken(token) || len(HashToken(token)) != 64 {
			t.Fatalf("%q: %v", token, err)
		}
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("abcXYZ019-_")).Draw(t, "other")
		if token[at] != other && IsToken(token[:at]+string(other)+token[at+1:]) || IsToken(token[:at]) {
			t.Fatalf("changed at %d it is still a token", at)
		}
	})
}

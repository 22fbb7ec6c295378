package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"apportion/billing/web/access"
	"apportion/billing/web/auth"
)

const (
	testKey  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	testHash = "6f0eb0b6c6d0f42c5a3a0cd44ae39d2a2c7f2ea0e2a0a1f5ad70ba2c41c8b9e0"
)

func loadText(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Load(file, nil, nil)
	return cfg, err
}

// What the example of the API says who may is what is granted.
func TestAuth(t *testing.T) {
	cfg, err := loadText(t, `
auth:
  oidc: {issuer: https://id.example, clientId: apportion, clientSecret: s3cret, rolesClaim: roles}
  grants:
  - {group: billing-ops, roles: [operator]}
  - {group: "cc-admin:{tenant}", roles: [tenant, analyst], seeAgents: true}
  tokens:
  - name: wxcc-eu1
    sha256: `+testHash+`
    roles: [publisher, analyst]
    tenants: [acme]
    sources: [/wxcc/eu1]
    expires: 2027-06-30
  sessionKeys: [`+testKey+`]
  twoPersons: true
`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []access.GroupGrant{
		{Group: "billing-ops", Roles: []access.Role{access.Operator}},
		{Group: "cc-admin:{tenant}", Roles: []access.Role{access.Tenant, access.Analyst}, SeesAgents: true},
	}; !reflect.DeepEqual(cfg.Auth.GroupGrants(), want) {
		t.Errorf("%+v", cfg.Auth.GroupGrants())
	}
	if want := []auth.Token{{Name: "wxcc-eu1", SHA256: testHash, Grants: []access.Grant{
		{Role: access.Publisher, Tenants: []string{"acme"}, Sources: []string{"/wxcc/eu1"}},
		{Role: access.Analyst, Tenants: []string{"acme"}},
	}, Expires: time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)}}; !reflect.DeepEqual(cfg.Auth.Machines(), want) {
		t.Errorf("%+v", cfg.Auth.Machines())
	}
	if keys := cfg.Auth.Keys(); len(keys) != 1 || string(keys[0]) != "01234567890123456789012345678901" {
		t.Errorf("%q", keys)
	}
	shown := map[string]string{}
	for _, s := range Settings(&cfg) {
		shown[s.Key] = s.String()
	}
	for key, want := range map[string]string{
		"auth.grants":            "{group: billing-ops, roles: [operator]}, {group: cc-admin:{tenant}, roles: [tenant, analyst], seeAgents: true}",
		"auth.tokens":            "{name: wxcc-eu1, sha256: " + testHash + ", roles: [publisher, analyst], tenants: [acme], sources: [/wxcc/eu1], expires: 2027-06-30}",
		"auth.sessionKeys":       "(hidden)",
		"auth.oidc.clientSecret": "(hidden)",
		"auth.oidc.rolesClaim":   "roles",
		"auth.twoPersons":        "true",
	} {
		if shown[key] != want {
			t.Errorf("%s is shown as %s", key, shown[key])
		}
	}
}

// A fault of an object in a list is told with its line, what it is, and what would be right.
func TestAuthIsStrict(t *testing.T) {
	const oidc = "auth: {oidc: {issuer: 'https://id.example', clientId: c}, sessionKeys: ['" + testKey + "'], "
	token := func(rest string) string {
		return "auth:\n  tokens:\n  - {name: a, sha256: " + testHash + ", roles: [operator]}\n  - {" + rest + "}\n"
	}
	other := strings.Repeat("0", 64)
	for text, want := range map[string]string{
		"auth: {token: []}":                             "unknown setting auth.token; did you mean auth.tokens?",
		"auth: {tokens: {name: a}}":                     "auth.tokens must be a list",
		"auth: {tokens: [a]}":                           "auth.tokens[0] must be a section",
		"auth: {grants: [null]}":                        "auth.grants[0] must be a section",
		token("sha265: x"):                              `a.yaml:4: unknown setting auth.tokens[1].sha265; did you mean auth.tokens[1].sha256?`,
		token("name: b, name: c"):                       "repeated",
		token("name: b, seeAgents: yes"):                `auth.tokens[1].seeAgents: "yes" is neither true nor false`,
		token("name: b, roles: [{a: b}]"):               "auth.tokens[1].roles must be a list of plain values",
		token("name: b, roles: ['a,b']"):                "auth.tokens[1].roles must be a list of plain values without commas",
		token("name: a, sha256: " + other):              "auth.tokens[1].roles (from",
		token("roles: [finance], sha256: " + other):     "auth.tokens[1].name (from",
		token("name: b, roles: [finance], sha256: abc"): `a.yaml:4) is "abc"; it must be the SHA-256 of a token, in 64 hexadecimal digits`,
		token("name: b, roles: [finance], sha256: " + strings.ToUpper(testHash)):                        "auth.tokens[1].sha256",
		token("name: a, roles: [finance], sha256: " + other):                                            "another than that of the tokens before it",
		token("name: b, roles: [operatr], sha256: " + other):                                            "did you mean operator?",
		token("name: b, roles: [tenant], sha256: " + other):                                             "must name the tenants that the role tenant is for",
		token("name: b, roles: [publisher], tenants: [a], sha256: " + other):                            "must name the sources",
		token("name: b, roles: [publisher], sources: [/a], sha256: " + other):                           "must name the tenants that the role publisher",
		token("name: b, roles: [finance], sources: [/a], sha256: " + other):                             "be left out for roles other than publisher",
		token("name: b, roles: [finance], expires: 2027-02-30, sha256: " + other):                       "must be a date, such as 2027-06-30",
		token("name: b, roles: [tenant], tenants: [''], sha256: " + other):                              "auth.tokens[1].tenants",
		token("name: 'b c', roles: [finance], sha256: " + other):                                        "must be a name of letters",
		oidc + "grants: [{roles: [operator]}]}":                                                         "auth.grants[0].group",
		oidc + "grants: [{group: ops}]}":                                                                "auth.grants[0].roles",
		oidc + "grants: [{group: ops, roles: [tenant]}]}":                                               "not have tenant unless {tenant} is in its group",
		oidc + "grants: [{group: ops, roles: [publisher]}]}":                                            "not have publisher",
		oidc + "grants: [{group: '{tenant}:{tenant}', roles: [tenant]}]}":                               "have {tenant} at most once",
		oidc + "grants: [{group: '{Tenant}', roles: [analyst]}]}":                                       "no other braces",
		"auth: {grants: [{group: ops, roles: [operator]}]}":                                             "for auth.grants to be used",
		"auth: {oidc: {clientId: c}}":                                                                   "for the rest of auth.oidc to be used",
		"auth: {oidc: {issuer: 'https://id.example'}}":                                                  "auth.oidc.clientId",
		"auth: {oidc: {issuer: 'http://id.example', clientId: c}}":                                      "be a URL with https",
		"auth: {oidc: {issuer: id.example, clientId: c}}":                                               "be a URL with https",
		"auth: {oidc: {issuer: 'https://id.example', clientId: c}}":                                     "have a key with an auth.oidc.issuer",
		"auth: {oidc: {issuer: 'https://id.example', clientId: c, redirectUrl: 'https://a.example/x'}}": "auth.oidc.redirectUrl",
		"auth: {sessionKeys: [abc]}":                                                                    "(hidden)\"; it must each be 32 bytes in base64",
		"auth: {sessionKeys: [" + testKey + ", " + testKey + ", " + testKey + "]}":                      "one key, or two",
		"http: {ops: x}":       "http.ops",
		"http: {listen: '81'}": "http.listen",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v; want %q", text, err, want)
		}
	}
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "localhost:80": true, "127.9.9.9:1": true,
		"0.0.0.0:80": false, ":80": false, "[::]:80": false, "10.0.0.1:80": false, "localhost.example:80": false, "": false,
	} {
		if Loopback(address) != want {
			t.Errorf("%q is on loopback: %t", address, !want)
		}
	}
}

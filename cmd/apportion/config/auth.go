package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/schemas/civil"
	"apportion/schemas/typo"
)

// Auth says who may use the API.
type Auth struct {
	OIDC   OIDC    `yaml:"oidc"`
	Grants []Group `yaml:"grants"`
	Tokens []Token `yaml:"tokens"`
	// SessionKeys encrypt the cookies of those who signed in: the first new ones; any opens one.
	SessionKeys []string `yaml:"sessionKeys" secret:"true"`
	TwoPersons  bool     `yaml:"twoPersons"` // whoever changed a tenant's prices in a period may not issue it
}

// OIDC is the OpenID Connect issuer that people sign in with.
type OIDC struct {
	Issuer       string `yaml:"issuer"` // a URL, as the issuer itself writes it
	ClientID     string `yaml:"clientId"`
	ClientSecret string `yaml:"clientSecret" secret:"true"`
	RolesClaim   string `yaml:"rolesClaim"`  // the claim that has a person's groups
	RedirectURL  string `yaml:"redirectUrl"` // where the issuer sends people back to; empty: to the host they asked
}

// Group gives roles to the members of a group.
type Group struct {
	Group     string   `yaml:"group"` // {tenant} in it stands for the id of the tenant that the roles are for
	Roles     []string `yaml:"roles"`
	SeeAgents bool     `yaml:"seeAgents"` // also where the role by itself does not see the ids of agents
}

// Token is a machine's, of which only the hash is configured.
type Token struct {
	Name      string   `yaml:"name"`
	SHA256    string   `yaml:"sha256"` // 64 hexadecimal digits
	Roles     []string `yaml:"roles"`
	Tenants   []string `yaml:"tenants,omitempty"` // none: all, but for tenant and publisher
	Sources   []string `yaml:"sources,omitempty"` // of a publisher
	SeeAgents bool     `yaml:"seeAgents,omitempty"`
	Expires   string   `yaml:"expires,omitempty"` // the first date, in UTC, on which it is not accepted; empty: never
}

// Configured reports whether anybody may use the API.
func (a Auth) Configured() bool { return a.OIDC.Issuer != "" || len(a.Tokens) > 0 }

// GroupGrants returns what the members of groups are granted.
func (a Auth) GroupGrants() (grants []access.GroupGrant) {
	for _, g := range a.Grants {
		grants = append(grants, access.GroupGrant{Group: g.Group, Roles: roles(g.Roles), SeesAgents: g.SeeAgents})
	}
	return grants
}

// Machines returns the tokens with what each grants.
func (a Auth) Machines() (tokens []auth.Token) {
	for _, t := range a.Tokens {
		token := auth.Token{Name: t.Name, SHA256: t.SHA256}
		for _, role := range roles(t.Roles) {
			grant := access.Grant{Role: role, Tenants: t.Tenants, SeesAgents: t.SeeAgents}
			if role == access.Publisher {
				grant.Sources = t.Sources
			}
			token.Grants = append(token.Grants, grant)
		}
		if date, err := civil.ParseDate(t.Expires); err == nil {
			token.Expires = date.Time()
		}
		tokens = append(tokens, token)
	}
	return tokens
}

// Check returns the first member of a token whose value cannot be, with what it must be; none when all is well.
func (t Token) Check() (member, must string) {
	for _, rule := range t.rules("") {
		if rule.broken {
			return strings.TrimPrefix(rule.key, "."), rule.must
		}
	}
	return "", ""
}

// YAML returns a token as auth.tokens has it.
func (t Token) YAML() ([]byte, error) { return yaml.Dump([]Token{t}) }

// Keys returns the session keys, 32 bytes each.
func (a Auth) Keys() (keys [][]byte) {
	for _, text := range a.SessionKeys {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func roles(names []string) (roles []access.Role) {
	for _, name := range names {
		roles = append(roles, access.Role(name))
	}
	return roles
}

// Loopback reports whether only this machine reaches an address.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

var (
	tokenNameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$`)
	sha256RE    = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

func (a Auth) rules() []rule {
	rules := []rule{
		{a.OIDC.Issuer != "" && notOverTLS(a.OIDC.Issuer), "auth.oidc.issuer",
			"be a URL with https and without a query, or with http on this machine"},
		{a.OIDC.Issuer == "" && a.OIDC.ClientID+a.OIDC.ClientSecret+a.OIDC.RedirectURL != "", "auth.oidc.issuer",
			"be the URL of the issuer for the rest of auth.oidc to be used"},
		{a.OIDC.Issuer == "" && len(a.Grants) > 0, "auth.oidc.issuer", "be the URL of the issuer for auth.grants to be used"},
		{a.OIDC.Issuer != "" && a.OIDC.ClientID == "", "auth.oidc.clientId", "not be empty with an auth.oidc.issuer"},
		{a.OIDC.RolesClaim == "", "auth.oidc.rolesClaim", "be the name of a claim, such as groups"},
		{a.OIDC.RedirectURL != "" && notOverTLS(a.OIDC.RedirectURL), "auth.oidc.redirectUrl",
			"be a URL with https, or with http on this machine"},
		{a.OIDC.RedirectURL != "" && !strings.HasSuffix(a.OIDC.RedirectURL, auth.CallbackPath), "auth.oidc.redirectUrl",
			"be the URL of " + auth.CallbackPath + " as browsers see it"},
		{a.OIDC.Issuer != "" && len(a.SessionKeys) == 0, "auth.sessionKeys",
			"have a key with an auth.oidc.issuer: 32 random bytes in base64, the same for all processes"},
		{len(a.SessionKeys) > 2, "auth.sessionKeys", "be one key, or two while they are changed"},
		{slices.ContainsFunc(a.SessionKeys, notKey), "auth.sessionKeys", "each be 32 bytes in base64, 44 characters"},
	}
	for i, g := range a.Grants {
		rules = append(rules, g.rules(fmt.Sprintf("auth.grants[%d]", i))...)
	}
	for i, t := range a.Tokens {
		key := fmt.Sprintf("auth.tokens[%d]", i)
		rules = append(rules, t.rules(key)...)
		for _, before := range a.Tokens[:i] {
			rules = append(rules,
				rule{before.Name == t.Name, key + ".name", "be another than that of the tokens before it"},
				rule{strings.EqualFold(before.SHA256, t.SHA256), key + ".sha256", "be another than that of " + before.Name})
		}
	}
	return rules
}

func notKey(text string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	return err != nil || len(key) != auth.KeyBytes
}

// notOverTLS reports whether a text is no URL that can be trusted with a secret.
func notOverTLS(text string) bool {
	u, err := url.Parse(text)
	return err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname()))
}

func (g Group) rules(key string) []rule {
	ofTenant := strings.Contains(g.Group, access.GroupTenant)
	return []rule{
		{g.Group == "", key + ".group", "be the name of a group"},
		{strings.ContainsAny(strings.Replace(g.Group, access.GroupTenant, "", 1), "{}"), key + ".group",
			"have {tenant} at most once, for the tenant's id, and no other braces"},
		rolesRule(key, g.Roles),
		{slices.Contains(g.Roles, string(access.Tenant)) && !ofTenant, key + ".roles",
			"not have tenant unless {tenant} is in its group: it is the role for single tenants"},
		{slices.Contains(g.Roles, string(access.Publisher)), key + ".roles",
			"not have publisher, which is for auth.tokens, where sources are named"},
	}
}

func (t Token) rules(key string) []rule {
	_, notDate := civil.ParseDate(t.Expires)
	publisher := slices.Contains(t.Roles, string(access.Publisher))
	return []rule{
		{!tokenNameRE.MatchString(t.Name), key + ".name",
			"be a name of letters, digits, points, underscores, hyphens and @, at most 100"},
		{!sha256RE.MatchString(t.SHA256), key + ".sha256", "be the SHA-256 of a token, in 64 hexadecimal digits"},
		rolesRule(key, t.Roles),
		{slices.Contains(t.Roles, string(access.Tenant)) && len(t.Tenants) == 0, key + ".tenants",
			"name the tenants that the role tenant is for"},
		{publisher && len(t.Tenants) == 0, key + ".tenants", "name the tenants that the role publisher may publish for"},
		{publisher && len(t.Sources) == 0, key + ".sources", "name the sources that the role publisher may publish from"},
		{!publisher && len(t.Sources) > 0, key + ".sources", "be left out for roles other than publisher"},
		{slices.Contains(t.Tenants, ""), key + ".tenants", "have no id that is empty"},
		{slices.Contains(t.Sources, ""), key + ".sources", "have no source that is empty"},
		{t.Expires != "" && notDate != nil, key + ".expires", "be a date, such as 2027-06-30, or be left out"},
	}
}

// rolesRule holds that there are roles, each of them known.
func rolesRule(key string, names []string) rule {
	var known []string
	for _, role := range access.Roles {
		known = append(known, string(role))
	}
	all := "be one or more of " + strings.Join(known, ", ")
	for _, name := range names {
		if !slices.Contains(known, name) {
			return rule{true, key + ".roles", all + typo.Hint(name, known)}
		}
	}
	return rule{len(names) == 0, key + ".roles", all}
}

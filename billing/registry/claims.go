package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/strict"
)

// Claim says what a period of a tenant is issued as (R20). Its lines are stored before it is given, under the id of the
// command; whether it counts is decided here, by the one order of the log, and not by where or when lines were
// stored. Of several claims at once the first counts.
type Claim struct {
	// Seq numbers the issues of a tenant from 1.
	Seq int `json:"seq"`
	// Lines counts the lines, and LinesHash is the SHA-256 of them in hex: lines that are no longer the same are found.
	Lines     int    `json:"lines"`
	LinesHash string `json:"linesHash"`
	// Previous is the hash of the tenant's issue before this one, empty for the first: whoever claims has known it, and
	// with it all before.
	Previous string `json:"previous,omitempty"`
	// Basis is what the issue is based on and what its files show besides the lines, in the words of whoever bills.
	Basis json.RawMessage `json:"basis"`
}

// Issued is a period of a tenant that is issued: a claim that counts.
type Issued struct {
	Claim
	Tenant, ID string // ID is that of the command
	Period     civil.Month
	By         Actor
	TimeMS     int64 // when it was claimed, UTC epoch milliseconds
	Base       int64 // the tenant's version that it was billed by
	Offset     int64 // of the command
	// Hash is the SHA-256 of the command as it stands on the log, in hex.
	Hash string
}

// Actor is who gave a command, by the attributes of CloudEvents for that: authtype, such as user or system, and authid.
// Both are empty where nobody said.
type Actor struct {
	Type string `json:"type,omitempty"`
	ID   string `json:"id,omitempty"`
}

// String returns the type and the id, as far as they are known.
func (a Actor) String() string { return strings.TrimSpace(a.Type + " " + a.ID) }

// Issues returns the periods of a tenant that are issued, in the order in which they were. They are shared, and must
// not be changed.
func (s State) Issues(tenant string) []Issued {
	if st, ok := s.tenants.get(tenant); ok {
		return st.issues
	}
	return nil
}

// IsIssued reports whether a tenant's period is issued.
func (s State) IsIssued(tenant string, period civil.Month) bool {
	return s.issued(tenant, period) != nil
}

// issued returns the issue of a tenant's period, or nil.
func (s State) issued(tenant string, period civil.Month) *Issued {
	issues := s.Issues(tenant)
	for i := range issues {
		if issues[i].Period == period {
			return &issues[i]
		}
	}
	return nil
}

// decideClaim returns every reason to refuse that a period is issued (R20): whoever claims must have billed by the
// tenant's present document, and have known all that it was issued before.
func decideClaim(s State, c Command) []Refusal {
	var check checker
	if s.Tenant(c.TenantID) == nil {
		check.unknownTenant(c.TenantID)
		return check.refusals
	}
	if base := s.Base(c.TenantID); c.Base != base {
		check.refuse(schemas.StaleBase, "data.base", strconv.FormatInt(c.Base, 10),
			"the tenant has changed since (its last accepted command is at %d); bill it again", base)
	}
	if issue := s.issued(c.TenantID, c.Period); issue != nil {
		check.refuse(schemas.AlreadyIssued, "data.period", c.Period.String(),
			"the period is issued already, as number %d, and never again (R20)", issue.Seq)
	}
	check.notSealed(s, c.Period)
	if reason, held := s.Held(c.TenantID, c.Period); held {
		check.refuse(schemas.Held, "data.period", c.Period.String(), "the period is held (%s); release it first", reason)
	}
	issues := s.Issues(c.TenantID)
	last := Issued{}
	if len(issues) > 0 {
		last = issues[len(issues)-1]
	}
	if c.Claim.Seq != last.Seq+1 {
		check.refuse(schemas.StaleChain, "data.seq", strconv.Itoa(c.Claim.Seq),
			"the tenant's last issue is number %d; bill it again by what is issued now", last.Seq)
	}
	if c.Claim.Previous != last.Hash {
		check.refuse(schemas.StaleChain, "data.previous", c.Claim.Previous,
			"not the hash of the tenant's last issue, %q; bill it again by what is issued now", last.Hash)
	}
	return check.refusals
}

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// claim checks what a claim needs.
func (c *checker) claim(claim Claim) {
	malformed := func(bad bool, path, value, what string) {
		if bad {
			c.refuse(schemas.MalformedCommand, path, value, "%s", what)
		}
	}
	malformed(claim.Seq < 1, "data.seq", strconv.Itoa(claim.Seq), "needed; number the tenant's issues from 1")
	malformed(!hashForm.MatchString(claim.LinesHash), "data.linesHash", claim.LinesHash,
		"needed; give the SHA-256 of the lines in hex")
	malformed(claim.Previous != "" && !hashForm.MatchString(claim.Previous), "data.previous", claim.Previous,
		"give the SHA-256 of the issue before in hex, or leave it out")
	malformed(len(claim.Basis) == 0, "data.basis", "", "needed; say what the issue is based on")
}

// basis notes that there is one; its text is taken from the record as it is.
func (r reader) basis(path string, n *strict.Node) {
	if !r.IsObject(n) {
		r.Refuse(n, schemas.InvalidField, path, n.Value, "write fields with names here")
	}
}

// basisOf returns data.basis of a record that has been read.
func basisOf(value []byte) json.RawMessage {
	var record struct {
		Data struct {
			Basis json.RawMessage `json:"basis"`
		} `json:"data"`
	}
	if json.Unmarshal(value, &record) != nil {
		return nil
	}
	return record.Data.Basis
}

// hashOf returns the SHA-256 of a record in hex.
func hashOf(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:])
}

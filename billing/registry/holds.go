package registry

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/strict"
)

// Hold says that a tenant's period is not to be issued until somebody releases it (R20). Holds stand in the
// command log and so have its one order; they are no part of the tenant's document, whose version ([State.Base])
// they leave alone.
type Hold struct {
	Tenant string      `json:"tenantId"`
	Period civil.Month `json:"period"`
	Reason string      `json:"reason"`
	// Offset is that of the command that holds it.
	Offset int64 `json:"offset"`
}

// Held returns why a tenant's period is held, and whether it is.
func (s State) Held(tenant string, period civil.Month) (reason string, held bool) {
	if st, ok := s.tenants.get(tenant); ok {
		var hold Hold
		hold, held = st.holds[period]
		reason = hold.Reason
	}
	return reason, held
}

// Holds returns the periods that are held, by period and tenant in byte order.
func (s State) Holds() []Hold {
	var holds []Hold
	s.tenants.all(func(_ string, st *tenantState) { holds = slices.AppendSeq(holds, maps.Values(st.holds)) })
	slices.SortFunc(holds, func(x, y Hold) int {
		return cmp.Or(cmp.Compare(x.Period, y.Period), strings.Compare(x.Tenant, y.Tenant))
	})
	return holds
}

// longestReason is how many bytes a reason may have.
const longestReason = 500

// decideHold returns every reason to refuse that a period is held or released.
func decideHold(s State, c Command) []Refusal {
	var check checker
	check.reason("data.reason", c.Reason)
	reason, held := s.Held(c.TenantID, c.Period)
	issue := s.issued(c.TenantID, c.Period)
	switch {
	case s.Tenant(c.TenantID) == nil:
		check.unknownTenant(c.TenantID)
	case issue != nil && c.Command == HoldPeriod:
		check.refuse(schemas.AlreadyIssued, "data.period", c.Period.String(),
			"the period is issued, as number %d, and stays so (R20): there is nothing left to hold; "+
				"what changes now is on the next invoice (R21)", issue.Seq)
	case c.Command == HoldPeriod && s.Sealed(c.Period):
		check.notSealed(s, c.Period)
	case held && c.Command == HoldPeriod:
		check.refuse(schemas.AlreadyHeld, "data.period", c.Period.String(),
			"the period is held already (%s); release it first to hold it for another reason", reason)
	case !held && c.Command == ReleasePeriod:
		check.refuse(schemas.NotHeld, "data.period", c.Period.String(),
			"the period is not held, so there is nothing to release")
	}
	return check.refusals
}

// applyHold returns the holds after one more command.
func applyHold(holds map[civil.Month]Hold, c Command, offset int64) map[civil.Month]Hold {
	next := maps.Clone(holds)
	if next == nil {
		next = make(map[civil.Month]Hold)
	}
	if c.Command == ReleasePeriod {
		delete(next, c.Period)
	} else {
		next[c.Period] = Hold{c.TenantID, c.Period, c.Reason, offset}
	}
	return next
}

// reason checks a text by which people later understand what was done.
func (c *checker) reason(path, value string) {
	if c.missing(path, strings.TrimSpace(value) == "", "a reason, for whoever asks later") {
		return
	}
	if len(value) > longestReason || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		c.refuse(schemas.InvalidField, path, value,
			"write at most %d bytes of UTF-8 without control characters", longestReason)
	}
}

func (c *checker) unknownTenant(id string) {
	c.refuse(schemas.UnknownTenant, "tenantid", id, "there is no such tenant; apply its document first")
}

// month reads a billing period.
func (r reader) month(dst **civil.Month) strict.Field {
	return func(path string, n *strict.Node) {
		text, _, ok := r.Scalar(path, n, "a period")
		if !ok {
			return
		}
		m, err := civil.ParseMonth(text)
		if err != nil {
			r.Refuse(n, schemas.InvalidField, path, text, "not a period; write it as YYYY-MM, such as 2026-10")
			return
		}
		*dst = &m
	}
}

package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// planSource is the CloudEvents source of the commands that documents become.
const planSource = "apportion/registry"

// Plan returns the commands that get from the state to a document: one for each tenant that differs, none
// where they are equal. Tenants that the document leaves out stay as they are. The order of lists does not
// matter. timeMS is when the commands are given, in UTC epoch milliseconds; their ids depend on what they change
// alone, so planning again after a failure repeats the same commands instead of giving others.
func Plan(s State, doc *Document, timeMS int64) []Command {
	var commands []Command
	for i := range doc.Tenants {
		t := canonical(&doc.Tenants[i])
		body := canonicalJSON(t)
		if current := s.Tenant(t.ID); current != nil && bytes.Equal(canonicalJSON(current), body) {
			continue
		}
		base := s.Base(t.ID)
		digest := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%s", t.ID, base, body))
		commands = append(commands, Command{
			ID: hex.EncodeToString(digest[:16]), Source: planSource, TenantID: t.ID, TimeMS: timeMS,
			Command: PutTenant, Base: base, Tenant: t,
		})
	}
	return commands
}

// DescribeCommand says what a command changes from a state to the next, a line each, for people.
func DescribeCommand(old, next State, c Command) []string {
	switch c.Command {
	case HoldPeriod:
		return []string{"+ held " + c.Period.String()}
	case ReleasePeriod:
		return []string{"- held " + c.Period.String()}
	case AcceptHole:
		return []string{fmt.Sprintf("+ accepted %s/%d %d-%d", c.Hole.Topic, c.Hole.Partition, c.Hole.First, c.Hole.Last)}
	case SealPeriods:
		return []string{describeSeal(old, c)}
	case RemoveDeliveries:
		return []string{describeRemoval(c.Removal)}
	case ClaimIssue:
		return []string{fmt.Sprintf("+ issued %s, the tenant's number %d", c.Period, c.Claim.Seq)}
	}
	if c.Mappings != nil {
		return Describe(old.mappedBy(c), next.mappedBy(c))
	}
	return Describe(old.Tenant(c.TenantID), next.Tenant(c.TenantID))
}

// Describe returns what changes between two states of a tenant, a line each, for people: "+ subscription Sub2",
// "~ subscription Sub1 version 2026-01-01 commitment agent_standard 10 → 12". Old is nil for a new tenant.
func Describe(old, next *Tenant) []string {
	if old == nil {
		return []string{"+ tenant " + next.ID}
	}
	return differences("", outline(canonical(old)), outline(canonical(next)))
}

// WithoutUsers returns the changes of a tenant that name no user: users are persons.
func WithoutUsers(changes []string) []string {
	return slices.DeleteFunc(slices.Clone(changes), func(line string) bool {
		return strings.HasPrefix(strings.TrimLeft(line, "+-~ "), aLicence)
	})
}

// aLicence begins what is said of a user's mapping.
const aLicence = "licence "

// item is one thing that a tenant says, or a group of them. Labels are unique among siblings.
type item struct {
	label, value string
	items        []item
}

func differences(path string, old, next []item) []string {
	labelled := func(items []item) map[string]item {
		by := make(map[string]item, len(items))
		for _, it := range items {
			by[it.label] = it
		}
		return by
	}
	was, is := labelled(old), labelled(next)
	line := func(sign string, it item) string { return strings.TrimRight(sign+path+it.label+" "+it.value, " ") }
	var lines []string
	for _, it := range old {
		if _, kept := is[it.label]; !kept {
			lines = append(lines, line("- ", it))
		}
	}
	for _, it := range next {
		before, stood := was[it.label]
		switch {
		case !stood:
			lines = append(lines, line("+ ", it))
		case before.value != it.value:
			lines = append(lines, line("~ ", before)+" → "+it.value)
		default:
			lines = append(lines, differences(path+it.label+" ", before.items, it.items)...)
		}
	}
	return lines
}

// given leaves out the items that say nothing.
func given(items ...item) []item {
	return slices.DeleteFunc(items, func(it item) bool { return it.value == "" && it.items == nil })
}

func outline(t *Tenant) []item {
	items := given(item{label: "name", value: t.Name}, item{label: "timeZone", value: t.TimeZone},
		item{label: "telephony", value: t.Telephony})
	for _, s := range t.Subscriptions {
		items = append(items, item{label: "subscription " + s.ID, items: outlineSubscription(s)})
	}
	if t.BillTo != nil {
		items = append(items, item{label: "billTo", items: outlineBillTo(t.BillTo)})
	}
	for _, l := range t.Licences {
		items = append(items, item{
			label: fmt.Sprintf(aLicence+"%s %s %s on %s%s", l.User, l.Role, l.Class, l.Subscription, span(l.From, l.To)),
		})
	}
	for _, e := range t.EntryPoints {
		items = append(items, item{
			label: fmt.Sprintf("entryPoint %s on %s%s", e.EntryPoint, e.Subscription, span(e.From, e.To)),
		})
	}
	return items
}

func span(from, to civil.Date) string {
	if to == civil.NoDate {
		return " from " + from.String()
	}
	return " from " + from.String() + " to " + to.String()
}

func outlineSubscription(s Subscription) []item {
	items := given(item{label: "name", value: s.Name}, item{label: "licenceModel", value: s.LicenceModel},
		item{label: "plan", value: s.Plan},
		item{label: "deployment", value: s.Deployment}, item{label: "currency", value: s.Currency},
		item{label: "billing", value: s.Billing},
		item{label: "cancelled", value: s.Cancelled.String()})
	for _, t := range s.Terms {
		items = append(items, item{label: "term from " + t.From.String() + " to", value: t.To.String()})
	}
	for _, v := range s.Versions {
		var said []item
		for _, meter := range sortedKeys(v.Commitments) {
			said = append(said, item{label: "commitment " + meter, value: strconv.FormatInt(v.Commitments[meter], 10)})
		}
		for _, list := range []struct {
			kind   string
			prices map[string]decimal.Decimal
		}{{"commitment", v.Prices.Commitment}, {"overage", v.Prices.Overage}, {"connect", v.Prices.Connect}} {
			for _, name := range sortedKeys(list.prices) {
				said = append(said, item{label: list.kind + " price " + name, value: list.prices[name].String()})
			}
		}
		items = append(items, item{label: "version " + v.From.String(), items: said})
	}
	return items
}

func outlineBillTo(b *BillTo) []item {
	items := given(item{label: "name", value: b.Name},
		item{label: "address street", value: b.Address.Street}, item{label: "address city", value: b.Address.City},
		item{label: "address postcode", value: b.Address.Postcode}, item{label: "address country", value: b.Address.Country},
		item{label: "vatId", value: b.VATID}, item{label: "registrationId", value: b.RegistrationID},
		item{label: "leitwegId", value: b.LeitwegID}, item{label: "reference", value: b.Reference})
	if e := b.Endpoint; e != nil {
		items = append(items, item{label: "endpoint", value: e.Scheme + ":" + e.ID})
	}
	for _, x := range b.Tax {
		label := "tax"
		if x.From != civil.NoDate {
			label += " from " + x.From.String()
		}
		items = append(items, item{label: label,
			value: strings.TrimSpace(x.Category + " " + x.Rate.String() + " " + x.Reason)})
	}
	if b.TermsDays != nil {
		items = append(items, item{label: "termsDays", value: strconv.FormatInt(*b.TermsDays, 10)})
	}
	return items
}

package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"apportion/schemas/civil"
)

// The roles of users (R7).
const (
	Admin = "admin"
	Agent = "agent"
)

// EndKind is what ends access through a subscription (R7).
type EndKind string

// What ends access.
const (
	TermEnds     EndKind = "term"         // the subscription's term ends
	Cancellation EndKind = "cancellation" // the subscription is cancelled
	MappingEnds  EndKind = "mapping"      // the user is not mapped to it any more
)

// Ended is what ended the access that a user had through a subscription.
type Ended struct {
	Subscription string  `json:"subscriptionId"`
	What         EndKind `json:"what"`
}

// String says it in words.
func (e Ended) String() string {
	switch e.What {
	case TermEnds:
		return "the term of " + e.Subscription + " ends"
	case Cancellation:
		return e.Subscription + " is cancelled"
	}
	return "the mapping to " + e.Subscription + " ends"
}

// Access is whether a user has access on a date, until when, and why (R7).
type Access struct {
	Now bool `json:"now"`
	// Through are the subscriptions that it is through on the date, in byte order.
	Through []string `json:"through"`
	// Until is the first date without it, where somebody who has access loses it.
	Until civil.Date `json:"until,omitzero"`
	// Since is the first date without it, of somebody who had access before and has none.
	Since civil.Date `json:"since,omitzero"`
	// From is the next date with it, of somebody who has none.
	From civil.Date `json:"from,omitzero"`
	// Ended is what ends it then, or has.
	Ended []Ended `json:"ended"`
	// WouldKeep are the subscriptions, oldest first, that are active once it has ended: being mapped to one of them
	// would keep it, or give it back.
	WouldKeep []string `json:"wouldKeep"`
	// Why says the same in a sentence.
	Why string `json:"why"`
}

// User is a user of a tenant as it stands on a date.
type User struct {
	User string `json:"user"`
	// Role is admin where one of the mappings effective then is an admin's. Who has none then has that of the last one.
	Role string `json:"role"`
	// Class is premium where one of the mappings effective then, to a subscription active then, is premium (R9).
	Class  string `json:"class"`
	Access Access `json:"access"`
	// Mappings are all that there were, are and will be, by subscription and date.
	Mappings []Licence `json:"mappings"`
}

// Users calls each for the users of the tenant, in byte order, with their mappings, until it returns false. The tenant
// is one of a state, whose mappings are in order.
func (t *Tenant) Users(each func(user string, mappings []Licence) bool) {
	for rest := t.Licences; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].User == rest[0].User {
			n++
		}
		if !each(rest[0].User, rest[:n:n]) {
			return
		}
		rest = rest[n:]
	}
}

// MappingsOf returns the mappings of a user, none where there is no such user. The tenant is one of a state.
func (t *Tenant) MappingsOf(user string) []Licence {
	return roster[Licence]{document: t.Licences}.of(user)
}

// UserOn returns a user with these mappings as it stands on a date (R7).
func (t *Tenant) UserOn(user string, mappings []Licence, d civil.Date) User {
	u := User{User: user, Role: Agent, Class: Standard, Mappings: mappings}
	effective := false
	last := civil.NoDate
	for _, l := range mappings {
		switch {
		case l.effectiveOn(d):
			if !effective || l.Role == Admin {
				u.Role = l.Role
			}
			effective = true
		case !effective && l.From >= last:
			u.Role, u.Class, last = l.Role, l.Class, l.From
		}
	}
	of := t.resolve(mappings)
	if effective {
		u.Class = Standard
		if _, premium := activeMapped(d, of); premium {
			u.Class = Premium
		}
	}
	u.Access = t.accessOn(d, of)
	return u
}

func (l Licence) effectiveOn(d civil.Date) bool {
	return l.From <= d && (l.To == civil.NoDate || d < l.To)
}

// MappedOn reports whether one of some mappings is to a subscription, and effective on a date.
func MappedOn(mappings []Licence, subscription string, d civil.Date) bool {
	return slices.ContainsFunc(mappings, func(l Licence) bool {
		return l.Subscription == subscription && l.effectiveOn(d)
	})
}

// resolve returns mappings with the subscriptions that they are to.
func (t *Tenant) resolve(licences []Licence) []mapping {
	var of []mapping
	for _, l := range licences {
		if s := t.Subscription(l.Subscription); s != nil {
			of = append(of, newMapping(s, l.From, l.To, l.Class))
		}
	}
	return of
}

// spans returns the stretches of dates with access, in order; the To of one that does not end is forever.
func spans(mappings []mapping) []Term {
	var all []Term
	for _, m := range mappings {
		for _, term := range m.to.ActiveTerms() {
			if s := (Term{max(term.From, m.during.From), min(term.To, m.during.To)}); s.From < s.To {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b Term) int { return cmp.Compare(a.From, b.From) })
	var joined []Term
	for _, s := range all {
		if n := len(joined) - 1; n >= 0 && s.From <= joined[n].To {
			joined[n].To = max(joined[n].To, s.To)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}

// accessOn returns the access that mappings give on a date.
func (t *Tenant) accessOn(d civil.Date, mappings []mapping) Access {
	a := Access{Through: []string{}, Until: civil.NoDate, Since: civil.NoDate, From: civil.NoDate,
		Ended: []Ended{}, WouldKeep: []string{}}
	for _, s := range spans(mappings) {
		switch {
		case s.To <= d:
			a.Since = s.To
		case s.From > d:
			if a.From == civil.NoDate {
				a.From = s.From
			}
		default:
			a.Now, a.Until = true, s.To
		}
	}
	switch {
	case a.Now:
		a.Since, a.From = civil.NoDate, civil.NoDate
		a.Through = through(d, mappings)
		if a.Until == forever {
			a.Until = civil.NoDate
		} else {
			a.Ended, a.WouldKeep = endedOn(a.Until, mappings), t.activeIDs(a.Until)
		}
	default:
		if a.WouldKeep = t.activeIDs(d); a.Since != civil.NoDate {
			a.Ended = endedOn(a.Since, mappings)
		}
	}
	a.Why = a.why()
	return a
}

func (a Access) why() string {
	ends := make([]string, len(a.Ended))
	for i, e := range a.Ended {
		ends[i] = e.String()
	}
	var why string
	switch {
	case a.Now && a.Until == civil.NoDate:
		return "mapped to " + strings.Join(a.Through, ", ") + ", which stays active"
	case a.Now:
		why = fmt.Sprintf("mapped to %s until %s, when %s", strings.Join(a.Through, ", "), a.Until,
			strings.Join(ends, " and "))
	case a.Since != civil.NoDate:
		why = fmt.Sprintf("mapped to no active subscription since %s, when %s", a.Since, strings.Join(ends, " and "))
	default:
		why = "mapped to no active subscription"
	}
	if len(a.WouldKeep) == 0 {
		return why
	}
	active := "which is active"
	if len(a.WouldKeep) > 1 {
		active = "which are active"
	}
	if a.Now {
		active += " then"
	}
	return why + "; not mapped to " + strings.Join(a.WouldKeep, ", ") + ", " + active
}

// activeIDs returns the ids of the subscriptions active on a date, oldest first.
func (t *Tenant) activeIDs(d civil.Date) []string {
	ids := []string{}
	for _, s := range t.ActiveOn(d) {
		ids = append(ids, s.ID)
	}
	return ids
}

// through returns the ids of the subscriptions that mappings give access through on a date, in byte order.
func through(d civil.Date, mappings []mapping) []string {
	ids := []string{}
	active, _ := activeMapped(d, mappings)
	for _, s := range active {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// endedOn returns what ends, on a date, the access through the subscriptions that there was on the date before; through
// one it may be two things at once.
func endedOn(d civil.Date, mappings []mapping) []Ended {
	ended := []Ended{}
	for _, m := range mappings {
		before := d.Add(-1)
		if before < m.during.From || before >= m.during.To || !m.to.ActiveOn(before) {
			continue
		}
		if !m.to.ActiveOn(d) {
			what := TermEnds
			if m.to.Cancelled == d {
				what = Cancellation
			}
			ended = append(ended, Ended{m.to.ID, what})
		}
		if m.during.To == d {
			ended = append(ended, Ended{m.to.ID, MappingEnds})
		}
	}
	slices.SortFunc(ended, func(x, y Ended) int {
		return cmp.Or(strings.Compare(x.Subscription, y.Subscription), -strings.Compare(string(x.What), string(y.What)))
	})
	return slices.Compact(ended)
}

// DatedLoss is a user who loses access on a date, with what ended it.
type DatedLoss struct {
	Date civil.Date `json:"date"`
	Role string     `json:"role"`
	AccessLoss
	Ended []Ended `json:"ended"`
	// WouldKeep are the subscriptions active on the date, oldest first, none of which the user is mapped to.
	WouldKeep []string `json:"wouldKeep"`
}

// Losses returns who loses access on the dates of [from, to), by date, administrators before agents, and user (R7).
func (t *Tenant) Losses(from, to civil.Date) []DatedLoss {
	losses := []DatedLoss{}
	keep := map[civil.Date][]string{}
	t.Users(func(user string, licences []Licence) bool {
		mappings := t.resolve(licences)
		for _, s := range spans(mappings) {
			if s.To < from || s.To >= to {
				continue
			}
			if keep[s.To] == nil {
				keep[s.To] = t.activeIDs(s.To)
			}
			before := s.To.Add(-1)
			losses = append(losses, DatedLoss{s.To, t.UserOn(user, licences, before).Role,
				AccessLoss{user, through(before, mappings)}, endedOn(s.To, mappings), keep[s.To]})
		}
		return true
	})
	slices.SortFunc(losses, func(x, y DatedLoss) int {
		return cmp.Or(cmp.Compare(x.Date, y.Date), strings.Compare(x.Role, y.Role), strings.Compare(x.User, y.User))
	})
	return losses
}

// AccessSpan is a stretch of dates in which a user has access under one of two documents and not under the other.
type AccessSpan struct {
	User string     `json:"user"`
	Role string     `json:"role"`
	From civil.Date `json:"from"`
	To   civil.Date `json:"to,omitzero"` // the first date after it; NoDate: it goes on
}

// AccessChanges returns who gains and who loses access, and when, from a date on, where a tenant becomes another: by
// user and date (R7). Before is nil for a new tenant. Both are as a state has them.
func AccessChanges(before, after *Tenant, from civil.Date) (gained, lost []AccessSpan) {
	if before == nil {
		before = &Tenant{}
	}
	licences := func(t *Tenant) map[string][]Licence {
		of := map[string][]Licence{}
		t.Users(func(user string, mappings []Licence) bool {
			of[user] = mappings
			return true
		})
		return of
	}
	was, is := licences(before), licences(after)
	difference := func(t *Tenant, mappings []Licence, a, b []Term) (all []AccessSpan) {
		for _, s := range without(a, b) {
			if s.From = max(s.From, from); s.From >= s.To {
				continue
			}
			span := AccessSpan{mappings[0].User, t.UserOn(mappings[0].User, mappings, s.From).Role, s.From, s.To}
			if s.To == forever {
				span.To = civil.NoDate
			}
			all = append(all, span)
		}
		return all
	}
	for _, user := range sortedKeys(is) {
		had, has := spans(before.resolve(was[user])), spans(after.resolve(is[user]))
		gained = append(gained, difference(after, is[user], has, had)...)
	}
	for _, user := range sortedKeys(was) {
		had, has := spans(before.resolve(was[user])), spans(after.resolve(is[user]))
		lost = append(lost, difference(before, was[user], had, has)...)
	}
	return gained, lost
}

// without returns the dates of a that are not of b; both are in order, and none of either overlap.
func without(a, b []Term) (rest []Term) {
	for _, s := range a {
		for _, other := range b {
			if other.To <= s.From || other.From >= s.To {
				continue
			}
			if s.From < other.From {
				rest = append(rest, Term{s.From, other.From})
			}
			s.From = other.To
			if s.From >= s.To {
				break
			}
		}
		if s.From < s.To {
			rest = append(rest, s)
		}
	}
	return rest
}

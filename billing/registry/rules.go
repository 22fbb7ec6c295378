package registry

import (
	"cmp"
	"slices"
	"strings"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// Everything changes at 00:00 in the tenant's zone (R3), so the rules are functions of a date: at an instant t
// they hold as on the date that t lies in ([civil.Zone.DateOf]).

// Subscription returns the tenant's subscription of that id, or nil.
func (t *Tenant) Subscription(id string) *Subscription {
	for i := range t.Subscriptions {
		if t.Subscriptions[i].ID == id {
			return &t.Subscriptions[i]
		}
	}
	return nil
}

// ActiveOn reports whether the subscription is active on a date: it lies in one of its terms, and the
// subscription is not cancelled as of it (R3).
func (s *Subscription) ActiveOn(d civil.Date) bool {
	if s.Cancelled != civil.NoDate && d >= s.Cancelled {
		return false
	}
	return slices.ContainsFunc(s.Terms, func(t Term) bool { return t.From <= d && d < t.To })
}

// ActiveDates returns how many dates of [from, to) the subscription is active on, the first of them, and the
// day after the last (R18); with none, both are NoDate.
func (s *Subscription) ActiveDates(from, to civil.Date) (days int, first, after civil.Date) {
	first, after = civil.NoDate, civil.NoDate
	for _, t := range s.ActiveTerms() {
		a, b := max(t.From, from), min(t.To, to)
		if a >= b {
			continue
		}
		if days += int(b - a); first == civil.NoDate {
			first = a
		}
		after = b
	}
	return days, first, after
}

// ActiveIn reports whether the subscription is active at any instant of a month (R18). A date that the zone
// skips has no instants, so being active on that one alone is not enough.
func (s *Subscription) ActiveIn(m civil.Month, z *civil.Zone) bool {
	return slices.ContainsFunc(s.ActiveTerms(), func(t Term) bool {
		a, b := max(t.From, m.First()), min(t.To, m.Next().First())
		return a < b && z.Start(a) < z.Start(b)
	})
}

// FirstActive returns the first date on which a subscription of the tenant is active at any instant, or NoDate
// when none ever is. A date that the zone skips has no instants.
func (t *Tenant) FirstActive(z *civil.Zone) civil.Date {
	first := civil.NoDate
	for i := range t.Subscriptions {
		for _, term := range t.Subscriptions[i].ActiveTerms() {
			for d := term.From; d < term.To; d = d.Add(1) {
				if z.Start(d) < z.Start(d.Add(1)) {
					if first == civil.NoDate || d < first {
						first = d
					}
					break
				}
			}
		}
	}
	return first
}

// ActiveTerms returns the terms as the cancellation leaves them, in order.
func (s *Subscription) ActiveTerms() []Term {
	var terms []Term
	for _, t := range s.Terms {
		if s.Cancelled != civil.NoDate {
			t.To = min(t.To, s.Cancelled)
		}
		if t.From < t.To {
			terms = append(terms, t)
		}
	}
	slices.SortFunc(terms, func(a, b Term) int { return cmp.Compare(a.From, b.From) })
	return terms
}

// VersionOn returns the effective version on a date, or nil before the first. It does not ask whether the
// subscription is active.
func (s *Subscription) VersionOn(d civil.Date) *Version {
	var in *Version
	for i := range s.Versions {
		if v := &s.Versions[i]; v.From <= d && (in == nil || v.From > in.From) {
			in = v
		}
	}
	return in
}

// FirstStart returns the start of the subscription's earliest term, which is its seniority for good: a renewal
// keeps it (R4).
func (s *Subscription) FirstStart() civil.Date {
	first := civil.NoDate
	for _, t := range s.Terms {
		if first == civil.NoDate || t.From < first {
			first = t.From
		}
	}
	return first
}

// CompareAge orders subscriptions oldest first (R4): by the start of the first term, then by id in byte order.
func CompareAge(a, b *Subscription) int {
	return cmp.Or(cmp.Compare(a.FirstStart(), b.FirstStart()), strings.Compare(a.ID, b.ID))
}

// oldest returns the oldest of the subscriptions active on a date, or nil.
func oldest(d civil.Date, subscriptions []*Subscription) *Subscription {
	var found *Subscription
	for _, s := range subscriptions {
		if s.ActiveOn(d) && (found == nil || CompareAge(s, found) < 0) {
			found = s
		}
	}
	return found
}

func (t *Tenant) all() []*Subscription {
	all := make([]*Subscription, len(t.Subscriptions))
	for i := range t.Subscriptions {
		all[i] = &t.Subscriptions[i]
	}
	return all
}

// ActiveOn returns the subscriptions active on a date, oldest first (R3, R4).
func (t *Tenant) ActiveOn(d civil.Date) []*Subscription {
	active := slices.DeleteFunc(t.all(), func(s *Subscription) bool { return !s.ActiveOn(d) })
	slices.SortFunc(active, CompareAge)
	return active
}

// PrimaryOn returns the oldest subscription active on a date, or nil when none is (R4).
func (t *Tenant) PrimaryOn(d civil.Date) *Subscription { return oldest(d, t.all()) }

// Entitlement returns how much of a meter the tenant may use at once on a date: the sum over the active
// subscriptions of what the effective version commits to (R14). Every seat brings ivrFactor IVR ports with it.
func (t *Tenant) Entitlement(d civil.Date, meter string, ivrFactor int64) int64 {
	var sum int64
	for i := range t.Subscriptions {
		sum += t.Subscriptions[i].Entitlement(d, meter, ivrFactor)
	}
	return sum
}

// Entitlement returns what the subscription brings into the tenant's pool of a meter on a date (R14); 0 while it is
// not active.
func (s *Subscription) Entitlement(d civil.Date, meter string, ivrFactor int64) int64 {
	return s.EntitlementParts(d, meter, ivrFactor).Total()
}

// Entitlement is what one subscription brings into a pool (R14).
type Entitlement struct {
	Committed int64
	// Seats bring PortsPerSeat IVR ports each; of other meters there are none.
	Seats, PortsPerSeat int64
}

// Total is what the parts add up to.
func (e Entitlement) Total() int64 { return e.Committed + e.PortsPerSeat*e.Seats }

// EntitlementParts returns what an entitlement consists of.
func (s *Subscription) EntitlementParts(d civil.Date, meter string, ivrFactor int64) Entitlement {
	v := s.VersionOn(d)
	if v == nil || !s.ActiveOn(d) {
		return Entitlement{}
	}
	e := Entitlement{Committed: v.Commitments[meter]}
	if meter == schemas.IVRPort {
		e.Seats, e.PortsPerSeat = v.Commitments[schemas.AgentStandard]+v.Commitments[schemas.AgentPremium], ivrFactor
	}
	return e
}

// mapping is a licence or an entry point's, whichever, to a subscription of the tenant (R7, R10).
type mapping struct {
	to      *Subscription
	during  Term // its To is the last date there is when the mapping goes on
	premium bool
}

const forever = civil.Date(1<<31 - 1)

func newMapping(to *Subscription, from, until civil.Date, class string) mapping {
	if until == civil.NoDate {
		until = forever
	}
	return mapping{to, Term{from, until}, class == Premium}
}

// activeMapped returns the subscriptions that are mapped and active on a date, and whether one of the mappings to
// them is premium.
func activeMapped(d civil.Date, mappings []mapping) (active []*Subscription, premium bool) {
	for _, m := range mappings {
		if m.during.From <= d && d < m.during.To && m.to.ActiveOn(d) {
			active = append(active, m.to)
			premium = premium || m.premium
		}
	}
	return active, premium
}

func (t *Tenant) licencesOf(user string) []mapping {
	var of []mapping
	for _, l := range t.Licences {
		if s := t.Subscription(l.Subscription); l.User == user && s != nil {
			of = append(of, newMapping(s, l.From, l.To, l.Class))
		}
	}
	return of
}

func (t *Tenant) entryPointsOf(entryPoint string) []mapping {
	var of []mapping
	for _, e := range t.EntryPoints {
		if s := t.Subscription(e.Subscription); e.EntryPoint == entryPoint && s != nil {
			of = append(of, newMapping(s, e.From, e.To, ""))
		}
	}
	return of
}

// MappedSubscription returns the oldest of the subscriptions that an agent is mapped to and that are active on
// a date, or nil (R10.2). The user's role plays no part.
func (t *Tenant) MappedSubscription(agent string, d civil.Date) *Subscription {
	active, _ := activeMapped(d, t.licencesOf(agent))
	return oldest(d, active)
}

// EntryPointSubscription returns the oldest of the subscriptions that an entry point is mapped to and that are
// active on a date, or nil (R10.2).
func (t *Tenant) EntryPointSubscription(entryPoint string, d civil.Date) *Subscription {
	active, _ := activeMapped(d, t.entryPointsOf(entryPoint))
	return oldest(d, active)
}

// PremiumOn reports whether a session of the agent that starts on a date, and names no class, is premium: one
// of the agent's effective mappings, to a subscription active then, is (R9). The user's role plays no part.
func (t *Tenant) PremiumOn(agent string, d civil.Date) bool {
	_, premium := activeMapped(d, t.licencesOf(agent))
	return premium
}

// HasAccess reports whether a user has access on a date: one of the subscriptions mapped then is active (R7).
// That the tenant has an active subscription is not enough.
func (t *Tenant) HasAccess(user string, d civil.Date) bool {
	active, _ := activeMapped(d, t.licencesOf(user))
	return len(active) > 0
}

// AccessLoss is a user who had access on the date before and has none on a date (R7).
type AccessLoss struct {
	User          string   `json:"user"`
	Subscriptions []string `json:"subscriptions"` // through which there was access, in byte order
}

// LosingAccess returns who loses access on a date because nothing they are mapped to stays active, by user in
// byte order (R7).
func (t *Tenant) LosingAccess(d civil.Date) []AccessLoss {
	var losses []AccessLoss
	licences := t.mappedUsers()
	for _, user := range sortedKeys(licences) {
		before, _ := activeMapped(d.Add(-1), licences[user])
		after, _ := activeMapped(d, licences[user])
		if len(before) == 0 || len(after) > 0 {
			continue
		}
		var ids []string
		for _, s := range before {
			ids = append(ids, s.ID)
		}
		slices.Sort(ids)
		losses = append(losses, AccessLoss{user, slices.Compact(ids)})
	}
	return losses
}

// mappedUsers returns every user's mappings.
func (t *Tenant) mappedUsers() map[string][]mapping {
	subscriptions := t.byID()
	users := make(map[string][]mapping)
	for _, l := range t.Licences {
		if s := subscriptions[l.Subscription]; s != nil {
			users[l.User] = append(users[l.User], newMapping(s, l.From, l.To, l.Class))
		}
	}
	return users
}

// mappedEntryPoints returns every entry point's mappings.
func (t *Tenant) mappedEntryPoints() map[string][]mapping {
	subscriptions := t.byID()
	entryPoints := make(map[string][]mapping)
	for _, e := range t.EntryPoints {
		if s := subscriptions[e.Subscription]; s != nil {
			entryPoints[e.EntryPoint] = append(entryPoints[e.EntryPoint], newMapping(s, e.From, e.To, ""))
		}
	}
	return entryPoints
}

func (t *Tenant) byID() map[string]*Subscription {
	byID := make(map[string]*Subscription, len(t.Subscriptions))
	for _, s := range t.all() {
		byID[s.ID] = s
	}
	return byID
}

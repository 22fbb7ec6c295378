package registry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"weak"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/strict"
)

// SetMappings is what set_licences and set_entry_points say: what users, or entry points, are mapped to from a date on.
// A mapping that it takes away ends on that date, and what was before stays.
type SetMappings struct {
	// Names are the users, or the entry points.
	Names []string
	// All says that the one name is mapped to Subscriptions and to no others. Otherwise each of the names is mapped to the
	// one subscription, and keeps its mappings to others.
	All           bool
	Subscriptions []Mapped
	From          civil.Date
	Role          string // of users; "": as the user has it
}

// Mapped is a subscription that something is mapped to.
type Mapped struct {
	Subscription string     `json:"id"`
	Class        string     `json:"class,omitempty"` // of users; "": as the user has it, standard for who has none
	To           civil.Date `json:"to,omitzero"`     // the first date without it; NoDate: it goes on
}

// MostNames is how many names a command may have, so that no record grows with the tenant.
const MostNames = 1000

// nameFields returns the members of data that have the one name, or many.
func nameFields(command string) (one, many string) {
	if command == SetEntryPoints {
		return "entryPoint", "entryPoints"
	}
	return "user", "users"
}

// mappingsJSON writes the data of set_licences and set_entry_points.
func (c Command) mappingsJSON() ([]byte, error) {
	one, many := nameFields(c.Command)
	set := c.Mappings
	data := map[string]any{"command": c.Command}
	if set.From != civil.NoDate {
		data["from"] = set.From
	}
	if set.All {
		data[one], data["subscriptions"] = strings.Join(set.Names, ""), append([]Mapped{}, set.Subscriptions...)
	} else if len(set.Subscriptions) > 0 {
		m := set.Subscriptions[0]
		data[many], data["subscription"] = append([]string{}, set.Names...), m.Subscription
		if m.Class != "" {
			data["class"] = m.Class
		}
		if m.To != civil.NoDate {
			data["to"] = m.To
		}
	}
	for name, text := range map[string]string{"role": set.Role, "reason": c.Reason} {
		if text != "" {
			data[name] = text
		}
	}
	return json.Marshal(data)
}

// readMappings reads the data of set_licences and set_entry_points.
func (c *Command) readMappings(envelope, document reader, data *strict.Node) {
	one, many := nameFields(c.Command)
	users := c.Command == SetLicences
	set := &SetMappings{From: civil.NoDate}
	c.Mappings = set
	var name string
	given := map[string]bool{}
	mapped := Mapped{To: civil.NoDate}
	fields := strict.Fields{
		"command": envelope.Text(&c.Command), "reason": document.Text(&c.Reason), "from": document.date(&set.From),
		one: document.Text(&name), many: document.texts(&set.Names),
		"subscriptions": strict.List(document.Reader, "id", &set.Subscriptions, document.mapped(users)),
		"subscription":  document.Text(&mapped.Subscription), "to": document.date(&mapped.To),
	}
	if users {
		fields["role"], fields["class"] = document.Text(&set.Role), document.Text(&mapped.Class)
	}
	for member, read := range fields {
		fields[member] = func(path string, n *strict.Node) {
			given[member] = true
			read(path, n)
		}
	}
	envelope.Object("data", data, fields)
	form := func(bad bool, member, format string, args ...any) {
		if bad {
			envelope.Refuse(data, schemas.MalformedCommand, "data."+member, "", format, args...)
		}
	}
	if set.All = given[one]; set.All {
		set.Names = []string{name}
		form(given[many], many, "beside %s; give the one, or the other", one)
		form(!given["subscriptions"], "subscriptions",
			"needed with %s; list what it is mapped to from the date on, nothing if that is none", one)
		for _, member := range []string{"subscription", "class", "to"} {
			form(given[member], member, "goes with %s; write it into subscriptions", many)
		}
		return
	}
	form(!given[many], one, "needed; give %s with subscriptions, or %s with a subscription", one, many)
	form(given[many] && given["subscriptions"], "subscriptions",
		"goes with %s; give the one subscription that the %s are mapped to", one, many)
	set.Subscriptions = []Mapped{mapped}
}

// mapped reads an item of subscriptions; those of users have a class.
func (r reader) mapped(users bool) func(path string, n *strict.Node) Mapped {
	return func(path string, n *strict.Node) Mapped {
		m := Mapped{To: civil.NoDate}
		fields := strict.Fields{"id": r.Text(&m.Subscription), "to": r.date(&m.To)}
		if users {
			fields["class"] = r.Text(&m.Class)
		}
		r.Object(path, n, fields)
		return m
	}
}

// texts reads a list of text.
func (r reader) texts(dst *[]string) strict.Field {
	return func(path string, n *strict.Node) {
		if !r.IsList(n) {
			r.Refuse(n, schemas.InvalidField, path, n.Value, "write a list here")
			return
		}
		i := 0
		r.Items(n, func(item *strict.Node) {
			var text string
			r.Text(&text)(path+"["+strconv.Itoa(i)+"]", item)
			*dst = append(*dst, text)
			i++
		})
	}
}

// decideMappings returns every reason to refuse what users or entry points are mapped to: those for which their
// document would be refused (R7).
func decideMappings(s State, c Command) []Refusal {
	var check checker
	set := c.Mappings
	if c.Reason != "" {
		check.reason("data.reason", c.Reason)
	}
	check.names(c)
	check.missing("data.from", set.From == civil.NoDate, "the date from which it applies")
	if set.Role != "" {
		check.oneOf("data.role", set.Role, roles...)
	}
	st, known := s.tenants.get(c.TenantID)
	if !known {
		check.unknownTenant(c.TenantID)
		return check.refusals
	}
	seen := map[string]bool{}
	for _, m := range set.Subscriptions {
		at, id := "data", "data.subscription"
		if set.All {
			at = "data.subscriptions[" + m.Subscription + "]"
			id = at + ".id"
		}
		if m.Class != "" {
			check.oneOf(at+".class", m.Class, classes...)
		}
		check.mappedTo(id, m.Subscription, st.standing.document.Subscription(m.Subscription))
		if set.From != civil.NoDate {
			check.mappedDates(at+".to", set.From, m.To)
		}
		if seen[m.Subscription] {
			check.refuse(schemas.InvalidField, id, m.Subscription, "named twice; make them one")
		}
		seen[m.Subscription] = true
	}
	if c.Command == SetLicences && set.Role == "" && len(set.Subscriptions) > 0 {
		for _, user := range set.Names {
			check.missing("data.role", user != "" && len(st.standing.licences.of(user)) == 0,
				fmt.Sprintf("the role of %s, who has no licence yet: admin or agent", user))
		}
	}
	return check.refusals
}

// InactiveMappings returns a refusal for each subscription that a set_licences maps a user to newly, or somebody where
// it names nobody yet, and that is not active on the date from which it applies: it gives no access then (R7). The fold
// takes such a mapping, which may be meant for later; those who map people by hand ask for this first.
func (s State) InactiveMappings(c Command) (refusals []Refusal) {
	st, known := s.tenants.get(c.TenantID)
	if !known || c.Command != SetLicences || c.Mappings.From == civil.NoDate {
		return nil
	}
	set := c.Mappings
	for _, m := range set.Subscriptions {
		to := st.standing.document.Subscription(m.Subscription)
		newly := len(set.Names) == 0 || slices.ContainsFunc(set.Names, func(user string) bool {
			return !slices.ContainsFunc(st.standing.licences.of(user), func(l Licence) bool {
				return l.Subscription == m.Subscription && l.effectiveOn(set.From)
			})
		})
		if to == nil || !newly || to.ActiveOn(set.From) {
			continue
		}
		field, then := "data.subscription", "nor later, as its terms are now"
		if set.All {
			field = "data.subscriptions[" + m.Subscription + "].id"
		}
		for _, term := range to.ActiveTerms() {
			if term.From > set.From {
				then = "and will be from " + term.From.String()
				break
			}
		}
		refusals = append(refusals, refusal(schemas.InactiveSubscription, field, m.Subscription,
			"%s is not active on %s, %s", m.Subscription, set.From, then))
	}
	return refusals
}

// names checks the users, or the entry points, of a command.
func (c *checker) names(command Command) {
	one, many := nameFields(command.Command)
	set := command.Mappings
	if set.All {
		c.neededText("data."+one, set.Names[0], "the one that is mapped")
		return
	}
	at := "data." + many
	if c.missing(at, len(set.Names) == 0, "at least one"); len(set.Names) > MostNames {
		c.refuse(schemas.InvalidField, at, strconv.Itoa(len(set.Names)), "more than %d; give several commands", MostNames)
		return
	}
	seen := make(map[string]bool, len(set.Names))
	for i, name := range set.Names {
		c.neededText(at+"["+cmp.Or(name, strconv.Itoa(i))+"]", name, "the one that is mapped")
		if seen[name] {
			c.refuse(schemas.InvalidField, at+"["+name+"]", name, "named twice; name it once")
		}
		seen[name] = true
	}
}

// mappable is a licence or an entry point.
type mappable[M any] interface {
	comparable
	name() string
	to() (subscription string, from, until civil.Date)
	during(from, until civil.Date) M
	compare(M) int
}

func (l Licence) name() string { return l.User }

func (l Licence) to() (string, civil.Date, civil.Date) { return l.Subscription, l.From, l.To }

func (l Licence) during(from, until civil.Date) Licence {
	l.From, l.To = from, until
	return l
}

// compare is the order of licences in a canonical document.
func (l Licence) compare(m Licence) int {
	return cmp.Or(strings.Compare(l.User, m.User), strings.Compare(l.Subscription, m.Subscription),
		cmp.Compare(l.From, m.From), cmp.Compare(l.To, m.To),
		strings.Compare(l.Class, m.Class), strings.Compare(l.Role, m.Role))
}

func (e EntryPoint) name() string { return e.EntryPoint }

func (e EntryPoint) to() (string, civil.Date, civil.Date) { return e.Subscription, e.From, e.To }

func (e EntryPoint) during(from, until civil.Date) EntryPoint {
	e.From, e.To = from, until
	return e
}

// compare is the order of entry points in a canonical document.
func (e EntryPoint) compare(f EntryPoint) int {
	return cmp.Or(strings.Compare(e.EntryPoint, f.EntryPoint), strings.Compare(e.Subscription, f.Subscription),
		cmp.Compare(e.From, f.From), cmp.Compare(e.To, f.To))
}

// inOrder returns mappings in their canonical order, exact repeats dropped.
func inOrder[M mappable[M]](all []M) []M {
	return slices.Compact(slices.SortedFunc(slices.Values(all), M.compare))
}

// setFrom returns the mappings of one name after those wanted apply from a date on. What is mapped on that date and is
// wanted alike goes on as one mapping. Other mappings to the subscriptions that are wanted, and with all those to any
// other, end on the date; those that would begin only then are gone.
func setFrom[M mappable[M]](old, wanted []M, from civil.Date, all bool) []M {
	wanted = slices.Clone(wanted)
	var kept []M
	for _, m := range old {
		subscription, since, until := m.to()
		about := slices.IndexFunc(wanted, func(w M) bool {
			to, _, _ := w.to()
			return to == subscription
		})
		switch {
		case about < 0 && !all, until != civil.NoDate && until <= from:
			kept = append(kept, m)
		case since >= from:
		case about >= 0 && m.during(from, from) == wanted[about].during(from, from):
			_, begins, ends := wanted[about].to()
			wanted[about] = m.during(min(since, begins), ends)
		default:
			kept = append(kept, m.during(since, from))
		}
	}
	return inOrder(append(kept, wanted...))
}

// roster is the mappings of a tenant: those of its document, and by name those that have been set since. So a command
// costs what it says, however many there are.
type roster[M mappable[M]] struct {
	document []M // in order
	set      dict[string, []M]
}

// of returns the mappings of a name, in order. They are shared, and must not be changed.
func (r roster[M]) of(name string) []M {
	if set, ok := r.set.get(name); ok {
		return set
	}
	first, _ := slices.BinarySearchFunc(r.document, name, func(m M, name string) int {
		return strings.Compare(m.name(), name)
	})
	last := first
	for last < len(r.document) && r.document[last].name() == name {
		last++
	}
	return r.document[first:last:last]
}

// empty reports whether none has been set since the document.
func (r roster[M]) empty() bool { return r.set == (dict[string, []M]{}) }

// all returns the mappings of all names, in order.
func (r roster[M]) all() []M {
	if r.empty() {
		return r.document
	}
	var all []M
	for _, m := range r.document {
		if _, set := r.set.get(m.name()); !set {
			all = append(all, m)
		}
	}
	r.set.all(func(_ string, set []M) { all = append(all, set...) })
	slices.SortFunc(all, M.compare)
	return all
}

// standing is a tenant as commands have left it.
type standing struct {
	document    *Tenant // the last one, in canonical form; its mappings may have been set since
	licences    roster[Licence]
	entryPoints roster[EntryPoint]

	mu sync.Mutex
	// whole is the tenant put together, for as long as somebody uses it: a history keeps the standing after each command.
	whole weak.Pointer[Tenant]
}

func newStanding(document *Tenant) *standing {
	return &standing{document: document, licences: roster[Licence]{document: document.Licences},
		entryPoints: roster[EntryPoint]{document: document.EntryPoints}}
}

// with returns the tenant with another document, and the same mappings.
func (s *standing) with(document *Tenant) *standing {
	return &standing{document: document, licences: s.licences, entryPoints: s.entryPoints}
}

// tenant returns the tenant as a whole, which is put together when it is asked for.
func (s *standing) tenant() *Tenant {
	if s.licences.empty() && s.entryPoints.empty() {
		return s.document
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	whole := s.whole.Value()
	if whole == nil {
		t := *s.document
		t.Licences, t.EntryPoints = s.licences.all(), s.entryPoints.all()
		whole, s.whole = &t, weak.Make(&t)
	}
	return whole
}

// mappedBy returns a command's tenant with nothing but the mappings of those whom the command names.
func (s State) mappedBy(c Command) *Tenant {
	t := &Tenant{ID: c.TenantID}
	st, ok := s.tenants.get(c.TenantID)
	if !ok {
		return t
	}
	for _, name := range c.Mappings.Names {
		if c.Command == SetLicences {
			t.Licences = append(t.Licences, st.standing.licences.of(name)...)
		} else {
			t.EntryPoints = append(t.EntryPoints, st.standing.entryPoints.of(name)...)
		}
	}
	return t
}

// set returns the tenant after a command that sets mappings.
func (s *standing) set(c Command) *standing {
	next, set := s.with(s.document), c.Mappings
	for _, name := range set.Names {
		if c.Command == SetEntryPoints {
			var wanted []EntryPoint
			for _, m := range set.Subscriptions {
				wanted = append(wanted, EntryPoint{name, m.Subscription, set.From, m.To})
			}
			next.entryPoints.set = next.entryPoints.set.with(name,
				setFrom(next.entryPoints.of(name), wanted, set.From, set.All))
			continue
		}
		old := next.licences.of(name)
		var wanted []Licence
		for _, m := range set.Subscriptions {
			like := likeLicence(old, m.Subscription, set.From)
			wanted = append(wanted, Licence{name, cmp.Or(set.Role, like.Role), cmp.Or(m.Class, like.Class, Standard),
				m.Subscription, set.From, m.To})
		}
		next.licences.set = next.licences.set.with(name, setFrom(old, wanted, set.From, set.All))
	}
	return next
}

// likeLicence returns the licence of a user whose role and class a new one has where nothing else is said: the last to
// begin by then, on the same subscription if there is one; none of a user without a licence.
func likeLicence(licences []Licence, subscription string, by civil.Date) (like Licence) {
	rank := func(l Licence) (n int) {
		if l.Subscription == subscription {
			n += 2
		}
		if l.From <= by {
			n++
		}
		return n
	}
	for i, l := range licences {
		if i == 0 || cmp.Or(cmp.Compare(rank(l), rank(like)), cmp.Compare(l.From, like.From)) > 0 {
			like = l
		}
	}
	return like
}

package registry

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/strict"
)

// The commands.
const (
	PutTenant       = "put_tenant"       // the whole of one tenant as it shall be
	SetLicences     = "set_licences"     // what users are mapped to from a date on (R7)
	SetEntryPoints  = "set_entry_points" // what entry points are mapped to from a date on (R10)
	ChangeTelephony = "change_telephony" // R6's tenant-wide change
	HoldPeriod      = "hold_period"      // a period is not to be issued (R20)
	ReleasePeriod   = "release_period"   // it may be again
	AcceptHole      = "accept_hole"      // offsets of a usage topic that are gone are no difference any more (R22)
	ClaimIssue      = "claim_issue"      // a period is issued (R20)
	// SealPeriods closes all periods up to one, of all tenants (R25).
	SealPeriods = "seal_periods"
	// RemoveDeliveries says which stored deliveries are removed for good: of sealed periods, or dead letters.
	RemoveDeliveries = "remove_deliveries"
)

// Commands are all of them.
var Commands = []string{PutTenant, SetLicences, SetEntryPoints, ChangeTelephony, HoldPeriod, ReleasePeriod, ClaimIssue,
	AcceptHole, SealPeriods, RemoveDeliveries}

const commandType = "registry.command"

// NoBase is the base of a command for a tenant that does not exist yet.
const NoBase int64 = -1

// Command is one record of the command topic. Its identity is tenant, source and id, as an event's is (R8).
type Command struct {
	ID, Source, TenantID string       // TenantID is empty for those that are of no tenant
	TimeMS               int64        // when it was given, UTC epoch milliseconds; it decides nothing
	By                   Actor        // who gave it; it decides nothing
	Command              string       // one of the above
	Base                 int64        // PutTenant, ClaimIssue: the last command that changed the tenant, or NoBase
	Tenant               *Tenant      // PutTenant
	Mappings             *SetMappings // SetLicences, SetEntryPoints
	Telephony            string       // ChangeTelephony: the option for all subscriptions
	Period               civil.Month  // HoldPeriod, ReleasePeriod, ClaimIssue: which; SealPeriods: the last
	From                 civil.Month  // SealPeriods: the first that anybody was to issue, 0 for each tenant's own
	Hole                 Hole         // AcceptHole: which offsets
	Claim                Claim        // ClaimIssue: as what
	Removal              *Removal     // RemoveDeliveries: of which
	Reason               string       // why, for the log; not of PutTenant, ClaimIssue and RemoveDeliveries

	// Hash is the SHA-256 of the record in hex, where a claim was read from one.
	Hash string
	// content is that of the record that it was read from, or is to become: see WithContent.
	content content
	// Unreadable is why the record cannot be carried out as it stands; such a command is refused for it.
	Unreadable []Refusal
}

// Verdict is what became of one command.
type Verdict struct {
	Offset    int64     `json:"offset"` // of the command's first delivery
	CommandID string    `json:"commandId,omitempty"`
	Tenant    string    `json:"tenantId,omitempty"`
	Accepted  bool      `json:"accepted"`
	Refusals  []Refusal `json:"refusals,omitempty"` // none when accepted
}

// MarshalJSON writes the command as a CloudEvent, the value of a record of the command topic.
func (c Command) MarshalJSON() ([]byte, error) {
	type data struct {
		Command   string       `json:"command"`
		Base      *int64       `json:"base,omitempty"`
		Tenant    *Tenant      `json:"tenant,omitempty"`
		Telephony string       `json:"telephony,omitempty"`
		Period    *civil.Month `json:"period,omitempty"`
		Through   *civil.Month `json:"through,omitempty"`
		From      *civil.Month `json:"from,omitempty"`
		*Hole
		*Claim
		Removal *Removal `json:"removal,omitempty"`
		Reason  string   `json:"reason,omitempty"`
	}
	d := data{Command: c.Command, Tenant: c.Tenant, Telephony: c.Telephony, Reason: c.Reason}
	switch c.Command {
	case PutTenant:
		d.Base = &c.Base
	case HoldPeriod, ReleasePeriod:
		d.Period = &c.Period
	case AcceptHole:
		d.Hole = &c.Hole
	case ClaimIssue:
		d.Base, d.Period, d.Claim = &c.Base, &c.Period, &c.Claim
	case SealPeriods:
		if d.Through = &c.Period; c.From != 0 {
			d.From = &c.From
		}
	case RemoveDeliveries:
		d.Removal = c.Removal
	}
	written, err := json.Marshal(d)
	if c.Mappings != nil {
		written, err = c.mappingsJSON()
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		SpecVersion string          `json:"specversion"`
		ID          string          `json:"id"`
		Source      string          `json:"source"`
		Type        string          `json:"type"`
		Time        string          `json:"time"`
		AuthType    string          `json:"authtype,omitempty"`
		AuthID      string          `json:"authid,omitempty"`
		TenantID    string          `json:"tenantid,omitempty"`
		Data        json.RawMessage `json:"data"`
	}{"1.0", c.ID, c.Source, commandType, civil.FormatMillis(c.TimeMS), c.By.Type, c.By.ID, c.TenantID, written})
}

// DecodeCommand reads a record of the command topic. It never fails: a record that is no command is one whose
// Unreadable says why, with as much of its identity as could be read, so that the fold goes on.
func DecodeCommand(value []byte) Command {
	c := Command{Base: NoBase}
	strictly, root := strict.ReadJSON(value)
	envelope, document := reader{strictly}, reader{strictly.Fork()}
	var specversion, kind, time string
	var period *civil.Month
	var data *strict.Node
	if root != nil {
		attributes := strict.Fields{
			"specversion": envelope.Text(&specversion), "id": envelope.Text(&c.ID), "source": envelope.Text(&c.Source),
			"type": envelope.Text(&kind), "time": envelope.Text(&time), "tenantid": envelope.Text(&c.TenantID),
			"authtype": envelope.Text(&c.By.Type), "authid": envelope.Text(&c.By.ID),
			"data": func(_ string, n *strict.Node) { data = n },
		}
		// Other attributes are extensions, which CloudEvents leaves to whoever carries the event.
		envelope.Members("", root, func(name string, _, n *strict.Node) {
			if read, ok := attributes[name]; ok {
				read(name, n)
			}
		})
	}
	c.content = contentOf(data)
	if data != nil {
		period = c.readData(envelope, document, data)
	}
	var check checker
	switch {
	case c.Command == ClaimIssue:
		c.Claim.Basis, c.Hash = basisOf(value), hashOf(value)
	case c.Removal != nil:
		var err error
		if c.Removal, err = removalOf(value); err != nil {
			check.refuse(schemas.MalformedCommand, "data.removal", "", "not as this release has it (%v)", err)
		}
	}
	for _, p := range envelope.Problems {
		check.refuse(schemas.MalformedCommand, p.Path, p.Value, "%s", p.Message)
	}
	if len(check.refusals) == 0 {
		check.envelope(&c, specversion, kind, time, period)
	}
	for _, p := range document.Problems {
		check.refuse(p.Code, p.Path, p.Value, "%s", p.Message)
	}
	c.Unreadable = check.refusals
	return c
}

// readData reads what is asked for. The tenant's document has refusals of its own.
func (c *Command) readData(envelope, document reader, data *strict.Node) (period *civil.Month) {
	if c.Command = commandOf(data); c.Command == SetLicences || c.Command == SetEntryPoints {
		c.readMappings(envelope, document, data)
		return nil
	}
	var from *civil.Month
	envelope.Object("data", data, strict.Fields{
		"command": envelope.Text(&c.Command),
		"base":    envelope.offset(&c.Base),
		"tenant": func(_ string, n *strict.Node) {
			t := document.tenant(tenantPath(c.TenantID), n)
			c.Tenant = &t
		},
		"telephony": envelope.Text(&c.Telephony),
		"period":    envelope.month(&period),
		"through":   envelope.month(&period),
		"from":      envelope.month(&from),
		"removal":   envelope.removal(&c.Removal),
		"topic":     envelope.Text(&c.Hole.Topic),
		"partition": envelope.number(math.MaxInt32, func(v int64) { c.Hole.Partition = int32(v) }),
		"first":     envelope.number(math.MaxInt64, func(v int64) { c.Hole.First = v }),
		"last":      envelope.number(math.MaxInt64, func(v int64) { c.Hole.Last = v }),
		"reason":    envelope.Text(&c.Reason),
		"seq":       envelope.number(math.MaxInt32, func(v int64) { c.Claim.Seq = int(v) }),
		"lines":     envelope.number(math.MaxInt32, func(v int64) { c.Claim.Lines = int(v) }),
		"linesHash": envelope.Text(&c.Claim.LinesHash),
		"previous":  envelope.Text(&c.Claim.Previous),
		"basis":     envelope.basis,
	})
	if from != nil {
		c.From = *from
	}
	return period
}

// commandOf returns what a command's data says that it is.
func commandOf(data *strict.Node) string {
	for pair := range slices.Chunk(data.Content, 2) {
		if len(pair) == 2 && pair[0].Value == "command" {
			return pair[1].Value
		}
	}
	return ""
}

// envelope checks the attributes of a command and the fields that its kind needs.
func (c *checker) envelope(command *Command, specversion, kind, time string, period *civil.Month) {
	malformed := func(bad bool, path, value, what string) {
		if bad {
			c.refuse(schemas.MalformedCommand, path, value, "%s", what)
		}
	}
	malformed(specversion != "1.0", "specversion", specversion, "write \"1.0\"")
	malformed(command.ID == "", "id", "", "needed; give an id that no other command of this source has")
	malformed(command.Source == "", "source", "", "needed; say who gave the command")
	malformed(kind != commandType, "type", kind, "write "+commandType)
	if tenantless(command.Command) {
		malformed(command.TenantID != "", "tenantid", command.TenantID, command.Command+" is of no tenant; leave it out")
	} else {
		malformed(!idForm.MatchString(command.TenantID), "tenantid", command.TenantID, "needed; give the tenant's id")
	}
	ms, err := civil.ParseInstant(time)
	malformed(err != nil, "time", time, "needed; write it as RFC 3339, such as 2026-10-14T08:31:07Z")
	command.TimeMS = ms
	switch command.Command {
	case PutTenant:
		if command.Tenant == nil {
			malformed(true, "data.tenant", "", "needed; give the tenant's whole document")
			return
		}
		malformed(command.Tenant.ID != command.TenantID, "data.tenant.id", command.Tenant.ID,
			"not the command's tenantid; make them the same")
	case ChangeTelephony:
		malformed(command.Telephony == "", "data.telephony", "", "needed; give the option for all subscriptions")
	case HoldPeriod, ReleasePeriod:
		if period == nil {
			malformed(true, "data.period", "", "needed; give the period, such as 2026-10")
			return
		}
		command.Period = *period
	case ClaimIssue:
		if period == nil {
			malformed(true, "data.period", "", "needed; give the period, such as 2026-10")
			return
		}
		command.Period = *period
		c.claim(command.Claim)
	case SealPeriods:
		if period == nil {
			malformed(true, "data.through", "", "needed; give the last period, such as 2026-10")
			return
		}
		command.Period = *period
	case AcceptHole, SetLicences, SetEntryPoints, RemoveDeliveries:
	default:
		last := len(Commands) - 1
		malformed(true, "data.command", command.Command,
			"write "+strings.Join(Commands[:last], ", ")+" or "+Commands[last])
	}
}

// offset reads an offset of the command log, or NoBase.
func (r reader) offset(dst *int64) strict.Field {
	return func(path string, n *strict.Node) {
		text, plain, ok := r.Scalar(path, n, "an offset")
		if !ok {
			return
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !plain || v < NoBase {
			r.Refuse(n, schemas.InvalidField, path, text,
				"not an offset; write the offset of the tenant's last accepted command, or %d", NoBase)
			return
		}
		*dst = v
	}
}

// State is what the command log amounts to up to an offset. The zero State is that of an empty log. A State
// never changes: Apply returns another, which shares all that the command left alone. So the states of a log can
// all be kept, and each is read from any goroutine.
type State struct {
	next    int64 // the offset after the last one applied
	version int64 // the offset after the last one that changed a tenant
	tenants shared[string, *tenantState]
	owners  dict[string, string] // by subscription, its tenant; ids are unique across all of them (R1)
	decided shared[commandKey, decision]
	holes   []AcceptedHole // in the order in which they were accepted; so are those below, never changed, only added to
	seals   []Seal
	// removals are what is no longer stored.
	removals []Removed
}

// tenantState is what the log says of one tenant.
type tenantState struct {
	standing *standing
	base     int64 // offset of the last command that changed it
	changed  *changedFrom
	holds    map[civil.Month]Hold
	issues   []Issued // in order; never changed, only added to
}

type commandKey struct{ tenant, source, id string }

func (c Command) key() commandKey { return commandKey{c.TenantID, c.Source, c.ID} }

// decision is what is remembered of a command.
type decision struct {
	offset   int64 // of its first delivery
	content  content
	refusals []Refusal // none when it was accepted
}

// Offset returns the offset of the last command applied, -1 for none.
func (s State) Offset() int64 { return s.next - 1 }

// Version returns the offset after that of the last command that changed a tenant's document, 0 where none has. States
// of one version have the same tenants, whatever else was commanded meanwhile: holds, claims, or what was refused.
func (s State) Version() int64 { return s.version }

// Tenant returns the tenant of that id, or nil. It is shared, and must not be changed.
func (s State) Tenant(id string) *Tenant {
	if st, ok := s.tenants.get(id); ok {
		return st.standing.tenant()
	}
	return nil
}

// document returns the last document of a tenant, or nil; its mappings may have been set since.
func (s State) document(id string) *Tenant {
	if st, ok := s.tenants.get(id); ok {
		return st.standing.document
	}
	return nil
}

// Owner returns the tenant of a subscription, or nil; its id is unique across tenants (R1).
func (s State) Owner(subscription string) *Tenant {
	tenant, ok := s.owners.get(subscription)
	if !ok {
		return nil
	}
	return s.Tenant(tenant)
}

// Base returns the offset of the last command that changed a tenant, or NoBase. It is the tenant's version, and
// what the next document for it is to be based on.
func (s State) Base(id string) int64 {
	if st, ok := s.tenants.get(id); ok {
		return st.base
	}
	return NoBase
}

// DecidedAt returns the offset of the first delivery of a command, by its identity, and whether it has been decided.
func (s State) DecidedAt(tenant, source, id string) (offset int64, ok bool) {
	d, ok := s.decided.get(commandKey{tenant, source, id})
	return d.offset, ok
}

// Versions returns the ids of the tenants that there are, each with its Base.
func (s State) Versions() map[string]int64 {
	versions := map[string]int64{}
	s.tenants.all(func(id string, st *tenantState) { versions[id] = st.base })
	return versions
}

// Tenants returns the tenants that there are, by id in byte order. They are shared, and must not be changed.
func (s State) Tenants() []*Tenant {
	tenants := []*Tenant{}
	s.tenants.all(func(_ string, st *tenantState) { tenants = append(tenants, st.standing.tenant()) })
	slices.SortFunc(tenants, func(x, y *Tenant) int { return strings.Compare(x.ID, y.ID) })
	return tenants
}

// Apply returns the state after the command at an offset of the log, and the verdict on it. The command of an
// identity that was decided before changes nothing (R23), so records may be delivered, and published, more than
// once: it gets the verdict of then or, where it says something else than the first one did, is refused.
func (s State) Apply(offset int64, c Command) (State, Verdict) {
	next := s
	next.next = max(s.next, offset+1)
	verdict := Verdict{Offset: offset, CommandID: c.ID, Tenant: c.TenantID}
	c.content = c.contentOf()
	before, repeated := s.decided.get(c.key())
	switch {
	case !repeated:
		verdict.Refusals = Decide(s, c)
	case before.content == c.content:
		verdict.Offset, verdict.Refusals = before.offset, before.refusals
	default:
		verdict.Refusals = []Refusal{refusal(schemas.ReusedID, "id", c.ID,
			"the command at offset %d has this id, and says something else; "+
				"give each command an id of its own, and repeat one as it was", before.offset)}
	}
	verdict.Accepted = len(verdict.Refusals) == 0
	nobodys := tenantless(c.Command) && c.TenantID == ""
	if repeated || c.ID == "" || c.Source == "" || !nobodys && !idForm.MatchString(c.TenantID) {
		return next, verdict // it changes nothing, or is nobody's: there is nothing to remember it by
	}
	next.decided = s.decided.with(c.key(), decision{offset, c.content, verdict.Refusals})
	if verdict.Accepted {
		next.change(offset, c)
	}
	return next, verdict
}

// change changes the state by an accepted command.
func (s *State) change(offset int64, c Command) {
	switch c.Command {
	case AcceptHole:
		s.holes = append(slices.Clip(s.holes), AcceptedHole{c.Hole, c.Reason, offset})
		return
	case SealPeriods:
		s.seals = append(slices.Clip(s.seals), Seal{c.Period, c.From, c.Reason, c.By, c.TimeMS, offset})
		return
	case RemoveDeliveries:
		s.removals = withRemoval(s.removals, c, offset)
		return
	}
	var st tenantState
	if old, ok := s.tenants.get(c.TenantID); ok {
		st = *old
	}
	switch c.Command {
	case PutTenant:
		// A subscription that exists is in every later document, so none loses its owner.
		for _, sub := range c.Tenant.Subscriptions {
			if _, known := s.owners.get(sub.ID); !known {
				s.owners = s.owners.with(sub.ID, c.TenantID)
			}
		}
		st.standing, st.base, s.version = newStanding(canonical(c.Tenant)), offset, offset+1
	case SetLicences, SetEntryPoints:
		st.standing, st.base, s.version = st.standing.set(c), offset, offset+1
	case ChangeTelephony:
		changed := *st.standing.document
		changed.Telephony = c.Telephony
		st.standing, st.base, s.version = st.standing.with(&changed), offset, offset+1
	case HoldPeriod, ReleasePeriod:
		st.holds = applyHold(st.holds, c, offset)
	case ClaimIssue:
		st.issues = append(slices.Clip(st.issues),
			Issued{c.Claim, c.TenantID, c.ID, c.Period, c.By, c.TimeMS, c.Base, offset, c.Hash})
	}
	switch {
	case st.base != offset:
	case c.Mappings != nil:
		st.changed = st.changed.with(offset, c.Mappings.From)
	default:
		st.changed = st.changed.with(offset, civil.NoDate)
	}
	s.tenants = s.tenants.with(c.TenantID, &st)
}

// Decide returns every reason to refuse a command in a state, none when it is to be accepted. A command is
// taken whole or not at all.
func Decide(s State, c Command) []Refusal {
	if len(c.Unreadable) > 0 {
		return c.Unreadable
	}
	switch c.Command {
	case SetLicences, SetEntryPoints:
		return decideMappings(s, c)
	case HoldPeriod, ReleasePeriod:
		return decideHold(s, c)
	case AcceptHole:
		return decideHole(s, c)
	case SealPeriods:
		return decideSeal(s, c)
	case RemoveDeliveries:
		return decideRemoval(s, c)
	case ClaimIssue:
		return decideClaim(s, c)
	case ChangeTelephony:
		var check checker
		if s.document(c.TenantID) == nil {
			check.unknownTenant(c.TenantID)
		}
		check.oneOf("data.telephony", c.Telephony, telephonyOptions...)
		return check.refusals
	}
	if base := s.Base(c.TenantID); c.Base != base {
		return []Refusal{refusal(schemas.StaleBase, "data.base", strconv.FormatInt(c.Base, 10),
			"the tenant has changed since (its last accepted command is at %d); apply the document again", base)}
	}
	refusals := append(c.Tenant.Validate(), s.ownedByOthers(c.Tenant)...)
	if current := s.document(c.TenantID); current != nil {
		refusals = append(refusals, changesRefused(current, c.Tenant)...)
	}
	return refusals
}

// ownedByOthers returns what is wrong with subscriptions that other tenants have (R1), by those tenants in byte order.
func (s State) ownedByOthers(t *Tenant) []Refusal {
	type owned struct{ subscription, owner string }
	var all []owned
	for _, sub := range t.Subscriptions {
		if owner, ok := s.owners.get(sub.ID); ok && owner != t.ID {
			all = append(all, owned{sub.ID, owner})
		}
	}
	slices.SortStableFunc(all, func(x, y owned) int { return strings.Compare(x.owner, y.owner) })
	var refusals []Refusal
	for _, o := range all {
		refusals = append(refusals, duplicateSubscription(t.ID, o.subscription, o.owner))
	}
	return refusals
}

// changesRefused returns what may not become of a tenant that exists (R1, R6).
func changesRefused(old, next *Tenant) []Refusal {
	var c checker
	path := tenantPath(old.ID)
	immutable := func(at, was, is, how string) {
		if was != is {
			c.refuse(schemas.ImmutableField, at, is, "it is %s and never changes (R1); %s", was, how)
		}
	}
	immutable(path+".timeZone", old.TimeZone, next.TimeZone, "leave it as it is")
	if old.Telephony != next.Telephony {
		c.refuse(schemas.TelephonyMismatch, path+".telephony", next.Telephony,
			"the tenant has %s (R6); it changes for all subscriptions at once, by a command that gives a reason", old.Telephony)
	}
	for i := range old.Subscriptions {
		was := &old.Subscriptions[i]
		at := path + ".subscriptions[" + was.ID + "]"
		is := next.Subscription(was.ID)
		if is == nil {
			c.refuse(schemas.SubscriptionMissing, at, "",
				"it exists, and the document leaves it out; keep it, with cancelled: and a date to end it")
			continue
		}
		const how = "leave it, and add a subscription that has the new one"
		immutable(at+".licenceModel", was.LicenceModel, is.LicenceModel, how)
		immutable(at+".currency", was.Currency, is.Currency, how)
		immutable(at+".billing", was.Billing, is.Billing, how)
	}
	return c.refusals
}

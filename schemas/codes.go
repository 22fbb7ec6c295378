package schemas

import (
	"cmp"
	"slices"
)

// Code is the stable name of a reason: why a delivery, a command or a file is refused, why a tenant is stopped, or what
// somebody should look at. It is the same in the program's messages and files, in JSON, in tables and in metrics.
type Code string

// CodeKind is what a code is given for; a code may have several kinds.
type CodeKind uint16

// The kinds of codes.
const (
	RefusesDelivery CodeKind = 1 << iota
	RefusesCommand           // or a document, which becomes commands
	WarnsOfDocument          // which is taken
	StopsTenant              // whose period is not billed
	IsFinding                // of a period (R24)
	LeavesOutFile            // of an issue
	RefusesIssue             // as a whole
	NotThere                 // what is asked for
	RefusesRequest           // of the API, as such
	RefusesStart             // of whatever reads or writes tables
)

// KindTitles has every kind with what its codes are listed under, in the order in which they are.
var KindTitles = []struct {
	Kind  CodeKind
	Title string
}{
	{RefusesDelivery, "Deliveries that are refused"},
	{RefusesCommand, "Documents and commands that are refused"},
	{WarnsOfDocument, "Documents that are taken, with a warning"},
	{StopsTenant, "Tenants that are stopped"},
	{RefusesIssue, "Issues that are refused"},
	{IsFinding, "Findings"},
	{LeavesOutFile, "Files that are left out"},
	{NotThere, "What is asked for and is not there"},
	{RefusesRequest, "Requests that are refused"},
	{RefusesStart, "Starts that are refused"},
}

// Codes of deliveries (the event contract). A delivery with several defects is refused for the first.
const (
	TooLarge            Code = "too_large"
	MalformedJSON       Code = "malformed_json"
	NotCloudEvents      Code = "not_cloudevents"
	MissingField        Code = "missing_field" // of documents, too
	UnknownType         Code = "unknown_type"
	InvalidField        Code = "invalid_field" // of documents, too
	MisspeltField       Code = "misspelt_field"
	EndBeforeStart      Code = "end_before_start"
	ImplausibleDuration Code = "implausible_duration"
)

// Codes of registry documents and commands.
const (
	MalformedDocument     Code = "malformed_document"
	UnknownField          Code = "unknown_field"
	DuplicateSubscription Code = "duplicate_subscription"
	ImmutableField        Code = "immutable_field"
	InvalidTerms          Code = "invalid_terms"
	InvalidVersions       Code = "invalid_versions"
	InvalidCommitment     Code = "invalid_commitment"
	InvalidCurrency       Code = "invalid_currency"
	MixedLicenceModel     Code = "mixed_licence_model"
	TelephonyMismatch     Code = "telephony_mismatch"
	SubscriptionMissing   Code = "subscription_missing"
	InactiveSubscription  Code = "inactive_subscription"
	MalformedCommand      Code = "malformed_command"
	ReusedID              Code = "reused_id"
	StaleBase             Code = "stale_base"
	AlreadyHeld           Code = "already_held"
	NotHeld               Code = "not_held"
	AlreadyAccepted       Code = "already_accepted"
	AlreadyIssued         Code = "already_issued"
	StaleChain            Code = "stale_chain"
	AlreadySealed         Code = "already_sealed"
	NotSealed             Code = "not_sealed"
	SealTooEarly          Code = "seal_too_early"
	LooksLikeNumber       Code = "looks_like_number"
	UndatedTax            Code = "undated_tax"
)

// Codes of periods that are billed.
const (
	UnknownTenant Code = "unknown_tenant"
	MissingPrice  Code = "missing_price"
	NotDue        Code = "not_due"
	Held          Code = "held"
	TwoPersons    Code = "two_persons"
	Behind        Code = "behind"
	Unbalanced    Code = "unbalanced"
	AsOfFuture    Code = "as_of_future"
	ClockSuspect  Code = "clock_suspect"
	ClocksApart   Code = "clocks_apart"
)

// Codes of findings (R24).
const (
	RefusedCorrection   Code = "refused_correction"
	Refused             Code = "refused"
	NeverBilled         Code = "never_billed"
	Ahead               Code = "ahead"
	OpenSession         Code = "open_session"
	Unmapped            Code = "unmapped"
	UnknownSubscription Code = "unknown_subscription"
	Conflict            Code = "conflict"
	OpenPeak            Code = "open_peak"
	SamePerson          Code = "same_person"
	Sealed              Code = "sealed"
)

// Codes of invoice files.
const (
	MissingBillTo       Code = "missing_bill_to"
	MissingSeller       Code = "missing_seller"
	UnsupportedTax      Code = "unsupported_tax"
	UnsupportedCurrency Code = "unsupported_currency"
)

// Codes of what is asked for and is not there.
const (
	NoInvoice Code = "no_invoice"
	NoLine    Code = "no_line"
	NotIssued Code = "not_issued"
	NoHole    Code = "no_hole"
	NoRefusal Code = "no_refusal"
	Removed   Code = "removed"
)

// Codes of requests to the API.
const (
	MalformedRequest     Code = "malformed_request"
	InvalidCursor        Code = "invalid_cursor"
	Unauthenticated      Code = "unauthenticated"
	Forbidden            Code = "forbidden"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	NotAcceptable        Code = "not_acceptable"
	BodyTooLarge         Code = "body_too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	PreconditionRequired Code = "precondition_required"
	TooManyRequests      Code = "too_many_requests"
	Unavailable          Code = "unavailable"
)

// Codes of tables that this release does not work with.
const (
	SchemaOlder Code = "schema_older"
	SchemaNewer Code = "schema_newer"
)

// statuses are those of HTTP that requests are refused with, by code; whatever else a rule refuses is 409.
var statuses = map[Code]int{
	MalformedRequest: 400, InvalidCursor: 400, Unauthenticated: 401, Forbidden: 403, NotFound: 404,
	MethodNotAllowed: 405, NotAcceptable: 406, BodyTooLarge: 413, UnsupportedMediaType: 415, PreconditionRequired: 428,
	TooManyRequests: 429, Unavailable: 503, ClocksApart: 503,
	NoInvoice: 404, NoLine: 404, NoHole: 404, NoRefusal: 404, Removed: 404, StaleBase: 412, ReusedID: 422,
}

// Status is the HTTP status of an answer that has the code.
func (c Code) Status() int { return cmp.Or(statuses[c], 409) }

// Reason is what is known of a code.
type Reason struct {
	Code  Code
	Kinds CodeKind
	// Rule is the billing rule behind the code, such as R19; "" where a contract of the product is.
	Rule string
	// Title says what is the case, without the case's own figures. That of a finding goes before a count.
	Title string
	// Advice says what to do, for a reader who need not have a command line. What gives the code may have a better one.
	Advice string
}

// CodesOf returns the codes of a kind, in the order in which they are listed; those of deliveries apply in it.
func CodesOf(kind CodeKind) (codes []Code) {
	for _, r := range Reasons {
		if r.Kinds&kind != 0 {
			codes = append(codes, r.Code)
		}
	}
	return codes
}

// reason returns what is known of the code, and nothing of one that is unknown: records keep those of other releases.
func (c Code) reason() Reason {
	if i := slices.IndexFunc(Reasons, func(r Reason) bool { return r.Code == c }); i >= 0 {
		return Reasons[i]
	}
	return Reason{Code: c}
}

// Rule is the billing rule behind the code, such as R19, or "".
func (c Code) Rule() string { return c.reason().Rule }

// Title says what is the case.
func (c Code) Title() string { return c.reason().Title }

// Advice says what to do.
func (c Code) Advice() string { return c.reason().Advice }

// Reasons has every code once.
var Reasons = []Reason{
	// Deliveries, in the order in which the codes apply.
	{TooLarge, RefusesDelivery, "", "the value is over 262,144 bytes",
		"leave out of the event what billing does not read; nothing that it reads comes near the limit"},
	{MalformedJSON, RefusesDelivery, "",
		"the value is not one JSON object in valid UTF-8, or a member name is repeated in it or in its data",
		"have a JSON library write the event, in UTF-8 and each member once; " +
			"a value that was cut off, compressed or encoded twice looks like this, too"},
	{NotCloudEvents, RefusesDelivery, "", "specversion is missing or not the string 1.0",
		`send the whole event in the value, with specversion "1.0" and the header content-type: ` +
			"application/cloudevents+json or none, or its attributes in ce_ headers; " +
			"headers that were lost on the way, or that a framework added, look like this"},
	{MissingField, RefusesDelivery | RefusesCommand, "", "a needed attribute or field is absent or empty",
		"fill in the field; in an event, one that the platform renamed, spells otherwise, or writes outside data, " +
			"looks like this, too"},
	{UnknownType, RefusesDelivery, "", "type is not one of the event contract, or not this topic's",
		"send the event to the topic of its type, with that type's exact name; " +
			"a type that a later version knows can be replayed after the upgrade"},
	{InvalidField, RefusesDelivery | RefusesCommand, "", "a field has the wrong type, or a value that it cannot have",
		"write the field as the contract has it; in events, " +
			"numbers in quotes, times without a zone, and seconds where milliseconds belong are the most common"},
	{MisspeltField, RefusesDelivery, "", "a member of data is a field misspelt that is absent",
		"send the member by the name that the event contract has, upper and lower case as there; " +
			"one that is meant to be something else needs a name that is not so near"},
	{EndBeforeStart, RefusesDelivery, "", "endTime is before startTime",
		"find out which of the two times is wrong; " +
			"machines whose clocks differ, and a local time that was marked as UTC, look like this"},
	{ImplausibleDuration, RefusesDelivery, "", "a session is longer than 31 days",
		"find out when the session really ended; most of these were never closed"},

	// Documents and commands.
	{MalformedDocument, RefusesCommand, "", "the document is not one YAML or JSON document", "make it one"},
	{UnknownField, RefusesCommand, "", "the document has no such field", "correct the name, or leave the field out"},
	{DuplicateSubscription, RefusesCommand, "R1", "another subscription has this id",
		"give the subscription an id that no subscription of any tenant has"},
	{ImmutableField, RefusesCommand, "R1",
		"a tenant's zone, or a subscription's licence model, currency or billing would change",
		"leave it as it is, and add a subscription that has the new one"},
	{InvalidTerms, RefusesCommand, "R2", "a term does not end after it begins, or overlaps another",
		"let each term begin where the one before ends, or later"},
	{InvalidVersions, RefusesCommand, "R2", "two versions start on one date, or the first starts after the first term",
		"give each version a date of its own, the first no later than the first term"},
	{InvalidCommitment, RefusesCommand, "R2", "a commitment is not on a seat, a port or an add-on, or not a whole number",
		"commit to whole numbers of agent_standard, agent_premium, ivr_port or addon.<word>"},
	{InvalidCurrency, RefusesCommand, "", "the currency is not an ISO 4217 code that has minor units",
		"write such a code, for example SEK"},
	{MixedLicenceModel, RefusesCommand, "R5", "subscriptions of different licence models have terms that overlap",
		"end the one's terms where the other's begin"},
	{TelephonyMismatch, RefusesCommand, "R6", "the telephony option is not the tenant's",
		"leave it as the tenant has it, or change it for all subscriptions at once by the command for that"},
	{SubscriptionMissing, RefusesCommand, "", "the document leaves out a subscription that the registry has",
		"put it back; a date in cancelled ends it"},
	{InactiveSubscription, RefusesCommand, "R7", "a subscription that is not active on the date gives no access then",
		"map to one that is, or from a date on which it is active"},
	{MalformedCommand, RefusesCommand, "", "the record is not a command of the registry",
		"see in registry_log what was sent, and have the source send commands as the contract has them"},
	{ReusedID, RefusesCommand, "", "a command of this source has the id, and says something else",
		"give each command an id of its own, and repeat one as it was"},
	{StaleBase, RefusesCommand, "", "the tenant has changed since the document was planned, or the period billed",
		"begin again with the tenant as it is now"},
	{AlreadyHeld, RefusesCommand, "R20", "the period is held already", "release it first, to hold it for another reason"},
	{NotHeld, RefusesCommand, "R20", "the period is not held", "there is nothing to release; see which periods are held"},
	{AlreadyAccepted, RefusesCommand, "R22", "the hole in the ledger is accepted already", "there is nothing left to do"},
	{AlreadyIssued, RefusesCommand, "R20", "the period is issued, and stays so",
		"let what changes now come as an adjustment on the next invoice (R21)"},
	{StaleChain, RefusesCommand, "R20", "the tenant was issued another period since this one was billed",
		"bill it again by what is issued now"},
	{AlreadySealed, RefusesCommand, "R25", "the period is sealed already",
		"there is nothing left to do; seal a later one"},
	{NotSealed, RefusesCommand, "R25", "the period is not sealed",
		"seal it first; then nothing changes what it was billed"},
	{SealTooEarly, RefusesCommand, "R25", "the grace of the period has not been over for as long as is configured",
		"seal it then; where no number of months is configured nothing is ever sealed"},
	{LooksLikeNumber, WarnsOfDocument, "", "an id that a spreadsheet takes for a number or a date",
		"import the column as text, or open invoices.xlsx, which keeps it"},
	{UndatedTax, WarnsOfDocument, "R26",
		"a tax without a date takes the place of another, in past months that are not issued yet, too",
		"if it applies from a date, leave the old entry first and add the new one with its from"},

	// Periods that are billed.
	{MissingPrice, StopsTenant | WarnsOfDocument, "R19", "a line needs a price that the price list lacks",
		"add the price to the registry document, apply it, and bill the tenant again"},
	{NotDue, StopsTenant, "R20", "the grace of the period is not over", "issue it then; a draft can be had before"},
	{Held, StopsTenant | RefusesCommand, "R20", "somebody holds the period", "release it and issue it then"},
	{TwoPersons, StopsTenant, "R20", "whoever issues the period has changed its prices", "have somebody else issue it"},
	{Behind, StopsTenant, "R22", "not all that was published is taken in", "let ingest catch up, and bill again"},
	{Unbalanced, StopsTenant, "R22", "what was published, taken in, counted and issued does not agree",
		"see in the balance of the period all that differs; restore the table that lost rows or, where it names a tenant " +
			"and a day, have the usage of that tenant rebuilt; then bill again"},
	{AsOfFuture, RefusesIssue, "R20", "an issue as of an instant later than the clock", "issue as of now"},
	{ClockSuspect, RefusesIssue, "R20", "so many periods are due at once that the clock may be ahead",
		"correct the clock; if it is right, allow the schedule to catch up"},
	{ClocksApart, RefusesIssue, "R20", "the clocks of Apportion and of ClickHouse differ by more than five minutes",
		"put the wrong one right, and issue then"},

	// Findings, in the order in which they are shown.
	{RefusedCorrection, IsFinding, "R22", "corrections that were refused, while what they correct is billed",
		"have the source send them again as the event contract has it, with a revision as high"},
	{Refused, IsFinding, "R22", "events that were refused",
		"have the source send them again as the event contract has it, unless they were never meant to count"},
	{NeverBilled, IsFinding, "R10", "events that no invoice carries, since no subscription was active",
		"see whether a term or a cancellation is wrong; if none is, this usage is never charged"},
	{Ahead, IsFinding, "R24", "events that start after now",
		"look at the clock of the source; they count in the month that they start in"},
	{UnknownTenant, IsFinding | StopsTenant | RefusesCommand, "R10", "tenants that the registry does not have",
		"add the tenant to the registry, or correct the id"},
	{OpenSession, IsFinding, "R12", "sessions without an end, which are taken to last as long as they may",
		"have the source send when they ended"},
	{Unmapped, IsFinding, "R10", "sessions of agents that no active subscription is mapped to",
		"map the agents; until then the primary has their usage"},
	{UnknownSubscription, IsFinding, "R10", "events that name a subscription which the tenant lacks",
		"correct the id at the source, or add the subscription"},
	{Conflict, IsFinding, "R8", "events with several contents at their highest revision",
		"have the source send the right one with a higher revision"},
	{OpenPeak, IsFinding, "R15", "sessions without an end that make the peak which is charged",
		"have the source send when they ended before this is signed"},
	{SamePerson, IsFinding, "R13", "agents at a peak over the pool whose ids differ only in case or outer spaces",
		"if they are one person, have the source write the id in one way"},
	{Sealed, IsFinding | RefusesCommand | StopsTenant, "R25", "events that reached a sealed period, and change no bill",
		"agree with the customer what becomes of them; an invoice outside of Apportion can settle it"},

	// Invoice files.
	{MissingBillTo, LeavesOutFile, "", "the registry document lacks something of the buyer, or has what cannot be used",
		"complete the registry document, apply it, and write the files again"},
	{MissingSeller, LeavesOutFile, "", "the configuration lacks something of the seller, or has what cannot be used",
		"complete the configuration and write the files again"},
	{UnsupportedTax, LeavesOutFile, "R26", "an e-invoice cannot state the taxes of this invoice beside each other",
		"use the other files of this invoice"},
	{UnsupportedCurrency, LeavesOutFile, "", "an e-invoice cannot be in this currency",
		"use the other files of this invoice"},

	{NoInvoice, NotThere, "R18", "there is no such invoice", "look at the invoices of the period"},
	{NoLine, NotThere, "R18", "the invoice has no such line", "choose one of its lines"},
	{NotIssued, NotThere | RefusesCommand, "R20", "the period is not issued", "issue what is due first"},
	{NoHole, NotThere, "R22", "the ledger has no open hole there", "look at the holes that it has"},
	{NoRefusal, NotThere, "", "no delivery that is chosen was refused there", "look at those that were refused"},
	{Removed, NotThere, "R25", "the deliveries of the period were removed after it was sealed",
		"look at its invoices, and at the evidence that was written of them before"},

	// Requests to the API.
	{MalformedRequest, RefusesRequest, "", "the request is not as the OpenAPI document says",
		"put right what is listed; the document has every parameter and member, and others are refused"},
	{InvalidCursor, RefusesRequest, "", "the cursor belongs to another list or filter",
		"begin again without it, or keep the filter of the page that it came with"},
	{Unauthenticated, RefusesRequest, "", "nobody knows who sends the request",
		"sign in, or send a token that is configured and has not expired"},
	{Forbidden, RefusesRequest, "", "the roles of the sender do not allow it",
		"ask somebody who has the role, or whoever grants roles for it"},
	{NotFound, RefusesRequest, "", "there is nothing of that name that the sender may see",
		"look for it in the list that it belongs to, and check the spelling"},
	{MethodNotAllowed, RefusesRequest, "", "the path is not for that method",
		"use one of the methods of the Allow header"},
	{NotAcceptable, RefusesRequest, "", "the answer cannot be had in the form asked for",
		"ask for one of the forms listed"},
	{BodyTooLarge, RefusesRequest, "", "the body is longer than the route takes",
		"send less at a time; the documentation of the route has its limit"},
	{UnsupportedMediaType, RefusesRequest, "", "the body is of a type that the route does not take",
		"send one of the types that the OpenAPI document has for it, and say so in Content-Type"},
	{PreconditionRequired, RefusesRequest, "", "the request does not say what it was made from",
		"read the thing again, and send its ETag as If-Match"},
	{TooManyRequests, RefusesRequest, "", "the sender asks too often", "wait as long as Retry-After says"},
	{Unavailable, RefusesRequest, "", "it cannot be done now",
		"repeat it after as long as Retry-After says; if it stays so, tell the operators the request's id"},

	// Tables that this release does not work with.
	{SchemaOlder, RefusesStart, "", "the tables are of an older version of the schema than this release works with",
		"migrate them by this release, and start it then"},
	{SchemaNewer, RefusesStart, "", "the tables are of a newer version of the schema than this release works with",
		"install the release that migrated them, or a newer one"},
}

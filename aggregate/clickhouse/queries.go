package clickhouse

import (
	"embed"
	"regexp"
	"strings"

	"apportion/aggregate"
)

// The queries are in sql/*.sql. `make sql` prints one that a client runs as it stands.
//
// They read these tables, which every call sends along with them:
//
//	tenants(tenant, of)                            whose deliveries to read; of numbers the tenants
//	calendar(tenant, of, day, date, from_ms,       the dates in the zone of the tenant, those before the days that
//	         to_ms, wanted, unknown_tenant,        are wanted too; day numbers them, and payer is the primary
//	         payer)
//	dates(tenant, day), dates_before(tenant, day)  the dates in UTC that the wanted days lie in, and those on which
//	                                               a session that reaches into one can have begun; sent where
//	                                               the days are scattered, and read by inDates alone
//	names(number, subscription)                    what the number of a subscription stands for; 0 is none
//	subscriptions(of, subscription, number,        and the other timelines of the registry, step functions that
//	              from_ms, active)                 ASOF joins look up; each key begins before all events
//	mappings(of, is_ivr, name, from_ms, number,
//	         premium)
//	entitlements(tenant, subscription, meter,
//	             from_ms, quantity)
//
// and these parameters: from and to, whole dates in UTC that the wanted days lie in; first, when the first of these
// days begins, and lo, the start of the date in UTC on which a session that reaches until then can have begun at the
// earliest; now and open_ms, for R12; longest, which no session exceeds.
//
//go:embed sql/*.sql
var files embed.FS

// comment finds what a file says for people. It may name what [fill] replaces by several lines.
var comment = regexp.MustCompile(`(?m)^ *--.*\n| +--.*$`)

// text returns what some files have: where they are several, one list of common table expressions.
func text(names ...string) string {
	var texts []string
	for _, name := range names {
		file, err := files.ReadFile("sql/" + name + ".sql")
		if err != nil {
			panic(err) // a name in this package
		}
		statement := strings.TrimSpace(comment.ReplaceAllString(string(file), ""))
		texts = append(texts, strings.ReplaceAll(statement, "$until", until))
	}
	return strings.Join(texts, ",\n")
}

// fill replaces names that a text has for expressions, such as $known, by what they stand for.
func fill(text string, namesAndExpressions ...string) string {
	return strings.NewReplacer(namesAndExpressions...).Replace(text)
}

var (
	attributed = text("names", "resolved", "attributed")
	daily      = text("names", "resolved", "attributed", "daily")
)

// until is when the session of a delivery ends at the latest; a void without a start lasts nowhere.
const until = `multiIf(start_ms < 0, occurred_ms, end_ms < 0, start_ms + {open_ms:Int64}, end_ms)`

// inRange is true of the deliveries to read: of whole dates, and of those that reach into the first day from before.
// All of an event's on one date in UTC are, or none is.
const (
	inRange = `tenant IN (SELECT tenant FROM tenants) AND occurred_ms >= {lo:Int64} AND occurred_ms < {to:Int64}
			AND (occurred_ms >= {from:Int64} OR identity IN (SELECT identity FROM reaching))`
	reachingRange = `tenant IN (SELECT tenant FROM tenants) AND occurred_ms >= {lo:Int64} AND occurred_ms < {from:Int64}
			AND ` + until + ` > {first:Int64}`
)

// inDates and reachingDates are the same where the days are scattered: of the dates that are listed, and of those that
// end on another date than they begin.
const (
	inDates = `((tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates)
			OR (tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates_before)
				AND identity IN (SELECT identity FROM reaching))`
	reachingDates = `(tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates_before)
			AND intDiv(` + until + `, 86400000) > intDiv(occurred_ms, 86400000)`
)

// dailyOf returns the expression `daily` over the deliveries within a bound, as it suits the days of the inputs.
func (q *query) dailyOf(bound aggregate.ReadBound) string { return q.over(daily, bound) }

// over returns expressions as they suit a bound, and the days of the inputs.
func (q *query) over(expressions string, bound aggregate.ReadBound) string {
	in, reaching := inRange, reachingRange
	if q.scattered {
		in, reaching = inDates, reachingDates
	}
	return fill(expressions, "$in_range", in, "$reaching", reaching, "$known", known(bound))
}

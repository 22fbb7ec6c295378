package clickhouse

import "strings"

// The queries read these tables, which every call sends along with them:
//
//	tenants(tenant, of)                            whose deliveries to read; of numbers the tenants
//	calendar(tenant, of, day, date, from_ms,       the dates in the zone of the tenant, those before the days that
//	         to_ms, wanted, held, payer)           are wanted too; day numbers them, and payer is the primary
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
// earliest; now and open_ms, for R12; longest, which no session exceeds. $known stands for which deliveries are there.

// constants are worked out once a query.
const constants = `
	(SELECT (groupArray(tenant), groupArray(of)) FROM tenants) AS numbered,
	(SELECT arraySort(groupUniqArray(channel)) FROM usage_events WHERE tenant IN (SELECT tenant FROM tenants) AND type = 'connect.usage') AS channels,
	arrayConcat([''], channels) AS channel_names, arrayMap(n -> toUInt16(n + 3), arrayEnumerate(channel_names)) AS channel_meters`

// until is when the session of a delivery ends at the latest; a void without a start lasts nowhere.
const until = `multiIf(start_ms < 0, occurred_ms, end_ms < 0, start_ms + {open_ms:Int64}, end_ms)`

// inRange is true of the deliveries to read: of whole dates, and of those that reach into the first day from before.
// All of an event's on one date in UTC are, or none is.
const (
	inRange = `tenant IN (SELECT tenant FROM tenants) AND occurred_ms >= {lo:Int64} AND occurred_ms < {to:Int64}
			AND (occurred_ms >= {from:Int64} OR identity IN (SELECT identity FROM reaching))`
	reachingRange = `tenant IN (SELECT tenant FROM tenants) AND occurred_ms >= {lo:Int64} AND occurred_ms < {from:Int64} AND ` + until + ` > {first:Int64}`
)

// inDates and reachingDates are the same where the days are scattered: of the dates that are listed, and of those that
// end on another date than they begin.
const (
	inDates = `((tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates)
			OR (tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates_before) AND identity IN (SELECT identity FROM reaching))`
	reachingDates = `(tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates_before) AND intDiv(` + until + `, 86400000) > intDiv(occurred_ms, 86400000)`
)

// settled has one row for each revision and content of every event that may touch the wanted days: how many
// deliveries brought it, and whether it wins (R8).
//
// Nearly every event stands on one date in UTC, so reading whole dates finds all of its deliveries; and nearly
// every one of these has a single delivery, which wins. The few others are settled apart. Those with more than
// one delivery are in several, also where it is one delivery in rows that are not merged yet (R23). Those that
// stand on more than one date are in events_on_several_days, and are read wherever they stand.
const settled = constants + `,
	reaching AS (
		SELECT identity FROM usage_events
		WHERE ` + reachingRange + `
	),
	moved AS (SELECT tenant, identity, day FROM events_on_several_days WHERE tenant IN (SELECT tenant FROM tenants)),
	(
		SELECT groupArray(identity) FROM (
			SELECT identity FROM (SELECT identity FROM usage_events WHERE ` + inRange + `) GROUP BY identity HAVING count() > 1
			UNION ALL
			SELECT identity FROM moved
		)
	) AS several,
	deliveries AS (
		SELECT ` + columns + ` FROM usage_events
		WHERE ` + inRange + ` AND identity IN (SELECT arrayJoin(several)) AND $known
		UNION ALL
		SELECT ` + columns + ` FROM usage_events
		WHERE (tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM moved)
			AND identity IN (SELECT identity FROM moved) AND $known
	),
	contents AS (
		SELECT tenant, source, id, revision, content, count() AS deliveries,
			any(d.type) AS type, any(d.voided) AS voided, any(d.time_ms) AS time_ms, any(d.occurred_ms) AS occurred_ms,
			any(d.start_ms) AS start_ms, any(d.end_ms) AS end_ms, any(d.agent) AS agent, toLowCardinality(any(d.entry_point)) AS entry_point,
			toLowCardinality(any(d.channel)) AS channel, any(d.quantity) AS quantity, toLowCardinality(any(d.subscription)) AS subscription,
			any(d.class) AS class
		FROM (SELECT * FROM deliveries LIMIT 1 BY topic, partition, offset) AS d
		GROUP BY tenant, source, id, revision, content
	),
	settled AS (
		SELECT tenant, type, voided, occurred_ms, start_ms, end_ms, agent, entry_point, channel, quantity, subscription, class, $named
			toUInt64(1) AS deliveries, true AS wins, false AS conflict
		FROM usage_events
		WHERE ` + inRange + ` AND identity NOT IN (SELECT arrayJoin(several)) AND $known
		UNION ALL
		SELECT tenant, type, voided, occurred_ms, start_ms, end_ms, agent, entry_point, channel, quantity, subscription, class, $named deliveries,
			row_number() OVER best_first = 1, leadInFrame(revision, 1, -1) OVER best_first = revision
		FROM contents
		-- The id comes first, since it alone tells most events apart, and quickly.
		WINDOW best_first AS (PARTITION BY id, source, tenant ORDER BY revision DESC, time_ms DESC, content DESC ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
	)`

const columns = `tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms, agent, entry_point,
			channel, quantity, subscription, class, content, topic, partition, offset`

// hashed is a number of 128 bits for a string, since joining and grouping by strings is slow. That two of a hundred
// million differ and share one has a chance of one in 10^22; so it has when the number of a tenant is added, to tell
// apart the same name in two. Hashing several strings into one number takes three times as long.
func hashed(text string) string { return "reinterpretAsUInt128(sipHash128(" + text + "))" }

// allocated says of every event where it goes. $named and $looked are columns that a query may need besides.
var allocated = settled + `,
	-- Where the usage goes (R9, R10, R11), and what is to be reported. Meters are numbers: 1 and 2 for agents, 3 for
	-- IVR, from 4 on the channels, and 0 for what counts for nothing. Who is what R13 counts once.
	looked_up AS (
		SELECT c.day AS day, c.to_ms AS day_ends, c.unknown_tenant AS unknown_tenant, c.payer AS payer, m.number AS mapped, m.premium AS premium,
			e.subscription != '' AND s.number = 0 AS unknown, s.active AS own, s.number AS named, e.name AS name,
			e.type = 'connect.usage' AS is_connect, e.type = 'ivr.session' AS is_ivr, e.type = 'agent.session' AS is_agent,
			e.wins AND NOT e.voided AND NOT c.unknown_tenant AS stands,
			e.wins AS wins, e.voided AS voided, e.conflict AS conflict, e.deliveries AS deliveries, e.class AS class,
			e.channel AS channel, e.quantity AS quantity, e.start_ms AS start_ms, e.end_ms AS end_ms, $looked
		FROM (
			SELECT *, transform(tenant, numbered.1, numbered.2, toUInt32(0)) AS of, ` + hashed("subscription") + ` + of AS naming,
				` + hashed("if(type = 'ivr.session', entry_point, agent)") + ` AS name, name + 2 * of + (type = 'ivr.session') AS mapped
			FROM settled
		) AS e
		ASOF INNER JOIN calendar AS c ON e.of = c.of AND e.occurred_ms >= c.from_ms
		ASOF LEFT JOIN (SELECT *, ` + hashed("subscription") + ` + of AS naming FROM subscriptions) AS s ON e.naming = s.naming AND e.occurred_ms >= s.from_ms
		ASOF LEFT JOIN (SELECT *, ` + hashed("name") + ` + 2 * of + is_ivr AS mapped FROM mappings) AS m ON e.mapped = m.mapped AND e.occurred_ms >= m.from_ms
		WHERE e.occurred_ms < c.to_ms
	),
	allocated AS (
		SELECT *, multiIf(is_connect, payer, own, named, mapped != 0, mapped, payer) AS number, stands AND number != 0 AS counts
		FROM looked_up
	)`

// What is to be reported of an event (R24), as aggregate.notes has it.
const (
	isUnallocated = `stands AND number = 0`
	isUnmapped    = `stands AND is_agent AND NOT own AND mapped = 0 AND payer != 0`
	isOpen        = `stands AND NOT is_connect AND end_ms < 0`
	isUnknown     = `stands AND unknown`
	isConflict    = `wins AND conflict AND NOT unknown_tenant`
)

// endsMS is when a session ceases to be live (R12).
const endsMS = `if(end_ms >= 0, end_ms, greatest(start_ms, least({now:Int64}, start_ms + {open_ms:Int64})))`

// meterNumber is 1 and 2 for agents, 3 for IVR, and the number of the channel from 4 on.
const meterNumber = `multiIf(is_connect, transform(channel, channel_names, channel_meters, toUInt16(0)),
				is_ivr, toUInt16(3),
				class = 'premium' OR class = '' AND premium, toUInt16(2),
				toUInt16(1))`

// daily measures the wanted days: a row for each meter, of the tenant as a whole (an empty subscription) and of each
// subscription. The balance (R22) stands on the rows of the whole; what counts for nothing is on a row without a
// meter.
//
// Grouping by agent and day is where the time goes, and there each state of each group costs: so what is needed of
// an event is packed into one number.
var daily = strings.NewReplacer("$named", "", ", $looked", "").Replace(allocated) + `,
	attributed AS (
		SELECT day, day_ends, quantity, deliveries, number,
			if(NOT counts, toUInt16(0), ` + meterNumber + `) AS meter,
			if(counts AND is_agent, name, toUInt128(if(counts, number, 0))) AS who,
			  1 * (NOT wins AND NOT unknown_tenant)
			+ 2 * (wins AND voided AND NOT unknown_tenant)
			+ 4 * (` + isUnallocated + `)
			+ 8 * unknown_tenant
			+ 16 * (` + isUnmapped + `)
			+ 32 * (` + isOpen + `)
			+ 64 * (` + isUnknown + `)
			+ 128 * (` + isConflict + `) AS notes,
			if(counts AND NOT is_connect, start_ms, 0) AS from_ms,
			if(NOT counts OR is_connect, 0, ` + endsMS + `) AS to_ms
		FROM allocated
	),
	-- Every event on every wanted day that it touches: the one it starts on, and those that a session is live on, cut
	-- at their midnights. No day has fewer than 22 hours. An event is packed into a word and what is beside it, 64 bits
	-- each. The word has 27 bits each for the milliseconds of the day at which it begins and ceases to be live, if it
	-- does, and ten for notes: 512 on the day it starts on, where alone the others are, and 256 if there are any or it
	-- is not one delivery. Beside the word are the subscription and how many deliveries there are; or of Connect usage,
	-- which is never live and has its deliveries in the word, the quantity.
	pieces AS (
		SELECT c.day AS day, a.meter AS meter, a.who AS who,
			if(a.later = 0, a.from_ms, c.from_ms) AS live_from, least(a.to_ms, c.to_ms) AS live_to,
			if(live_from < live_to, bitShiftLeft(live_from - c.from_ms, 37) + bitShiftLeft(live_to - c.from_ms, 10), 0)
				+ if(a.later = 0, 512 + if(a.notes = 0 AND a.deliveries = 1, 0, 256 + a.notes), 0) + if(a.meter > 3, bitShiftLeft(a.deliveries, 10), 0) AS word,
			if(a.meter > 3, reinterpretAsUInt64(a.quantity), bitShiftLeft(a.number, 32) + a.deliveries) AS beside,
			bitShiftLeft(toUInt128(beside), 64) + toUInt64(word) AS parts
		FROM (
			SELECT day, meter, who, number, from_ms, to_ms, notes, quantity, deliveries, later
			FROM attributed
			ARRAY JOIN range(toUInt32(if(to_ms > day_ends, 2 + intDiv(to_ms - 1 - day_ends, 79200000)
				+ throwIf(to_ms - from_ms > {longest:Int64}, 'usage_events holds a session that is longer than any event can have; restore the row'), 1))) AS later
		) AS a
		INNER JOIN calendar AS c ON a.day + a.later = c.day
		WHERE c.wanted AND (a.later = 0 OR live_from < live_to)
	),
	presence AS (
		SELECT day, meter, who, groupArray(parts) AS events,
			arrayMap(e -> toUInt64(e), events) AS words, arrayMap(e -> toUInt64(bitShiftRight(e, 64)), events) AS besides,
			arrayFilter(w -> bitTest(w, 8), words) AS odd,
			if(meter > 3, arrayMap(w -> bitShiftRight(w, 10), odd), arrayMap(b -> bitAnd(b, 4294967295), arrayFilter((b, w) -> bitTest(w, 8), besides, words))) AS copies
		FROM pieces
		GROUP BY day, meter, who
	),
	-- Of the whole (0) and of each subscription: when who begins to be live, as twice the instant, and when they cease
	-- to be, as twice the instant and one. An agent is live from the first of sessions that overlap or touch to the
	-- last; so in edges starts sort before ends, and depth falls to 0 only where the last of them ends (R13).
	picked AS (
		SELECT day, meter, who, scope, besides, if(scope = 0, odd, []) AS odd, if(scope = 0, copies, []) AS copies,
			if(scope = 0 OR meter > 3, words, arrayFilter((w, b) -> bitShiftRight(b, 32) = scope, words, besides)) AS of_scope
		FROM presence
		ARRAY JOIN multiIf(meter = 0, [toUInt64(0)], meter > 3, [toUInt64(0), toUInt64(who)],
			arrayConcat([toUInt64(0)], arrayDistinct(arrayMap(b -> bitShiftRight(b, 32), besides)))) AS scope
	),
	spans AS (
		SELECT day, meter, who, scope, besides, odd, copies, of_scope,
			arrayFilter(w -> meter < 4 AND w > 1023, of_scope) AS lived,
			arrayMap(w -> toUInt32(bitShiftRight(w, 37)), lived) AS froms,
			arrayMap(w -> toUInt32(bitAnd(bitShiftRight(w, 10), 134217727)), lived) AS tos
		FROM picked
	),
	edged AS (
		SELECT *, arraySort(arrayConcat(arrayMap(f -> toUInt32(2 * f), froms), arrayMap(t -> toUInt32(2 * t + 1), tos))) AS edges FROM spans
	),
	scoped AS (
		SELECT day, meter, who, scope, odd, copies,
			arrayMap(e -> bitXor(e, 1), if(meter = 3, edges, arrayFilter((e, n) -> n = 1 - e % 2, edges, arrayCumSum(arrayMap(e -> if(e % 2 = 0, 1, -1), edges))))) AS changes,
			arrayCount(w -> bitTest(w, 9), of_scope) AS starts,
			toInt64(arraySum(tos) - arraySum(froms)) AS milliseconds,
			if(meter > 3, arraySum(arrayMap(b -> toDecimal128(reinterpretAsInt64(b), 6), besides)), toDecimal128(0, 6)) AS micros
		FROM edged
	),
	summed AS (
		SELECT day, meter, scope,
			arraySort(groupArrayArray(s.changes)) AS changes,
			if(meter = 0, 0, sum(s.starts)) AS events,
			sum(s.milliseconds) AS milliseconds,
			sum(micros) / 1000000 AS units,
			uniqExactStateIf(who, meter IN (1, 2) AND s.starts > 0) AS agents,
			if(scope = 0, sum(s.starts) + sum(arraySum(copies) - length(odd)), 0) AS accepted,
			sum(arraySum(arrayMap((c, n) -> if(bitTest(n, 3), 0, c - 1), copies, odd))) AS duplicate,
			sum(arrayCount(n -> bitTest(n, 0), odd)) AS superseded,
			sum(arrayCount(n -> bitTest(n, 1), odd)) AS voided,
			sum(arrayCount(n -> bitTest(n, 2), odd)) AS unallocated,
			sum(arraySum(arrayMap((c, n) -> if(bitTest(n, 3), c, 0), copies, odd))) AS unknown_tenant,
			sum(arrayCount(n -> bitTest(n, 4), odd)) AS unmapped,
			sum(arrayCount(n -> bitTest(n, 5), odd)) AS open_sessions,
			sum(arrayCount(n -> bitTest(n, 6), odd)) AS unknown_subscription,
			sum(arrayCount(n -> bitTest(n, 7), odd)) AS conflicts
		FROM scoped AS s
		GROUP BY day, meter, scope
	),
	-- Ends sort before starts of the same instant, so the running count first reaches its greatest value at the
	-- earliest instant that attains it. A day without anybody live has no changes: both come out as 0.
	counted AS (SELECT *, arrayCumSum(arrayMap(c -> if(c % 2 = 1, 1, -1), changes)) AS concurrency FROM summed),
	measured AS (SELECT *, toUInt64(arrayMax(concurrency)) AS peak, intDiv(changes[indexOf(concurrency, peak)], 2) AS peak_at FROM counted),
	daily AS (
		SELECT c.tenant AS tenant, c.date AS date,
			multiIf(d.meter = 0, '', d.meter = 1, 'agent_standard', d.meter = 2, 'agent_premium', d.meter = 3, 'ivr_port',
				concat('connect.', channel_names[d.meter - 3])) AS meter,
			n.subscription AS subscription, e.quantity AS entitled,
			d.peak AS peak, if(d.peak = 0, 0, c.from_ms + d.peak_at) AS peak_ms, c.from_ms AS begins_ms, d.changes AS changes, d.events AS events, d.milliseconds AS milliseconds, d.units AS units, d.agents AS agents,
			d.accepted AS accepted, d.duplicate AS duplicate, d.superseded AS superseded, d.voided AS voided, d.unallocated AS unallocated,
			d.unknown_tenant AS unknown_tenant, d.unmapped AS unmapped, d.open_sessions AS open_sessions, d.unknown_subscription AS unknown_subscription, d.conflicts AS conflicts
		FROM measured AS d
		INNER JOIN calendar AS c ON d.day = c.day
		LEFT JOIN names AS n ON d.scope = n.number
		ASOF LEFT JOIN entitlements AS e ON c.tenant = e.tenant AND n.subscription = e.subscription AND meter = e.meter AND c.from_ms >= e.from_ms
	)`

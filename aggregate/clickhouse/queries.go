package clickhouse

// The queries read these tables, which every call sends along with them:
//
//	days(tenant, date, from_ms, to_ms)                       what is to be worked out
//	positions(topic, partition, last_offset)                 which deliveries are there, as of the ledger
//	primaries(tenant, from_ms, subscription)                 and the other timelines of the registry, step
//	subscriptions(tenant, subscription, from_ms, active)     functions that ASOF joins look up; each key
//	agents(tenant, agent, from_ms, subscription, premium)    begins before all events
//	entry_points(tenant, entry_point, from_ms, subscription)
//
// and these parameters: lo and hi, between which the start of whatever touches the days lies; arrived_by,
// the last arrival that is looked at; now and open_ms, for R12.

// attributed has one row for each revision and content of every event that may touch the days: how many
// deliveries brought it, whether it wins (R8), and where its usage goes (R9, R10, R11). The event is taken
// whole, wherever its other deliveries lie in time, since a revision may have moved it.
const attributed = `
	deliveries AS (
		SELECT tenant, type, source, id, revision, voided, time_ms, at_ms, start_ms, end_ms, agent, entry_point,
			channel, quantity, subscription, class, content
		FROM usage_events
		INNER JOIN positions ON usage_events.topic = positions.topic AND usage_events.partition = positions.partition
		WHERE offset <= last_offset AND arrived_ms <= {arrived_by:Int64}
			AND (tenant, source, id) IN (
				SELECT tenant, source, id FROM usage_events
				WHERE tenant IN (SELECT tenant FROM days) AND at_ms >= {lo:Int64} AND at_ms < {hi:Int64})
		-- Rows that came twice and are not merged yet (R23).
		LIMIT 1 BY usage_events.topic, usage_events.partition, offset
	),
	contents AS (
		SELECT tenant, source, id, revision, content, count() AS deliveries,
			any(type) AS type, any(voided) AS voided, any(time_ms) AS time_ms, any(at_ms) AS at_ms,
			any(start_ms) AS start_ms, any(end_ms) AS end_ms, any(agent) AS agent, any(entry_point) AS entry_point,
			any(channel) AS channel, any(quantity) AS quantity, any(subscription) AS subscription, any(class) AS class
		FROM deliveries
		GROUP BY tenant, source, id, revision, content
	),
	ranked AS (
		SELECT *,
			row_number() OVER (PARTITION BY tenant, source, id ORDER BY revision DESC, time_ms DESC, content DESC) = 1 AS wins,
			count() OVER (PARTITION BY tenant, source, id, revision) > 1 AS conflict
		FROM contents
	),
	attributed AS (
		SELECT r.tenant AS tenant, r.source AS source, r.id AS id, r.type AS type, r.deliveries AS deliveries,
			r.wins AS wins, r.conflict AS conflict, r.voided AS voided, r.at_ms AS at_ms, r.agent AS agent, r.quantity AS quantity,
			p.tenant = '' AS held,
			r.subscription != '' AND s.tenant = '' AS unknown_subscription,
			multiIf(r.type = 'connect.usage', concat('connect.', r.channel),
				r.type = 'ivr.session', 'ivr_port',
				r.class = 'premium' OR r.class = '' AND a.premium, 'agent_premium',
				'agent_standard') AS meter,
			multiIf(r.type = 'connect.usage', p.subscription,
				s.active, r.subscription,
				r.type = 'ivr.session' AND e.subscription != '', e.subscription,
				r.type = 'agent.session' AND a.subscription != '', a.subscription,
				p.subscription) AS subscription,
			r.type = 'agent.session' AND NOT s.active AND a.subscription = '' AND p.subscription != '' AS unmapped,
			r.type != 'connect.usage' AND r.end_ms < 0 AS open,
			r.start_ms AS from_ms,
			multiIf(r.type = 'connect.usage', r.start_ms,
				r.end_ms >= 0, r.end_ms,
				greatest(r.start_ms, least({now:Int64}, r.start_ms + {open_ms:Int64}))) AS to_ms
		FROM ranked AS r
		ASOF LEFT JOIN primaries AS p ON r.tenant = p.tenant AND r.at_ms >= p.from_ms
		ASOF LEFT JOIN subscriptions AS s ON r.tenant = s.tenant AND r.subscription = s.subscription AND r.at_ms >= s.from_ms
		ASOF LEFT JOIN agents AS a ON r.tenant = a.tenant AND r.agent = a.agent AND r.at_ms >= a.from_ms
		ASOF LEFT JOIN entry_points AS e ON r.tenant = e.tenant AND r.entry_point = e.entry_point AND r.at_ms >= e.from_ms
	)`

// usage measures the days: a row for each meter, for the tenant as a whole (an empty subscription) and for each
// subscription.
const usage = attributed + `,
	-- Every event on every day that it touches: the one it starts on, and those that a session is live on, cut at
	-- their midnights. Who is an agent, or for the other meters the event itself (R13).
	touching AS (
		SELECT c.tenant AS tenant, day.1 AS date, meter, scope, type = 'agent.session' AS is_agent,
			if(is_agent, agent, concat(source, '\0', id)) AS who, quantity,
			at_ms >= day.2 AND at_ms < day.3 AS starts,
			greatest(from_ms, day.2) AS live_from, least(to_ms, day.3) AS live_to
		FROM (SELECT * FROM attributed WHERE wins AND NOT voided AND NOT held AND subscription != '') AS c
		INNER JOIN (SELECT tenant, groupArray((date, from_ms, to_ms)) AS dates FROM days GROUP BY tenant) AS t ON c.tenant = t.tenant
		ARRAY JOIN arrayFilter(day -> at_ms >= day.2 AND at_ms < day.3 OR to_ms > from_ms AND day.2 < to_ms AND day.3 > from_ms, dates) AS day
		ARRAY JOIN ['', c.subscription] AS scope
	),
	-- When each of them begins (+1) and ceases (-1) to be live, however many sessions overlap or touch: starts
	-- sort before ends, so that the running count falls to 0 only where the last of them ends.
	presence AS (
		SELECT tenant, date, meter, scope, is_agent, who, countIf(starts) AS events, sumIf(quantity, starts) AS units,
			groupArrayIf(live_from, live_from < live_to) AS froms, groupArrayIf(live_to, live_from < live_to) AS tos,
			arraySort(arrayConcat(arrayMap(x -> (x, 0), froms), arrayMap(x -> (x, 1), tos))) AS points,
			arrayCumSum(arrayMap(p -> if(p.2 = 0, 1, -1), points)) AS sessions,
			arrayMap(p -> (p.1, if(p.2 = 0, 1, -1)),
				arrayFilter((p, n) -> if(p.2 = 0, n = 1, n = 0), points, sessions)) AS changes
		FROM touching
		GROUP BY tenant, date, meter, scope, is_agent, who
	),
	-- Ends sort before starts of the same instant, so the running count first reaches its greatest value at the
	-- earliest instant that attains it. A day without anybody live has no points: both come out as 0.
	daily AS (
		SELECT tenant, date, meter, scope AS subscription,
			arraySort(groupArrayArray(changes)) AS points,
			arrayCumSum(arrayMap(p -> p.2, points)) AS concurrency,
			toUInt64(arrayMax(concurrency)) AS peak,
			points[indexOf(concurrency, peak)].1 AS peak_ms,
			sum(presence.events) AS events,
			sum(arraySum(tos) - arraySum(froms)) AS milliseconds,
			sum(presence.units) AS units,
			uniqExactStateIf(who, is_agent AND presence.events > 0) AS agents
		FROM presence
		GROUP BY tenant, date, meter, subscription
	)`

// balance says what became of every delivery whose own start lies on one of the days (R22).
const balance = attributed + `,
	balance AS (
		SELECT d.tenant AS tenant, d.date AS date,
			sum(a.deliveries) AS accepted,
			countIf(NOT a.held AND a.wins AND NOT a.voided AND a.subscription != '') AS counted,
			sumIf(a.deliveries - 1, NOT a.held) AS duplicate,
			countIf(NOT a.held AND NOT a.wins) AS superseded,
			countIf(NOT a.held AND a.wins AND a.voided) AS voided,
			countIf(NOT a.held AND a.wins AND NOT a.voided AND a.subscription = '') AS unallocated,
			sumIf(a.deliveries, a.held) AS held,
			countIf(NOT a.held AND a.wins AND NOT a.voided AND a.unmapped) AS unmapped,
			countIf(NOT a.held AND a.wins AND NOT a.voided AND a.open) AS open_sessions,
			countIf(NOT a.held AND a.wins AND NOT a.voided AND a.unknown_subscription) AS unknown_subscription,
			countIf(NOT a.held AND a.wins AND a.conflict) AS conflicts
		FROM attributed AS a
		ASOF INNER JOIN days AS d ON a.tenant = d.tenant AND a.at_ms >= d.from_ms
		WHERE a.at_ms < d.to_ms
		GROUP BY tenant, date
	)`

-- The figures of the wanted days: `daily` has a row for each meter, of the tenant as a whole (an empty subscription)
-- and of each subscription. The balance (R22) is on the rows of the whole; what counts for nothing is on a row without
-- a meter.
--
-- Grouping by agent and day takes most of the time, and there each state of each group costs: so an event on a day is
-- packed into one number of 128 bits, a word and what is beside it:
--
--                  beside                               word
--      +----------------+---------------+-------------+-------------+----------+
--      | subscription   | deliveries    | live from   | live to     | flags    |   sessions, and what counts for nothing
--      +----------------+---------------+-------------+-------------+----------+
--      | quantity, in millionths        |       deliveries          | flags    |   Connect, which is never live
--      +----------------+---------------+-------------+-------------+----------+
--      127            96 95           64 63         37 36         10 9         0
--
-- `live from` and `live to` are milliseconds of the day; both are 0 where the session is not live on it. All flags are
-- set on the day that the event starts on alone.
    (live_from, live_to) -> bitShiftLeft(live_from, 37) + bitShiftLeft(live_to, 10) AS word_of_live,
    deliveries -> bitShiftLeft(deliveries, 10) AS word_of_deliveries,
    (number, deliveries) -> bitShiftLeft(number, 32) + deliveries AS beside_session,
    (word, beside) -> bitShiftLeft(toUInt128(beside), 64) + toUInt64(word) AS pack,
    packed -> toUInt64(packed) AS word_of,
    packed -> toUInt64(bitShiftRight(packed, 64)) AS beside_of,
    word -> word > 1023 AS is_live,
    word -> toUInt32(bitShiftRight(word, 37)) AS live_from_of,
    word -> toUInt32(bitAnd(bitShiftRight(word, 10), 134217727)) AS live_to_of,
    word -> bitShiftRight(word, 10) AS connect_deliveries_of,
    beside -> bitShiftRight(beside, 32) AS subscription_of,
    beside -> bitAnd(beside, 4294967295) AS deliveries_of,
    beside -> toDecimal128(reinterpretAsInt64(beside), 6) AS quantity_of,

    -- `who` is what R13 counts once: an agent, and of the other meters whatever a subscription has.
    metered AS (
        SELECT day, day_ends, quantity, deliveries, number,
            if(NOT counts, toUInt16(NO_METER), meter_number) AS meter,
            if(counts AND is_agent, name, toUInt128(if(counts, number, 0))) AS who,
              SUPERSEDED * (NOT wins AND NOT unknown_tenant)
            + VOIDED * (wins AND voided AND NOT unknown_tenant)
            + UNALLOCATED * is_unallocated
            + UNKNOWN_TENANT * unknown_tenant
            + UNMAPPED * is_unmapped
            + OPEN_SESSION * is_open
            + UNKNOWN_SUBSCRIPTION * is_unknown_subscription
            + CONFLICT * is_conflict AS notes,
            if(counts AND NOT is_connect, start_ms, 0) AS from_ms,
            if(NOT counts OR is_connect, 0, ends_ms) AS to_ms
        FROM attributed
    ),
    -- Every event on every wanted day that it touches: the one it starts on, and those that a session is live on, cut
    -- at their midnights.
    pieces AS (
        SELECT c.day AS day, e.meter AS meter, e.who AS who,
            if(e.later = 0, e.from_ms, c.from_ms) AS live_from, least(e.to_ms, c.to_ms) AS live_to,
            if(live_from < live_to, word_of_live(live_from - c.from_ms, live_to - c.from_ms), 0)
                + if(e.later = 0, STARTS + if(e.notes = 0 AND e.deliveries = 1, 0, NOTED + e.notes), 0)
                + if(e.meter >= CONNECT, word_of_deliveries(e.deliveries), 0) AS word,
            if(e.meter >= CONNECT, reinterpretAsUInt64(e.quantity), beside_session(e.number, e.deliveries)) AS beside,
            pack(word, beside) AS packed
        FROM (
            SELECT day, meter, who, number, from_ms, to_ms, notes, quantity, deliveries, later
            FROM metered
            ARRAY JOIN range(toUInt32(if(to_ms > day_ends,
                2 + intDiv(to_ms - 1 - day_ends, SHORTEST_DAY_MS) + throwIf(to_ms - from_ms > {longest:Int64},
                    'usage_events holds a session that is longer than any event can have; restore the row'),
                1))) AS later
        ) AS e
        INNER JOIN calendar AS c ON e.day + e.later = c.day
        WHERE c.wanted AND (e.later = 0 OR live_from < live_to)
    ),
    -- `noted` are the words that are to be looked at one by one, and `copies` how many deliveries each of them has.
    by_who AS (
        SELECT day, meter, who, groupArray(packed) AS events,
            arrayMap(e -> word_of(e), events) AS words, arrayMap(e -> beside_of(e), events) AS besides,
            arrayFilter(w -> has_flag(w, NOTED), words) AS noted,
            if(meter >= CONNECT, arrayMap(w -> connect_deliveries_of(w), noted),
                arrayMap(b -> deliveries_of(b), arrayFilter((b, w) -> has_flag(w, NOTED), besides, words))) AS copies
        FROM pieces
        GROUP BY day, meter, who
    ),
    -- The same of the whole (scope 0) and of each subscription.
    by_scope AS (
        SELECT day, meter, who, scope, besides, if(scope = 0, noted, []) AS noted, if(scope = 0, copies, []) AS copies,
            if(scope = 0 OR meter >= CONNECT, words,
                arrayFilter((w, b) -> subscription_of(b) = scope, words, besides)) AS of_scope
        FROM by_who
        ARRAY JOIN multiIf(meter = NO_METER, [toUInt64(0)], meter >= CONNECT, [toUInt64(0), toUInt64(who)],
            arrayConcat([toUInt64(0)], arrayDistinct(arrayMap(b -> subscription_of(b), besides)))) AS scope
    ),
    -- When `who` begins to be live, as twice the instant, and ends to be, as twice the instant and one. An agent is
    -- live from the first of sessions that overlap or touch to the last; so in edges starts sort before ends, and the
    -- depth falls to 0 only where the last of them ends (R13).
    spans AS (
        SELECT day, meter, who, scope, besides, noted, copies, of_scope,
            arrayFilter(w -> meter < CONNECT AND is_live(w), of_scope) AS lived,
            arrayMap(w -> live_from_of(w), lived) AS froms,
            arrayMap(w -> live_to_of(w), lived) AS tos
        FROM by_scope
    ),
    with_edges AS (
        SELECT *,
            arraySort(arrayConcat(arrayMap(f -> toUInt32(2 * f), froms), arrayMap(t -> toUInt32(2 * t + 1), tos))) AS edges
        FROM spans
    ),
    -- `changes` are the edges that count, as usage_daily has them: there ends sort before starts.
    with_changes AS (
        SELECT day, meter, who, scope, noted, copies,
            arrayMap(e -> bitXor(e, 1), if(meter = IVR_PORT, edges,
                arrayFilter((e, depth) -> depth = 1 - e % 2, edges,
                    arrayCumSum(arrayMap(e -> if(e % 2 = 0, 1, -1), edges))))) AS changes,
            arrayCount(w -> has_flag(w, STARTS), of_scope) AS starts,
            toInt64(arraySum(tos) - arraySum(froms)) AS milliseconds,
            if(meter >= CONNECT, arraySum(arrayMap(b -> quantity_of(b), besides)), toDecimal128(0, 6)) AS micros
        FROM with_edges
    ),
    summed AS (
        SELECT day, meter, scope,
            arraySort(groupArrayArray(s.changes)) AS changes,
            if(meter = NO_METER, 0, sum(s.starts)) AS events,
            sum(s.milliseconds) AS milliseconds,
            sum(micros) / 1000000 AS units,
            uniqExactStateIf(who, meter IN (AGENT_STANDARD, AGENT_PREMIUM) AND s.starts > 0) AS agents,
            if(scope = 0, sum(s.starts) + sum(arraySum(copies) - length(noted)), 0) AS accepted,
            sum(arraySum(arrayMap((c, n) -> if(has_flag(n, UNKNOWN_TENANT), 0, c - 1), copies, noted))) AS duplicate,
            sum(arrayCount(n -> has_flag(n, SUPERSEDED), noted)) AS superseded,
            sum(arrayCount(n -> has_flag(n, VOIDED), noted)) AS voided,
            sum(arrayCount(n -> has_flag(n, UNALLOCATED), noted)) AS unallocated,
            sum(arraySum(arrayMap((c, n) -> if(has_flag(n, UNKNOWN_TENANT), c, 0), copies, noted))) AS unknown_tenant,
            sum(arrayCount(n -> has_flag(n, UNMAPPED), noted)) AS unmapped,
            sum(arrayCount(n -> has_flag(n, OPEN_SESSION), noted)) AS open_sessions,
            sum(arrayCount(n -> has_flag(n, UNKNOWN_SUBSCRIPTION), noted)) AS unknown_subscription,
            sum(arrayCount(n -> has_flag(n, CONFLICT), noted)) AS conflicts
        FROM with_changes AS s
        GROUP BY day, meter, scope
    ),
    -- Ends sort before starts of the same instant, so the running count first reaches its greatest value at the
    -- earliest instant that attains it. A day without anybody live has no changes: both come out as 0.
    with_concurrency AS (
        SELECT *, arrayCumSum(arrayMap(c -> if(c % 2 = 1, 1, -1), changes)) AS concurrency FROM summed
    ),
    with_peak AS (
        SELECT *, toUInt64(arrayMax(concurrency)) AS peak, intDiv(changes[indexOf(concurrency, peak)], 2) AS peak_at
        FROM with_concurrency
    ),
    daily AS (
        SELECT c.tenant AS tenant, c.date AS date,
            multiIf(d.meter = NO_METER, '', d.meter = AGENT_STANDARD, 'agent_standard',
                d.meter = AGENT_PREMIUM, 'agent_premium',
                d.meter = IVR_PORT, 'ivr_port', concat('connect.', channel_names[d.meter - CONNECT + 1])) AS meter,
            n.subscription AS subscription, e.quantity AS entitled,
            d.peak AS peak, if(d.peak = 0, 0, c.from_ms + d.peak_at) AS peak_ms, c.from_ms AS begins_ms,
            d.changes AS changes,
            d.events AS events, d.milliseconds AS milliseconds, d.units AS units, d.agents AS agents,
            d.accepted AS accepted, d.duplicate AS duplicate, d.superseded AS superseded, d.voided AS voided,
            d.unallocated AS unallocated, d.unknown_tenant AS unknown_tenant, d.unmapped AS unmapped,
            d.open_sessions AS open_sessions, d.unknown_subscription AS unknown_subscription, d.conflicts AS conflicts
        FROM with_peak AS d
        INNER JOIN calendar AS c ON d.day = c.day
        LEFT JOIN names AS n ON d.scope = n.number
        ASOF LEFT JOIN entitlements AS e
            ON c.tenant = e.tenant AND n.subscription = e.subscription AND meter = e.meter AND c.from_ms >= e.from_ms
    )

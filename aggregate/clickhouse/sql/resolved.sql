-- Which delivery of each event wins (R8): `resolved` has one row for each revision and content of every event that may
-- touch the wanted days, with how many deliveries brought it, and whether it wins.
--
-- Nearly every event is on one date in UTC, so reading whole dates finds all of its deliveries; and nearly every one of
-- these has a single delivery, which wins. The few others are in `repeated`: those with more than one row, also where
-- it is one delivery in rows that are not merged yet (R23), and those that are on more than one date, which
-- events_on_several_days has, and which are read wherever they are.
--
-- $in_range stands for which deliveries are read, $reaching for those of sessions that reach into the first day from
-- before, and $known for those that are within the bound (query.go).
    reaching AS (
        SELECT identity FROM usage_events
        WHERE $reaching
    ),
    on_several_days AS (
        SELECT tenant, identity, day FROM events_on_several_days
        WHERE tenant IN (SELECT tenant FROM tenants)
    ),
    (
        SELECT groupArray(identity) FROM (
            SELECT identity FROM (SELECT identity FROM usage_events WHERE $in_range) GROUP BY identity HAVING count() > 1
            UNION ALL
            SELECT identity FROM on_several_days
        )
    ) AS repeated,
    deliveries AS (
        SELECT tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms, agent, entry_point,
            channel, quantity, subscription, class, content, topic, partition, offset
        FROM usage_events
        WHERE $in_range AND identity IN (SELECT arrayJoin(repeated)) AND $known
        UNION ALL
        SELECT tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms, agent, entry_point,
            channel, quantity, subscription, class, content, topic, partition, offset
        FROM usage_events
        WHERE (tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM on_several_days)
            AND identity IN (SELECT identity FROM on_several_days) AND $known
    ),
    contents AS (
        SELECT tenant, source, id, revision, content, count() AS deliveries,
            any(d.type) AS type, any(d.voided) AS voided, any(d.time_ms) AS time_ms, any(d.occurred_ms) AS occurred_ms,
            any(d.start_ms) AS start_ms, any(d.end_ms) AS end_ms, any(d.agent) AS agent,
            toLowCardinality(any(d.entry_point)) AS entry_point, toLowCardinality(any(d.channel)) AS channel,
            any(d.quantity) AS quantity, toLowCardinality(any(d.subscription)) AS subscription, any(d.class) AS class
        FROM (SELECT * FROM deliveries LIMIT 1 BY topic, partition, offset) AS d
        GROUP BY tenant, source, id, revision, content
    ),
    resolved AS (
        SELECT tenant, source, id, type, voided, occurred_ms, start_ms, end_ms, agent, entry_point, channel, quantity,
            subscription, class, toUInt64(1) AS deliveries, true AS wins, false AS conflict
        FROM usage_events
        WHERE $in_range AND identity NOT IN (SELECT arrayJoin(repeated)) AND $known
        UNION ALL
        SELECT tenant, source, id, type, voided, occurred_ms, start_ms, end_ms, agent, entry_point, channel, quantity,
            subscription, class, deliveries,
            row_number() OVER best_first = 1 AS wins,
            leadInFrame(revision, 1, -1) OVER best_first = revision AS conflict
        FROM contents
        -- The id comes first, since it alone distinguishes most events, and quickly.
        WINDOW best_first AS (PARTITION BY id, source, tenant ORDER BY revision DESC, time_ms DESC, content DESC
            ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
    )

-- The deliveries and events of dates, counted from the deliveries as stored: what the figures are compared with (R22).
-- It shares nothing with daily.sql, so that a fault of either shows.
--
-- An identity with one row is one event with one delivery: it is enough to count them. Of the others, which are few,
-- deliveries are counted by topic, partition and offset, since a row that came twice may not be merged yet, and the
-- winner says on which date the event is, wherever its deliveries are.
--
-- What is counted has a number, of which proof.go has the constants: $allRows and so on. `at` is the date of UTC times
-- $day, and of how many instants at which a date begins anywhere lie before on it: with these, there are whole dates of
-- every zone; $at(…) computes it. $of stands for the tenants that are asked for, $known for the deliveries of the pass.
WITH (
    SELECT groupArray(identity) FROM (SELECT identity FROM usage_events WHERE $of GROUP BY identity HAVING count() > 1)
) AS repeated
SELECT toUInt8($allRows) AS what, tenant, $at(occurred_ms) AS at, toInt64(count()) AS n, max($until) AS last
FROM usage_events
WHERE $of AND occurred_ms >= {lo:Int64} AND occurred_ms < {hi:Int64} AND $known
GROUP BY tenant, at
UNION ALL
SELECT toUInt8(entry.1) AS what, tenant, entry.2 AS at,
    toInt64(if(what = $identities, uniqExact(identity), count())) AS n, 0
FROM (
    SELECT tenant, any(e.identity) AS identity,
        argMax(e.occurred_ms, (e.revision, e.time_ms, e.content)) AS won,
        groupArray(e.occurred_ms) AS instants,
        groupUniqArray((e.topic, e.partition, e.offset, e.occurred_ms)) AS delivered,
        arrayDistinct(arrayMap(a -> intDiv(a, 86400000), instants)) AS dates,
        arrayJoin(arrayConcat(
            [($winners, $at(won))],
            arrayMap(a -> ($rows, $at(a)), instants),
            arrayMap(p -> ($records, $at(p.4)), delivered),
            arrayMap(d -> ($identities, toUInt32(d * $day)), dates),
            if(length(dates) > 1 AND arrayExists(d -> d >= {from:Int64} AND d < {to:Int64}, dates),
                arrayMap(d -> ($unnoted, toUInt32(d * $day)), dates), []))) AS entry
    FROM usage_events AS e
    WHERE $of AND e.identity IN (SELECT arrayJoin(repeated)) AND $known
    GROUP BY tenant, source, id
)
WHERE entry.1 != $unnoted OR (tenant, identity, toInt32(intDiv(entry.2, $day))) NOT IN (
    SELECT tenant, identity, day FROM events_on_several_days)
GROUP BY tenant, entry

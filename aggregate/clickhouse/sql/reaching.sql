-- The events of which a delivery has arrived ($arrived) and any, that one or an earlier one, is before the instant of its
-- tenant. $most stands for how many of them are named.
SELECT tenant, toInt64(count()),
    groupArraySorted($most)((source, id)) AS events, arrayMap(e -> e.1, events), arrayMap(e -> e.2, events)
FROM (
    SELECT e.tenant AS tenant, e.source AS source, e.id AS id
    FROM usage_events AS e
    INNER JOIN wanted AS w ON e.tenant = w.tenant
    WHERE e.tenant IN (SELECT tenant FROM wanted) AND $arrived
        AND (e.occurred_ms < w.before_ms OR (e.tenant, e.identity) IN (
            SELECT d.tenant, d.identity
            FROM events_on_several_days AS d
            INNER JOIN wanted AS w ON d.tenant = w.tenant
            WHERE 86400000 * toInt64(d.day) < w.before_ms))
    GROUP BY tenant, source, id)
GROUP BY tenant
ORDER BY tenant

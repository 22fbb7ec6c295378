-- The deliveries that do not win their event (R8), of events that have a new one. $new stands for all deliveries of those
-- events, and $known for those that the pass knows. Among equals the first on its partition wins. Grouping by one number
-- is much the quickest, and leaves little to look at.
INSERT INTO usage_outranked (tenant, topic, partition, offset)
SELECT tenant, topic, partition, offset
FROM (
    SELECT tenant, topic, partition, offset,
        row_number() OVER (PARTITION BY id, source, tenant
            ORDER BY revision DESC, time_ms DESC, content DESC, topic, partition, offset) AS rank
    FROM (
        SELECT tenant, source, id, revision, time_ms, content, topic, partition, offset FROM usage_events
        WHERE $new AND $known AND identity IN (
            SELECT identity FROM usage_events WHERE $new AND $known GROUP BY identity HAVING count() > 1)
        LIMIT 1 BY topic, partition, offset
    )
)
WHERE rank > 1

-- The deliveries that do not win their event (R8), of events that have a new one. $new stands for all deliveries of those
-- events, $known for those that the pass knows, and $several for those of events that have several, where there are so
-- many others that it saves time to leave them out. Among equals the first on its partition wins.
INSERT INTO usage_outranked (tenant, day, topic, partition, offset)
SELECT tenant, toInt32(intDiv(occurred_ms, 86400000)) AS day, topic, partition, offset
FROM (
    SELECT tenant, occurred_ms, topic, partition, offset,
        row_number() OVER (PARTITION BY id, source, tenant
            ORDER BY revision DESC, time_ms DESC, content DESC, topic, partition, offset) AS rank
    FROM (
        SELECT tenant, source, id, revision, time_ms, occurred_ms, content, topic, partition, offset FROM usage_events
        WHERE $new AND $known AND $several
        LIMIT 1 BY topic, partition, offset
    )
)
WHERE rank > 1

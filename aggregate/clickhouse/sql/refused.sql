-- What was refused of the wanted tenants, and what is accepted of the same events. $refused_within and $accepted_within
-- stand for the offsets of either. One that was inserted again, or decided again, is the row that came last.
WITH
    refused AS (
        SELECT tenant, source, id, topic, partition, offset, code, field, payload, headers,
            cityHash64(tenant, source, id) AS identity
        FROM rejected FINAL
        WHERE tenant IN (SELECT tenant FROM wanted) AND source != '' AND id != '' AND $refused_within
    ),
    accepted AS (
        SELECT tenant, source, id, max(e.revision) AS revision, max((e.time_ms, e.revision)) AS latest
        FROM usage_events AS e
        WHERE tenant IN (SELECT tenant FROM wanted) AND identity IN (SELECT identity FROM refused) AND $accepted_within
        GROUP BY tenant, source, id
    )

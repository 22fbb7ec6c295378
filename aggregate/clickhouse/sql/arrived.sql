-- True of every delivery of an event that has one among those that arrived, for which $arrived stands.
(tenant, identity) IN (SELECT tenant, identity FROM usage_events WHERE $arrived)
AND (tenant, intDiv(occurred_ms, 86400000)) IN (
    SELECT tenant, intDiv(occurred_ms, 86400000) FROM usage_events WHERE $arrived
    UNION ALL
    SELECT tenant, day FROM events_on_several_days
    WHERE (tenant, identity) IN (SELECT tenant, identity FROM usage_events WHERE $arrived))

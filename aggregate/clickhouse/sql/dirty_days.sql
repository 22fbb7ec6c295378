-- The dates of UTC that the sessions of some deliveries begin and end on, with how many deliveries there are. $known
-- stands for the deliveries that the pass knows, and $dirty for those of them that are asked for.
SELECT tenant, toInt64(intDiv(occurred_ms, 86400000)) AS first, toInt64(intDiv($until, 86400000)) AS last, toInt64(count())
FROM usage_events
WHERE $known AND ($dirty)
GROUP BY tenant, first, last

-- Which sessions have no end yet? Of an event's deliveries the winner is asked: the highest revision, then the later
-- time, then the greater content (R8).
SELECT tenant, source, id, fromUnixTimestamp64Milli(argMax(start_ms, (revision, time_ms, content)), 'UTC') AS started,
    argMax(agent, (revision, time_ms, content)) AS agent
FROM usage_events
WHERE tenant = 'acme'
GROUP BY tenant, source, id
HAVING argMax((type != 'connect.usage') AND NOT voided AND end_ms < 0, (revision, time_ms, content))
ORDER BY started, id

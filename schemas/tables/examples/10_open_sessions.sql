-- Which sessions have no end yet, and to which department do they go?
SELECT source, id, fromUnixTimestamp64Milli(start_ms, 'UTC') AS started, agent, meter, subscription, department
FROM v_events
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND utc_date >= '2026-09-30' AND utc_date <= '2026-11-01'
    AND type != 'connect.usage' AND end_ms < 0
ORDER BY started, id

-- Which agents had the longest sessions in all, among those that start in October? A revision may have moved a session
-- to another month, so the winner of each event is found before the month is asked.
SELECT won.2 AS agent, count() AS sessions, sum(won.4 - won.3) / 3600000 AS hours
FROM (
    SELECT argMax((type, agent, start_ms, end_ms, voided), (revision, time_ms, content)) AS won
    FROM usage_events
    WHERE tenant = 'acme'
    GROUP BY source, id
)
WHERE won.1 = 'agent.session' AND NOT won.5 AND won.4 >= 0
    AND won.3 >= toUnixTimestamp64Milli(toDateTime64('2026-10-01 00:00:00', 3, 'Europe/Stockholm'))
    AND won.3 < toUnixTimestamp64Milli(toDateTime64('2026-11-01 00:00:00', 3, 'Europe/Stockholm'))
GROUP BY agent
ORDER BY hours DESC, agent
LIMIT 5

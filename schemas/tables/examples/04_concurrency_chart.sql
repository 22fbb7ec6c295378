-- What does concurrency look like over a day? A point a minute, ready for a chart; here ten of them.
SELECT minute, peak, entitled AS pool
FROM v_concurrency
WHERE tenant = 'acme' AND date = '2026-10-14' AND meter = 'agent_standard' AND subscription = ''
    AND minute >= '2026-10-14 06:20:00' AND minute < '2026-10-14 06:30:00'
ORDER BY minute

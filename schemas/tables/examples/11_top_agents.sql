-- Which agents were heaviest in October, with hours by department? A session counts whole, on the date on which it starts; an
-- open one counts no hours yet.
SELECT agent, subscription, any(department) AS department, count() AS sessions, round(sum(milliseconds) / 3600000, 2) AS hours
FROM v_events
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND utc_date >= '2026-09-30' AND utc_date <= '2026-11-01'
    AND type = 'agent.session'
GROUP BY agent, subscription
ORDER BY hours DESC, agent, subscription
LIMIT 5

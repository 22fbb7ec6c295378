-- Which agents worked without being mapped, since when, and who was charged? The last mapping that has ended says who was
-- forgotten at a renewal; an agent without one was never mapped.
SELECT agent, min(date) AS since, max(date) AS latest, count() AS sessions, any(department) AS charged_to, any(mapped_until) AS mapped_until
FROM v_events AS e
LEFT JOIN (SELECT user, max(to_date) AS mapped_until FROM v_licences WHERE tenant = 'acme' GROUP BY user) AS l ON e.agent = l.user
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND utc_date >= '2026-09-30' AND utc_date <= '2026-11-01'
    AND type = 'agent.session' AND unmapped
GROUP BY agent
ORDER BY since, agent

-- How many distinct agents worked in October, by subscription? An agent counts once however many sessions and days;
-- the row without a subscription is the tenant as a whole, where one who worked for two subscriptions counts once too.
SELECT meter, subscription, uniqExactMerge(agents) AS distinct_agents, sum(events) AS sessions
FROM v_usage_daily
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND meter LIKE 'agent_%'
GROUP BY meter, subscription
ORDER BY meter, subscription

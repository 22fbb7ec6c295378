-- How many distinct agents worked in October, by subscription? An agent counts once however many sessions and days;
-- the row without a subscription is the tenant as a whole, where one who worked for two subscriptions counts once too.
SELECT meter, subscription, department, agents, sessions
FROM v_distinct_agents
WHERE tenant = 'acme' AND period = '2026-10'
ORDER BY meter, subscription

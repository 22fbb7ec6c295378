-- How many units of each Connect channel were used, by month and by the subscription that pays for them (R11)?
SELECT period, meter, subscription, department, sum(units) AS units, sum(events) AS events
FROM v_usage_daily
WHERE tenant = 'acme' AND meter LIKE 'connect.%' AND subscription != ''
GROUP BY period, meter, subscription, department
ORDER BY period, meter, subscription

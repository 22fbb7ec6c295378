-- How many units of each Connect channel were used, by month and by the subscription that pays for them (R11)?
SELECT formatDateTime(date, '%Y-%m') AS period, meter, subscription, sum(units) AS units, sum(events) AS events
FROM v_usage_daily
WHERE tenant = 'acme' AND meter LIKE 'connect.%' AND subscription != ''
GROUP BY period, meter, subscription
ORDER BY period, meter, subscription

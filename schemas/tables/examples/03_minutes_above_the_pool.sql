-- For how many minutes was the tenant above its pool, and from when to when?
SELECT date, meter, count() AS minutes, min(minute) AS first, max(minute) AS last, max(peak) AS greatest, any(entitled) AS pool
FROM v_concurrency
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND subscription = '' AND peak > entitled
GROUP BY date, meter
ORDER BY date, meter

-- How did the greatest concurrency of each day compare with the pool?
SELECT date, meter, peak, entitled AS pool, greatest(toInt64(peak) - pool, 0) AS above,
    fromUnixTimestamp64Milli(peak_ms, 'UTC') AS peak_at
FROM v_usage_daily
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND subscription = '' AND peak > 0
ORDER BY date, meter

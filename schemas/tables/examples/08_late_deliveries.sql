-- When did deliveries arrive that were more than a day late, of which month are they, and how late was the latest?
-- FINAL, so that a row which ingest wrote twice is counted once.
SELECT toDate(fromUnixTimestamp64Milli(arrived_ms, 'UTC')) AS arrived, tenant,
    formatDateTime(fromUnixTimestamp64Milli(occurred_ms, 'Europe/Stockholm'), '%Y-%m') AS period,
    count() AS deliveries, max(intDiv(arrived_ms - greatest(occurred_ms, end_ms), 3600000)) AS hours_late
FROM usage_events FINAL
WHERE arrived_ms - greatest(occurred_ms, end_ms) > 86400000
GROUP BY arrived, tenant, period
ORDER BY arrived, tenant, period

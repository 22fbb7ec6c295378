-- When did deliveries arrive that were more than a day late, of which month are they, and how late was the latest? Of each
-- event the delivery that wins is looked at.
SELECT toDate(fromUnixTimestamp64Milli(arrived_ms, 'UTC')) AS arrived, tenant, period, type,
    count() AS events, max(intDiv(arrived_ms - greatest(occurred_ms, end_ms), 3600000)) AS hours_late
FROM v_events
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND utc_date >= '2026-09-30' AND utc_date <= '2026-11-01'
    AND arrived_ms - greatest(occurred_ms, end_ms) > 86400000
GROUP BY arrived, tenant, period, type
ORDER BY arrived, tenant, period, type

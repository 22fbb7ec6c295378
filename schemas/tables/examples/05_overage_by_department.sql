-- Which departments stood behind October's overage, and by how much was each above its own commitment? Overage is the
-- tenant's, not a department's (R15): one contributes to it without being above what it commits to itself.
SELECT meter, fromUnixTimestamp64Milli(peak_ms, 'UTC') AS peak_at, live, pool, excess,
    subscription, department, contributed, committed, contributed - committed AS above_its_own
FROM v_overage_by_department
WHERE tenant = 'acme' AND period = '2026-10'
ORDER BY meter, contributed DESC, subscription

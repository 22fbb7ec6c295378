-- The deliveries of tenants that the registry does not know, by month of UTC (R22), in the columns of usage_daily.
-- $known stands for those that are within the bound.
SELECT m.tenant AS tenant, m.date AS date, any(m.from_ms) AS begins_ms,
    uniqExact(e.topic, e.partition, e.offset) AS accepted, accepted AS unknown_tenant
FROM (
    SELECT toString(tenant) AS tenant, occurred_ms, topic, partition, offset FROM usage_events
    WHERE tenant IN (SELECT tenant FROM months) AND occurred_ms >= {lo:Int64} AND occurred_ms < {hi:Int64} AND $known
) AS e
ASOF INNER JOIN months AS m ON e.tenant = m.tenant AND e.occurred_ms >= m.from_ms
WHERE e.occurred_ms < m.to_ms
GROUP BY m.tenant, m.date

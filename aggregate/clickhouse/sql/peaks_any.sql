-- A row where peaks.sql may find anything: what it looks for among the winners, among all deliveries here.
WITH near AS (
    SELECT tenant, type, voided, agent, end_ms FROM usage_events
    WHERE tenant IN (SELECT tenant FROM tenants) AND occurred_ms >= {lo:Int64} AND occurred_ms < {to:Int64} AND $known
)
SELECT 1 FROM (
    SELECT tenant FROM (SELECT tenant, agent FROM near WHERE type = 'agent.session' GROUP BY tenant, agent)
    GROUP BY tenant, lowerUTF8(replaceRegexpAll(agent, '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', ''))
    HAVING count() > 1
    UNION ALL
    SELECT tenant FROM near WHERE type != 'connect.usage' AND end_ms < 0 AND NOT voided)
LIMIT 1

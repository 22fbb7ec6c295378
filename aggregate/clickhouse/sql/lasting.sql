-- When the sessions end that begin before dates and last into them, in the columns of proof.sql.
SELECT toUInt8($lastingOn), tenant, toUInt32(0), toInt64(0), max($until)
FROM usage_events
WHERE $of AND occurred_ms >= {lo:Int64} - {reach:Int64} AND occurred_ms < {lo:Int64} AND $until > {lo:Int64} AND $known
GROUP BY tenant

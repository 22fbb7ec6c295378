-- The current days and what usage_daily has of them, beside what was written with each, and beside their copy. $of
-- stands for the tenants that are asked for.
WITH
    days AS (
        SELECT tenant, date, max((pass, attempt)) AS newest, argMax((d.row_count, d.checksum), (pass, attempt)) AS told
        FROM usage_days AS d
        WHERE $of AND toInt32(date) >= {from:Int64} AND toInt32(date) < {to:Int64}
        GROUP BY tenant, date
    )
SELECT tenant, toInt64(dateDiff('day', toDate32('1970-01-01'), date)), max(pass) AS pass, max(copied) AS copied,
    max(told.1), max(row_count), max(told) = (max(row_count), max(checksum))
FROM (
    SELECT tenant, date, newest.1 AS pass, toUInt64(0) AS copied, told, toUInt64(0) AS row_count,
        toUInt64(0) AS checksum
    FROM days
    UNION ALL
    SELECT tenant, date, 0, max(c.pass), (0, 0), 0, 0
    FROM usage_days_copy AS c
    WHERE $of AND toInt32(date) >= {from:Int64} AND toInt32(date) < {to:Int64}
    GROUP BY tenant, date
    UNION ALL
    SELECT tenant, date, 0, 0, (0, 0), count(), sum(u.checksum)
    FROM usage_daily AS u
    WHERE $of AND toInt32(date) >= {from:Int64} AND toInt32(date) < {to:Int64}
        AND (tenant, date, pass, attempt) IN (SELECT tenant, date, newest.1, newest.2 FROM days)
    GROUP BY tenant, date)
GROUP BY tenant, date

-- The rows of usage_days that make the days of an attempt current, with what usage_daily has of them by now.
SELECT d.tenant, d.date, {pass:UInt64}, {attempt:UUID}, f.row_count, f.checksum
FROM days AS d
LEFT JOIN (
    SELECT tenant, date, count() AS row_count, sum(u.checksum) AS checksum
    FROM usage_daily AS u
    WHERE (tenant, date) IN (SELECT tenant, date FROM days) AND pass = {pass:UInt64} AND attempt = {attempt:UUID}
    GROUP BY tenant, date
) AS f ON d.tenant = f.tenant AND d.date = f.date

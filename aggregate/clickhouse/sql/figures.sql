-- What `daily` has, by date, and over all dates for the distinct agents of R15.
SELECT tenant, meter, subscription, grouping(date) = 0 AS dated, date, max(peak), max(peak_ms), sum(events),
    sum(milliseconds), sum(units), uniqExactMerge(agents), toInt64(sum(accepted)), toInt64(sum(duplicate)), toInt64(sum(superseded)),
    toInt64(sum(voided)), toInt64(sum(unallocated)), toInt64(sum(unknown_tenant)), toInt64(sum(unmapped)),
    toInt64(sum(open_sessions)), toInt64(sum(unknown_subscription)), toInt64(sum(conflicts))
FROM daily
GROUP BY GROUPING SETS ((tenant, meter, subscription, date), (tenant, meter, subscription))
ORDER BY tenant, date, meter, subscription

-- What `daily` has, by date, with the distinct agents over the dates of its month (R15) on each row. Grouping the rows a second
-- time, by sets, would give the same, and more than half of the time in which a small month is planned goes into it.
SELECT tenant, meter, subscription, date, peak, peak_ms, events, milliseconds, units, finalizeAggregation(agents),
    uniqExactMerge(agents) OVER (PARTITION BY tenant, meter, subscription, toYear(date), toMonth(date)),
    toInt64(accepted), toInt64(duplicate), toInt64(superseded), toInt64(voided), toInt64(unallocated),
    toInt64(unknown_tenant), toInt64(unmapped), toInt64(open_sessions), toInt64(unknown_subscription), toInt64(conflicts)
FROM daily
ORDER BY tenant, date, meter, subscription

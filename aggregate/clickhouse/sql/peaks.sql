-- What is live at the peaks that somebody should look at (R24): agents whose ids differ only in case or outer spaces,
-- and sessions that have no end, of which the first $most are named. peaks(tenant, meter, peak_ms) has the number of
-- the meter.
    live AS (
        SELECT a.tenant AS tenant, p.meter AS meter, p.peak_ms AS peak_ms, a.is_agent AS is_agent, a.agent AS agent,
            a.source AS source, a.id AS id, a.is_open AS open,
            lowerUTF8(replaceRegexpAll(agent, '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', '')) AS person
        FROM (SELECT * FROM attributed WHERE counts AND NOT is_connect) AS a
        INNER JOIN peaks AS p ON a.tenant = p.tenant AND a.meter_number = p.meter
        WHERE a.start_ms <= p.peak_ms AND p.peak_ms < a.ends_ms
    ),
    alike AS (
        SELECT tenant, meter, peak_ms, groupUniqArray(agent) AS agents
        FROM live
        WHERE is_agent
        GROUP BY tenant, meter, peak_ms, person
        HAVING length(agents) > 1
    )
SELECT tenant, meter, peak_ms, arraySort(groupArrayArray(agents)), toInt64(sum(n)),
    arrayMap(e -> e.1, groupArrayArray(events)), arrayMap(e -> e.2, groupArrayArray(events))
FROM (
    SELECT tenant, meter, peak_ms, agents, 0 AS n, []::Array(Tuple(String, String)) AS events
    FROM alike
    UNION ALL
    SELECT tenant, meter, peak_ms, []::Array(String), count(), groupArraySorted($most)((source, id))
    FROM live
    WHERE open
    GROUP BY tenant, meter, peak_ms)
GROUP BY tenant, meter, peak_ms
ORDER BY tenant, meter, peak_ms

SELECT tenant, toInt64(count()), groupArraySorted($most)((source, id)) AS events,
    arrayMap(e -> e.1, events), arrayMap(e -> e.2, events)
FROM (
    SELECT DISTINCT tenant, source, id FROM refused
    WHERE (tenant, source, id) NOT IN (SELECT tenant, source, id FROM accepted))
GROUP BY tenant
ORDER BY tenant

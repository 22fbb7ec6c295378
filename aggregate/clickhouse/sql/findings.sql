-- What is to be said of single events that start on the wanted days (R24). $arrived stands for which events are looked
-- at, and $most for how many of them are named.
SELECT tenant, code, toInt64(count()),
    groupArraySorted($most)((source, id)) AS events, arrayMap(e -> e.1, events), arrayMap(e -> e.2, events)
FROM (
    SELECT tenant, source, id, arrayJoin(arrayFilter(c -> c != '', [
        if(is_unallocated, 'never_billed', ''),
        if(is_usage AND occurred_ms > {now:Int64}, 'ahead', ''),
        if(is_open, 'open_session', ''),
        if(is_unmapped, 'unmapped', ''),
        if(is_unknown_subscription, 'unknown_subscription', ''),
        if(is_conflict, 'conflict', '')])) AS code
    FROM attributed
    WHERE wanted)
WHERE $arrived
GROUP BY tenant, code
ORDER BY tenant, code

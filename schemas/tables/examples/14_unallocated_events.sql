-- Which events belong to no subscription, and so are on no invoice?
SELECT date, type, meter, source, id, agent, topic, partition, offset
FROM v_events
WHERE tenant = 'acme' AND attributed_by = 'unallocated'
ORDER BY date, source, id
LIMIT 100

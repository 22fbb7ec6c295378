SELECT r.tenant, r.source, r.id, a.revision, a.latest.1, a.latest.2, r.topic, r.partition, r.offset, r.code, r.field,
    r.payload, r.headers.name, r.headers.value
FROM refused AS r
INNER JOIN accepted AS a ON r.tenant = a.tenant AND r.source = a.source AND r.id = a.id
ORDER BY r.tenant, r.source, r.id, r.topic, r.partition, r.offset

-- Where the usage goes (R9, R10, R11): `attributed` has the rows of `resolved` with the day and subscription of each,
-- and what is to be reported of it (R24), as aggregate.notes has it.
    (SELECT (groupArray(tenant), groupArray(of)) FROM tenants) AS numbers_of_tenants,
    (
        SELECT arraySort(groupUniqArray(channel)) FROM usage_events
        WHERE tenant IN (SELECT tenant FROM tenants) AND type = 'connect.usage'
    ) AS channels,
    arrayConcat([''], channels) AS channel_names,
    arrayMap(n -> toUInt16(n + CONNECT - 1), arrayEnumerate(channel_names)) AS channel_meters,
    looked_up AS (
        SELECT c.day AS day, c.to_ms AS day_ends, c.wanted AS wanted, c.unknown_tenant AS unknown_tenant,
            c.payer AS payer,
            m.number AS mapped, m.premium AS premium,
            e.subscription != '' AND s.number = 0 AS names_unknown, s.active AS own, s.number AS named, e.name AS name,
            e.type = 'connect.usage' AS is_connect, e.type = 'ivr.session' AS is_ivr,
            e.type = 'agent.session' AS is_agent,
            e.wins AND NOT e.voided AND NOT c.unknown_tenant AS is_usage,
            e.wins AS wins, e.voided AS voided, e.conflict AS conflict, e.deliveries AS deliveries, e.class AS class,
            e.channel AS channel, e.quantity AS quantity, e.start_ms AS start_ms, e.end_ms AS end_ms,
            e.tenant AS tenant, e.source AS source, e.id AS id, e.agent AS agent, e.occurred_ms AS occurred_ms
        FROM (
            SELECT *, transform(tenant, numbers_of_tenants.1, numbers_of_tenants.2, toUInt32(0)) AS of,
                hash_of(subscription) + of AS naming,
                hash_of(if(type = 'ivr.session', entry_point, agent)) AS name,
                name + 2 * of + (type = 'ivr.session') AS mapped
            FROM resolved
        ) AS e
        ASOF INNER JOIN calendar AS c
            ON e.of = c.of AND e.occurred_ms >= c.from_ms
        ASOF LEFT JOIN (SELECT *, hash_of(subscription) + of AS naming FROM subscriptions) AS s
            ON e.naming = s.naming AND e.occurred_ms >= s.from_ms
        ASOF LEFT JOIN (SELECT *, hash_of(name) + 2 * of + is_ivr AS mapped FROM mappings) AS m
            ON e.mapped = m.mapped AND e.occurred_ms >= m.from_ms
        WHERE e.occurred_ms < c.to_ms
    ),
    attributed AS (
        SELECT *,
            multiIf(is_connect, payer, own, named, mapped != 0, mapped, payer) AS number,
            is_usage AND number != 0 AS counts,
            is_usage AND number = 0 AS is_unallocated,
            is_usage AND is_agent AND NOT own AND mapped = 0 AND payer != 0 AS is_unmapped,
            is_usage AND NOT is_connect AND end_ms < 0 AS is_open,
            is_usage AND names_unknown AS is_unknown_subscription,
            wins AND conflict AND NOT unknown_tenant AS is_conflict,
            multiIf(is_connect, transform(channel, channel_names, channel_meters, toUInt16(NO_METER)),
                is_ivr, toUInt16(IVR_PORT),
                class = 'premium' OR class = '' AND premium, toUInt16(AGENT_PREMIUM),
                toUInt16(AGENT_STANDARD)) AS meter_number,
            -- An open session ends at now, or when it has lasted as long as it may (R12).
            if(end_ms >= 0, end_ms, greatest(start_ms, least({now:Int64}, start_ms + {open_ms:Int64}))) AS ends_ms
        FROM looked_up
    )

-- +goose Up

-- What people ask. The views of the registry have a row for each thing that holds from a date to another, and show how
-- the registry stands now.
CREATE OR REPLACE VIEW v_tenants
(
    tenant     LowCardinality(String) COMMENT 'the tenant',
    name       String COMMENT 'of the customer organisation',
    time_zone  LowCardinality(String) COMMENT 'IANA time zone that its dates are in',
    telephony  LowCardinality(String) COMMENT 'telephony option (R6)',
    version    Int64 COMMENT 'offset of the last command that changed it',
    tz_version LowCardinality(String) COMMENT 'edition of the IANA time zone data that its dates are computed with'
)
AS SELECT tenant, name, time_zone, telephony, version, tz_version FROM registry_tenants FINAL
COMMENT 'the tenants of the registry (R1)';

CREATE OR REPLACE VIEW v_subscriptions
(
    tenant        LowCardinality(String) COMMENT 'the tenant',
    subscription  String COMMENT 'the subscription',
    department    String COMMENT 'its name',
    licence_model String COMMENT 'concurrent or named',
    plan          String COMMENT 'flex or flex3',
    deployment    String COMMENT 'cloud or hybrid',
    currency      String COMMENT 'ISO 4217',
    billing       String COMMENT 'monthly or prepaid',
    from_date     Date32 COMMENT 'first date of the term',
    to_date       Date32 COMMENT 'the date after the last of the term, or the one on which the subscription is cancelled'
)
AS SELECT tenant, t.1 AS subscription, t.2 AS department, t.3 AS licence_model, t.4 AS plan, t.5 AS deployment, t.6 AS currency,
    t.7 AS billing, t.8 AS from_date, t.9 AS to_date
FROM registry_tenants FINAL
ARRAY JOIN terms AS t
COMMENT 'subscriptions, a row for each term that they are active in (R2, R3)';

CREATE OR REPLACE VIEW v_departments
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    subscription LowCardinality(String) COMMENT 'the subscription',
    department   LowCardinality(String) COMMENT 'its name'
)
AS SELECT tenant, toLowCardinality(t.1) AS subscription, toLowCardinality(t.2) AS department
FROM registry_tenants FINAL
ARRAY JOIN arrayDistinct(arrayMap(s -> (s.1, s.4), activity)) AS t
COMMENT 'what subscriptions are called, a row for each';

-- Go has decided which subscription is the primary (R4). A change of it is at the midnight that begins a date.
CREATE OR REPLACE VIEW v_primaries
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    subscription String COMMENT 'the subscription that is the primary: what pays overage and Connect (R4)',
    department   String COMMENT 'its name',
    from_date    Date32 COMMENT 'first date on which it is',
    to_date      Nullable(Date32) COMMENT 'the date after the last; null where it goes on'
)
AS SELECT tenant, c.subscription AS subscription, c.department AS department, toDate32(toInt32(least(intDiv(c.from_ms + c.shift_ms, 86400000), 120529))) AS from_date,
    if(next.from_ms = 0, NULL, toDate32(toInt32(least(intDiv(next.from_ms + next.shift_ms, 86400000), 120529)))) AS to_date
FROM (
    SELECT tenant, arrayFilter((c, before) -> c.subscription != before, calendar, arrayPushFront(arrayPopBack(calendar.subscription), '')) AS changes
    FROM registry_tenants FINAL
)
ARRAY JOIN changes AS c, arrayShiftLeft(changes, 1) AS next
WHERE c.subscription != ''
COMMENT 'which subscription is the primary, a row for each stretch of dates (R4); on others there is none';

CREATE OR REPLACE VIEW v_commitments
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    subscription String COMMENT 'the subscription',
    department   String COMMENT 'its name',
    meter        String COMMENT 'the meter, or an add-on',
    quantity     Int64 COMMENT 'what is committed',
    from_date    Date32 COMMENT 'first date of the version',
    to_date      Nullable(Date32) COMMENT 'first date of the version after it; null for the last'
)
AS SELECT tenant, c.1 AS subscription, c.2 AS department, c.3 AS meter, c.4 AS quantity, c.5 AS from_date, c.6 AS to_date
FROM registry_tenants FINAL
ARRAY JOIN commitments AS c
COMMENT 'what subscriptions commit to, a row for each version and meter (R2); whether one is active is in v_subscriptions';

CREATE OR REPLACE VIEW v_prices
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    subscription String COMMENT 'the subscription',
    department   String COMMENT 'its name',
    kind         String COMMENT 'commitment, overage or connect (R18)',
    meter        String COMMENT 'the meter, an add-on, or connect.<channel>',
    price        Decimal(38, 6) COMMENT 'net, of one unit',
    currency     String COMMENT 'ISO 4217',
    from_date    Date32 COMMENT 'first date of the version',
    to_date      Nullable(Date32) COMMENT 'first date of the version after it; null for the last'
)
AS SELECT tenant, p.1 AS subscription, p.2 AS department, p.3 AS kind, p.4 AS meter, p.5 AS price, p.6 AS currency, p.7 AS from_date, p.8 AS to_date
FROM registry_tenants FINAL
ARRAY JOIN prices AS p
COMMENT 'unit prices, a row for each version, kind and meter (R2)';

CREATE OR REPLACE VIEW v_licences
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    user         String COMMENT 'the user; of an agent the agentId of its sessions',
    role         String COMMENT 'admin or agent',
    class        String COMMENT 'standard or premium',
    subscription String COMMENT 'the subscription that the user is mapped to',
    department   String COMMENT 'its name',
    from_date    Date32 COMMENT 'first date of the mapping',
    to_date      Nullable(Date32) COMMENT 'the date after the last; null where it goes on'
)
AS SELECT tenant, l.1 AS user, l.2 AS role, l.3 AS class, l.4 AS subscription, l.5 AS department, l.6 AS from_date, l.7 AS to_date
FROM registry_tenants FINAL
ARRAY JOIN licences AS l
COMMENT 'which users are mapped to which subscriptions (R7)';

CREATE OR REPLACE VIEW v_entry_points
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    entry_point  String COMMENT 'the entryPointId of IVR sessions',
    subscription String COMMENT 'the subscription that it is mapped to',
    department   String COMMENT 'its name',
    from_date    Date32 COMMENT 'first date of the mapping',
    to_date      Nullable(Date32) COMMENT 'the date after the last; null where it goes on'
)
AS SELECT tenant, e.1 AS entry_point, e.2 AS subscription, e.3 AS department, e.4 AS from_date, e.5 AS to_date
FROM registry_tenants FINAL
ARRAY JOIN entry_points AS e
COMMENT 'which entry points are mapped to which subscriptions (R10)';

-- The winner of each event, looked up in what Go has resolved, as attributed.sql does. A delivery wins when the
-- passes know it and nothing outranks it. `mapped` and `naming` are numbers of what is looked up, which is much quicker than
-- by names, and as good as unique; so is `delivery`. Tenant and date are compared besides, since a condition on them then
-- reaches the keys of what is looked up. FINAL would make one row of those that ingest wrote twice, which is seldom, and
-- doubles what is asked of a month whose parts are not merged yet. ASOF keeps it from there, so only the calendar is joined so: it is short for each
-- tenant, and too long to be compared step by step.
CREATE OR REPLACE VIEW v_events
(
    tenant               LowCardinality(String) COMMENT 'the tenant; whoever names it reads no other''s events',
    date                 Date32 COMMENT 'date in the zone of the tenant on which the event is: on which a session starts (R22)',
    period               String COMMENT 'the period, such as 2026-10 (R17)',
    utc_date             Date32 COMMENT 'the date in UTC; name those of the period and one on either side besides, and no other is read',
    type                 Enum8('agent.session' = 1, 'ivr.session' = 2, 'connect.usage' = 3) COMMENT 'type of the event; to name it is cheap, too',
    meter                LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9)',
    subscription         LowCardinality(String) COMMENT 'the subscription that the event is attributed to (R10, R11); empty: none, or the tenant is unknown',
    department           LowCardinality(String) COMMENT 'what it is called',
    attributed_by        Enum8('unallocated' = 0, 'own' = 1, 'mapped' = 2, 'primary' = 3, 'unknown_tenant' = 4)
        COMMENT 'how: it names the subscription, its agent or entry point is mapped to it, or it is the primary (R10)',
    unmapped             Bool COMMENT 'an agent session that went to the primary without a mapping (R10)',
    unknown_subscription Bool COMMENT 'it names a subscription that its tenant lacks (R10)',
    source               LowCardinality(String) COMMENT 'source; with tenant and id the identity of the event (R8)',
    id                   String COMMENT 'id of the event',
    agent                String COMMENT 'agentId of an agent session',
    entry_point          LowCardinality(String) COMMENT 'entryPointId of an IVR session',
    occurred_ms          Int64 COMMENT 'when the usage happened: the start of a session, the time of Connect usage',
    start_ms             Int64 COMMENT 'start of the session; -1 absent',
    end_ms               Int64 COMMENT 'end of the session; -1 while it is open (R12), or absent',
    milliseconds         Int64 COMMENT 'how long the session lasted, on whatever dates; 0 while it is open',
    units                Decimal(18, 6) COMMENT 'units of Connect usage',
    revision             Int32 COMMENT 'of the delivery that wins (R8)',
    arrived_ms           Int64 COMMENT 'Kafka timestamp of it',
    topic                LowCardinality(String) COMMENT 'Kafka topic of it',
    partition            Int32 COMMENT 'Kafka partition of it',
    offset               Int64 COMMENT 'Kafka offset of it'
)
AS WITH (
    SELECT (arrayPushFront(groupArray(cityHash64(topic, partition)), toUInt64(0)), arrayPushFront(groupArray(last_offset), toInt64(-1)))
    FROM (SELECT topic, partition, max(r.last_offset) AS last_offset FROM usage_ranked AS r GROUP BY topic, partition)
) AS ranked
SELECT e.tenant AS tenant,
    toDate32(toInt32(least(intDiv(e.occurred_ms + c.shift_ms + 86400000, 86400000) - 1, 120529))) AS date,
    formatDateTime(date, '%Y-%m') AS period,
    e.utc_date AS utc_date,
    e.type AS type,
    toLowCardinality(multiIf(e.is_connect, concat('connect.', e.channel), e.is_ivr, 'ivr_port',
        e.class = 'premium' OR e.class = '' AND m.premium, 'agent_premium', 'agent_standard')) AS meter,
    multiIf(e.is_connect, c.subscription, s.active, e.named, m.subscription != '', m.subscription, c.subscription) AS subscription,
    multiIf(e.is_connect, c.department, s.active, s.department, m.subscription != '', m.department, c.department) AS department,
    CAST(multiIf(c.from_ms = 0, 4, e.is_connect, if(c.subscription = '', 0, 3), s.active, 1, m.subscription != '', 2, c.subscription = '', 0, 3)
        AS Enum8('unallocated' = 0, 'own' = 1, 'mapped' = 2, 'primary' = 3, 'unknown_tenant' = 4)) AS attributed_by,
    CAST(attributed_by = 'primary' AND e.type = 'agent.session' AS Bool) AS unmapped,
    CAST(attributed_by != 'unknown_tenant' AND e.named != '' AND s.from_ms = 0 AS Bool) AS unknown_subscription,
    e.source AS source, e.id AS id, e.agent AS agent, e.entry_point AS entry_point,
    e.occurred_ms AS occurred_ms, e.start_ms AS start_ms, e.end_ms AS end_ms, if(e.end_ms < 0, 0, e.end_ms - e.start_ms) AS milliseconds,
    e.quantity AS units, e.revision AS revision, e.arrived_ms AS arrived_ms, e.topic AS topic, e.partition AS partition, e.offset AS offset
FROM (
    SELECT *, subscription AS named, type = 'connect.usage' AS is_connect, type = 'ivr.session' AS is_ivr,
        toDate32(toInt32(intDiv(occurred_ms, 86400000))) AS utc_date,
        cityHash64(tenant, is_ivr, if(is_ivr, toString(entry_point), agent)) AS mapped, cityHash64(tenant, named) AS naming,
        cityHash64(topic, partition, offset) AS delivery
    FROM usage_events
    WHERE NOT voided AND offset <= transform(cityHash64(topic, partition), ranked.1, ranked.2, toInt64(-1))
) AS e
LEFT ANTI JOIN (
    SELECT tenant, toDate32(day) AS utc_date, cityHash64(topic, partition, offset) AS delivery FROM usage_outranked
) AS o ON e.tenant = o.tenant AND e.utc_date = o.utc_date AND e.delivery = o.delivery
ASOF LEFT JOIN (
    SELECT tenant, x.1 AS from_ms, x.2 AS shift_ms, toLowCardinality(x.3) AS subscription, toLowCardinality(x.4) AS department
    FROM registry_tenants FINAL
    ARRAY JOIN calendar AS x
) AS c ON e.tenant = c.tenant AND e.occurred_ms >= c.from_ms
LEFT JOIN (
    SELECT tenant, cityHash64(tenant, x.1, x.2) AS mapped, x.3 AS from_ms, if(x.1 = next.1 AND x.2 = next.2, next.3, 9223372036854775807) AS to_ms,
        toLowCardinality(x.4) AS subscription, toLowCardinality(x.5) AS department, x.6 AS premium
    FROM registry_tenants FINAL
    ARRAY JOIN mappings AS x, arrayShiftLeft(mappings, 1) AS next
) AS m ON e.tenant = m.tenant AND e.mapped = m.mapped AND e.occurred_ms >= m.from_ms AND e.occurred_ms < m.to_ms
LEFT JOIN (
    SELECT tenant, cityHash64(tenant, x.1) AS naming, x.2 AS from_ms, if(x.1 = next.1, next.2, 9223372036854775807) AS to_ms, x.3 AS active,
        toLowCardinality(x.4) AS department
    FROM registry_tenants FINAL
    ARRAY JOIN activity AS x, arrayShiftLeft(activity, 1) AS next
) AS s ON e.tenant = s.tenant AND e.naming = s.naming AND e.occurred_ms >= s.from_ms AND e.occurred_ms < s.to_ms
COMMENT 'the delivery that wins each event that is not voided (R8), with what it is attributed to (R9-R11), as the last pass knew the deliveries and the registry stands; a row that ingest wrote twice is two until it is merged: LIMIT 1 BY topic, partition, offset makes it one';

CREATE OR REPLACE VIEW v_usage_daily
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    date         Date32 COMMENT 'a date in the zone of the tenant',
    period       String COMMENT 'the period that it is in, such as 2026-10 (R17)',
    meter        LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9)',
    subscription LowCardinality(String) COMMENT 'the subscription that the usage is attributed to (R10, R11); empty: the tenant as a whole',
    department   LowCardinality(String) COMMENT 'what it is called',
    entitled     Int64 COMMENT 'what the subscription commits to on the date, or all active ones together: the pool (R14)',
    peak         UInt64 COMMENT 'greatest concurrency at any instant of the date (R13)',
    peak_ms      Int64 COMMENT 'the earliest instant that attains it, UTC epoch milliseconds; 0 where the peak is 0',
    events       UInt64 COMMENT 'sessions that start on the date, or Connect events',
    milliseconds Int64 COMMENT 'milliseconds of live sessions that fall on the date (R12)',
    units        Decimal(38, 6) COMMENT 'Connect units of the date',
    agents       UInt64 COMMENT 'the distinct agents with a session that starts on the date (R15); those of several dates are in v_distinct_agents'
)
AS SELECT u.tenant AS tenant, u.date AS date, formatDateTime(u.date, '%Y-%m') AS period, u.meter AS meter, u.subscription AS subscription, n.department AS department,
    u.entitled AS entitled, u.peak AS peak, u.peak_ms AS peak_ms, u.events AS events, u.milliseconds AS milliseconds, u.units AS units, u.agents AS agents
FROM (SELECT *, finalizeAggregation(agents) AS agents FROM usage_current) AS u
LEFT JOIN (SELECT tenant, subscription, department FROM v_departments) AS n ON u.tenant = n.tenant AND u.subscription = n.subscription
WHERE u.meter != ''
COMMENT 'usage by tenant, date, meter and subscription, current figures (R9-R14)';

CREATE OR REPLACE VIEW v_distinct_agents
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    period       String COMMENT 'the period, such as 2026-10 (R17)',
    meter        LowCardinality(String) COMMENT 'agent_standard or agent_premium (R9)',
    subscription LowCardinality(String) COMMENT 'the subscription that the sessions are attributed to (R10); empty: the tenant as a whole',
    department   LowCardinality(String) COMMENT 'what it is called',
    agents       UInt64 COMMENT 'the distinct agents with a session that starts in the period (R15)',
    sessions     UInt64 COMMENT 'their sessions'
)
AS SELECT u.tenant AS tenant, u.period AS period, u.meter AS meter, u.subscription AS subscription, n.department AS department,
    u.distinct_agents AS agents, u.sessions AS sessions
FROM (
    SELECT tenant, formatDateTime(date, '%Y-%m') AS period, meter, subscription, uniqExactMerge(agents) AS distinct_agents, sum(events) AS sessions
    FROM usage_current
    WHERE startsWith(meter, 'agent_')
    GROUP BY tenant, period, meter, subscription
) AS u
LEFT JOIN (SELECT tenant, subscription, department FROM v_departments) AS n ON u.tenant = n.tenant AND u.subscription = n.subscription
COMMENT 'how many distinct agents had a session, by period and subscription (R15)';

-- Concurrency stands still from one change to the next. The greatest of a minute is that of the stretches that touch
-- the minute; one without length, between changes of one instant, is none.
CREATE OR REPLACE VIEW v_concurrency
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    date         Date32 COMMENT 'a date in the zone of the tenant; name it, even where the minutes are named too: it is what makes the query cheap',
    period       String COMMENT 'the period that it is in, such as 2026-10 (R17)',
    meter        LowCardinality(String) COMMENT 'agent_standard, agent_premium or ivr_port (R9)',
    subscription LowCardinality(String) COMMENT 'the subscription that the sessions are attributed to (R10); empty: the tenant as a whole',
    department   LowCardinality(String) COMMENT 'what it is called',
    minute       DateTime64(0, 'UTC') COMMENT 'start of the minute; every one from the first of the date with somebody live to the last, those between with nobody live too',
    peak         UInt64 COMMENT 'greatest concurrency at any instant of the minute (R13)',
    entitled     Int64 COMMENT 'what the subscription commits to on the date, or all active ones together: the pool (R14)'
)
AS SELECT u.tenant AS tenant, u.date AS date, formatDateTime(u.date, '%Y-%m') AS period, u.meter AS meter, u.subscription AS subscription, n.department AS department,
    u.minute AS minute, u.peak AS peak, u.entitled AS entitled
FROM (
SELECT tenant, date, meter, subscription, fromUnixTimestamp64Second(60 * number, 'UTC') AS minute, toUInt64(max(level)) AS peak, entitled
FROM (
    SELECT tenant, date, meter, subscription, entitled, level, begins_ms + intDiv(change, 2) AS from_ms, begins_ms + intDiv(next, 2) AS to_ms
    FROM usage_current
    ARRAY JOIN changes AS change, arrayShiftLeft(changes, 1, changes[-1]) AS next,
        arrayCumSum(arrayMap(c -> if(c % 2 = 1, 1, -1), changes)) AS level
    WHERE from_ms < to_ms
)
ARRAY JOIN range(intDiv(from_ms, 60000), intDiv(to_ms - 1, 60000) + 1) AS number
GROUP BY tenant, date, meter, subscription, entitled, number
) AS u
LEFT JOIN (SELECT tenant, subscription, department FROM v_departments) AS n ON u.tenant = n.tenant AND u.subscription = n.subscription
COMMENT 'concurrency by minute, for charts (R13); outside the minutes that it has for a date nobody is live';

-- What is entitled changes only at midnight (R3), so the greatest excess of a date is at its peak. Whether there is a
-- primary, without which R15 counts nothing, cannot be seen here: a date on which nothing is entitled and no session
-- starts is taken to have none. There only sessions are live that have outlasted the last subscription.
CREATE OR REPLACE VIEW v_overage_by_department
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    period       String COMMENT 'the period, such as 2026-10 (R17)',
    meter        LowCardinality(String) COMMENT 'agent_standard, agent_premium or ivr_port (R9)',
    date         Date32 COMMENT 'date of the peak instant, in the zone of the tenant',
    peak_ms      Int64 COMMENT 'the peak instant: the earliest that attains the greatest excess of the period, UTC epoch milliseconds (R15)',
    live         UInt64 COMMENT 'concurrency of the tenant as a whole at that instant (R13)',
    pool         Int64 COMMENT 'what all active subscriptions commit to together on the date (R14)',
    excess       Int64 COMMENT 'live less pool: the overage of a concurrent tenant, and of ivr_port (R15)',
    subscription LowCardinality(String) COMMENT 'a subscription with usage of the meter on the date',
    department   LowCardinality(String) COMMENT 'what it is called',
    contributed  Int64 COMMENT 'its own concurrency at that instant; an agent who is live for two subscriptions is in both, and in live once',
    committed    Int64 COMMENT 'what it commits to on the date; what is left of the pool is committed by subscriptions without usage, which have no row'
)
AS SELECT whole.tenant AS tenant, whole.period AS period, whole.meter AS meter, top.3 AS date, -top.2 AS peak_ms, top.4 AS live, top.5 AS pool, top.1 AS excess, own.subscription AS subscription, n.department AS department,
    arraySum(c -> if(c > 2 * (peak_ms - own.begins_ms) + 1, 0, if(c % 2 = 1, 1, -1)), own.changes) AS contributed, own.entitled AS committed
FROM (
    SELECT tenant, formatDateTime(date, '%Y-%m') AS period, meter, max((toInt64(peak) - entitled, -peak_ms, date, peak, entitled)) AS top
    FROM usage_current
    WHERE subscription = '' AND peak > entitled AND (entitled > 0 OR events > 0)
    GROUP BY tenant, period, meter
) AS whole
INNER JOIN (SELECT tenant, date, meter, subscription, entitled, begins_ms, changes FROM usage_current WHERE subscription != '') AS own
    ON whole.tenant = own.tenant AND whole.meter = own.meter AND whole.top.3 = own.date
LEFT JOIN (SELECT tenant, subscription, department FROM v_departments) AS n ON whole.tenant = n.tenant AND own.subscription = n.subscription
COMMENT 'what each subscription had live at the peak instant of the period''s greatest excess over the pool (R15); the agent overage of a named tenant counts distinct agents instead: the view does not know licence models';

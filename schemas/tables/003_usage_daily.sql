-- +goose Up

-- A pass of aggregation takes what the ledger covered when it began and what the registry said then, computes
-- the days that either has changed since the pass before, and is recorded here once all of them are current. They are on
-- disk by then: a loss of power takes no day that a pass is thought to have computed.
CREATE TABLE IF NOT EXISTS usage_passes
(
    pass            UInt64 COMMENT 'number of the pass: by the registry that it is based on, then by how much of the ledger, so that one that knows more has the higher',
    attempt         UUID COMMENT 'distinguishes attempts at a pass',
    registry_offset Int64 COMMENT 'the next offset of the registry''s command log when the pass began',
    positions       Array(Tuple(topic String, partition Int32, last_offset Int64)) COMMENT 'the end of the ledger by partition when the pass began',
    rules           String COMMENT 'the configured rules that the figures are based on, as JSON: after a change of them every day is computed again',
    tz_version      LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23); the same holds for a change of it',
    behind          Array(Tuple(tenant String, reason String)) COMMENT 'tenants whose days could not be computed, and why: their figures are older, and each later pass tries again',
    finished_at     DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when its last day became current'
)
ENGINE = ReplacingMergeTree(pass)
ORDER BY toDate(finished_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'the last complete pass of aggregation of each day; one that was cut short has no row, and is repeated';

-- The dates in UTC of the deliveries of each event. An event that a revision has moved has several: those are in
-- events_on_several_days, which is empty as a rule. An event is identified by the number of its identity. Where two share
-- one, more is read, and nothing is mistaken.
CREATE TABLE IF NOT EXISTS event_days
(
    tenant   LowCardinality(String) COMMENT 'the tenant',
    identity UInt64 COMMENT 'that of usage_events' CODEC(NONE),
    day      Int32 COMMENT 'a date in UTC, in days since 1970'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, identity, day)
COMMENT 'the dates in UTC of the deliveries of each event';

-- An insert has succeeded only when its dates are written too; until then it is not in the ledger, and is repeated.
CREATE MATERIALIZED VIEW IF NOT EXISTS event_days_mv TO event_days
AS SELECT tenant, identity, toInt32(intDiv(occurred_ms, 86400000)) AS day FROM usage_events
COMMENT 'fills event_days: every insert into usage_events passes through it';

CREATE TABLE IF NOT EXISTS events_on_several_days
(
    tenant   LowCardinality(String) COMMENT 'the tenant',
    identity UInt64 COMMENT 'that of usage_events' CODEC(NONE),
    day      Int32 COMMENT 'a date in UTC, in days since 1970'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, identity, day)
COMMENT 'the events whose deliveries are on several dates in UTC, with each of the dates';

-- Which deliveries do not win their event (R8). Adding deliveries never lets one win that has lost, so rows are added and
-- none is ever wrong. Each pass adds those that it has come to know, and says in usage_ranked how far that is: whoever
-- leaves out what is behind that, and what is outranked, has each event once.
CREATE TABLE IF NOT EXISTS usage_outranked
(
    tenant    LowCardinality(String) COMMENT 'the tenant',
    day       Int32 COMMENT 'that of the delivery in UTC, in days since 1970',
    topic     LowCardinality(String) COMMENT 'Kafka topic of the delivery, prefix included',
    partition Int32 COMMENT 'Kafka partition of the delivery',
    offset    Int64 COMMENT 'Kafka offset of the delivery' CODEC(Delta, LZ4)
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, day, topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'the deliveries that another of their event wins over, or repeats (R8): v_events leaves them out';

CREATE TABLE IF NOT EXISTS usage_ranked
(
    topic       LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    partition   Int32 COMMENT 'Kafka partition',
    last_offset SimpleAggregateFunction(max, Int64) COMMENT 'the last offset up to which usage_outranked is complete'
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'up to which delivery it is known which win their events (R8)';

-- A day of a tenant is computed as a whole, by one attempt at one pass, into usage_daily, and becomes current with
-- its row in usage_days: a crash before that leaves the old figures, and no reader ever sees a part of a day.
-- The views show what is current.
CREATE TABLE IF NOT EXISTS usage_days
(
    tenant    LowCardinality(String) COMMENT 'the tenant',
    date      Date32 COMMENT 'a date in the zone of the tenant; for a tenant that the registry does not know the first of a month of UTC, for all of it',
    pass      UInt64 COMMENT 'number of the pass that computed it; the highest is current',
    attempt   UUID COMMENT 'the attempt at the pass; of two attempts at one pass the greater is current',
    row_count UInt64 COMMENT 'how many rows of usage_daily the day has',
    checksum  UInt64 COMMENT 'the sum of their checksums: a row that is lost, doubled or altered shows (R22)'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, date, pass, attempt)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'which attempt at which pass is current for a day: the day becomes current, whole, with its row here';

-- A lost row of usage_days would make figures of an earlier pass current again, if there are any, and these are whole,
-- too. So the rows are kept twice, and what is lost from one table shows by the other.
CREATE TABLE IF NOT EXISTS usage_days_copy
(
    tenant   LowCardinality(String) COMMENT 'the tenant',
    date     Date32 COMMENT 'that of usage_days',
    pass     UInt64 COMMENT 'that of usage_days'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, date, pass)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'the days of usage_days once more: what is lost from one of the tables shows by the other (R22)';

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_days_copy_mv TO usage_days_copy
AS SELECT tenant, date, pass FROM usage_days
COMMENT 'fills usage_days_copy: every insert into usage_days passes through it';

CREATE TABLE IF NOT EXISTS usage_daily
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    date         Date32 COMMENT 'a date in the zone of the tenant; for a tenant that the registry does not know the first of a month of UTC, for all of it',
    meter        LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9); empty: deliveries that count for nothing',
    subscription LowCardinality(String) COMMENT 'the subscription that the usage is attributed to (R10, R11); empty: the tenant as a whole',
    entitled     Int64 COMMENT 'what the subscription commits to on the date, or all active ones together (R14)',
    peak         UInt64 COMMENT 'greatest concurrency at any instant of the date (R13)',
    peak_ms      Int64 COMMENT 'the earliest instant that attains it, UTC epoch milliseconds; 0 where the peak is 0',
    begins_ms    Int64 COMMENT 'when the date begins, UTC epoch milliseconds',
    changes      Array(UInt32) COMMENT 'when concurrency changes, in order: twice the milliseconds since the date began, and one more where it rises by one; else it falls by one (v_concurrency)' CODEC(T64, LZ4),
    events       UInt64 COMMENT 'events of the date: sessions that start on it, or Connect usage',
    milliseconds Int64 COMMENT 'milliseconds of live sessions that fall on the date (R12)',
    units        Decimal(38, 6) COMMENT 'Connect units of the date',
    agents       AggregateFunction(uniqExact, UInt128) COMMENT 'the distinct agents with a session that starts on the date (R15), by a hash of 128 bits: uniqExactMerge counts a month',
    accepted     UInt64 COMMENT 'deliveries accepted (R22); this and what follows on rows of the tenant as a whole alone',
    duplicate    UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    superseded   UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    voided       UInt64 COMMENT 'winners that void their event (R8)',
    unallocated  UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    unknown_tenant       UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    unmapped     UInt64 COMMENT 'agent sessions that went to the primary without a mapping (R10)',
    open_sessions        UInt64 COMMENT 'sessions without an end (R12)',
    unknown_subscription UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    conflicts    UInt64 COMMENT 'events whose highest revision has several contents (R8)',
    pass         UInt64 COMMENT 'see usage_days',
    attempt      UUID COMMENT 'see usage_days',
    checksum     UInt64 ALIAS cityHash64(tenant, date, meter, subscription, entitled, peak, peak_ms, begins_ms, changes, events, milliseconds,
        units, finalizeAggregation(agents), accepted, duplicate, superseded, voided, unallocated, unknown_tenant, unmapped, open_sessions,
        unknown_subscription, conflicts) COMMENT 'of the figures of the row, to be summed: see usage_days'
)
ENGINE = MergeTree
PARTITION BY least(toYear(date), 2100)
ORDER BY (tenant, date, meter, subscription, pass, attempt)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'usage by tenant, date, meter and subscription, and what became of the deliveries (R9-R14, R22); it also has the figures of earlier passes, so read the views';

-- Joined, and not looked up with IN, because a condition on tenant and date then reaches the keys of both tables. The
-- days come first, so that whoever reads while a day becomes current sees its figures: they were written before.
CREATE OR REPLACE VIEW usage_current AS
SELECT * EXCEPT (pass, attempt, newest)
FROM (SELECT tenant, date, max((pass, attempt)) AS newest FROM usage_days GROUP BY tenant, date) AS "current days"
INNER JOIN usage_daily USING (tenant, date)
WHERE (pass, attempt) = newest
COMMENT 'usage_daily without superseded figures, and without pass and attempt: the other views are based on it';

CREATE OR REPLACE VIEW v_usage_balance
(
    tenant      LowCardinality(String) COMMENT 'the tenant',
    date        Date32 COMMENT 'the date of the delivery''s own start, in the zone of the tenant; in UTC for a tenant that the registry does not know',
    period      String COMMENT 'the period that it is in, such as 2026-10 (R17)',
    accepted    UInt64 COMMENT 'deliveries accepted',
    counted     UInt64 COMMENT 'winners that are neither voided nor unallocated: the events of v_usage_daily',
    duplicate   UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    superseded  UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    voided      UInt64 COMMENT 'winners that void their event (R8)',
    unallocated UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    unknown_tenant       UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    unmapped    UInt64 COMMENT 'agent sessions that went to the primary without a mapping (R10)',
    open_sessions        UInt64 COMMENT 'sessions without an end (R12)',
    unknown_subscription UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    conflicts   UInt64 COMMENT 'events whose highest revision has several contents (R8)'
)
AS SELECT tenant, date, formatDateTime(date, '%Y-%m') AS period, sum(accepted) AS accepted, sum(events) AS counted, sum(duplicate) AS duplicate, sum(superseded) AS superseded,
    sum(voided) AS voided, sum(unallocated) AS unallocated, sum(unknown_tenant) AS unknown_tenant, sum(unmapped) AS unmapped,
    sum(open_sessions) AS open_sessions, sum(unknown_subscription) AS unknown_subscription, sum(conflicts) AS conflicts
FROM usage_current
WHERE subscription = ''
GROUP BY tenant, date
COMMENT 'what became of the deliveries of each date (R22)';

CREATE OR REPLACE VIEW v_usage_balance_monthly
(
    tenant      LowCardinality(String) COMMENT 'the tenant',
    period      String COMMENT 'the period, such as 2026-10 (R17); a month in UTC for a tenant that the registry does not know',
    accepted    UInt64 COMMENT 'deliveries accepted',
    counted     UInt64 COMMENT 'winners that are neither voided nor unallocated',
    duplicate   UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    superseded  UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    voided      UInt64 COMMENT 'winners that void their event (R8)',
    unallocated UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    unknown_tenant       UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    difference  Int64 COMMENT 'accepted less all of these: other than 0, the period does not balance and is not issued',
    unmapped    UInt64 COMMENT 'agent sessions that went to the primary without a mapping (R10)',
    open_sessions        UInt64 COMMENT 'sessions without an end (R12)',
    unknown_subscription UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    conflicts   UInt64 COMMENT 'events whose highest revision has several contents (R8)'
)
AS SELECT tenant, formatDateTime(date, '%Y-%m') AS period, sum(b.accepted) AS accepted, sum(b.counted) AS counted, sum(b.duplicate) AS duplicate,
    sum(b.superseded) AS superseded, sum(b.voided) AS voided, sum(b.unallocated) AS unallocated, sum(b.unknown_tenant) AS unknown_tenant,
    toInt64(accepted) - toInt64(counted + duplicate + superseded + voided + unallocated + unknown_tenant) AS difference,
    sum(b.unmapped) AS unmapped, sum(b.open_sessions) AS open_sessions, sum(b.unknown_subscription) AS unknown_subscription,
    sum(b.conflicts) AS conflicts
FROM v_usage_balance AS b
GROUP BY tenant, period
COMMENT 'what became of the deliveries of each period, and whether it balances (R22)';

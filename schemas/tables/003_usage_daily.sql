-- +goose Up

-- A pass of aggregation takes what the ledger covered when it began and what the registry said then, works out
-- the days that either has touched since the pass before, and is recorded here once all of them are in force.
CREATE TABLE IF NOT EXISTS usage_passes
(
    pass            UInt64 COMMENT 'number of the pass: the sum of the offsets that it rests on, so that one that knows more has the higher',
    run             UUID COMMENT 'tells apart attempts at a pass',
    registry_offset Int64 COMMENT 'the next offset of the registry''s command log when the pass began',
    positions       Array(Tuple(topic String, partition Int32, last_offset Int64)) COMMENT 'the end of the ledger by partition when the pass began',
    rules           String COMMENT 'the configured rules that the figures rest on: a change of them touches every day',
    finished_at     DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when its last day came into force'
)
ENGINE = MergeTree
ORDER BY (pass, run)
COMMENT 'passes of aggregation that are complete';

-- The dates in UTC on which the deliveries of each event stand. An event that a revision has moved stands on several:
-- those are in usage_moved, which is empty as a rule. An event goes by the hash of its source and id. Where two share
-- one, more is read, and nothing is mistaken.
CREATE TABLE IF NOT EXISTS usage_places
(
    tenant   LowCardinality(String) COMMENT 'the tenant',
    identity UInt64 COMMENT 'cityHash64(tenant, source, id)',
    day      Int32 COMMENT 'a date in UTC, in days since 1970'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, identity, day)
COMMENT 'on which dates in UTC the deliveries of an event stand';

CREATE TABLE IF NOT EXISTS usage_moved
(
    tenant   LowCardinality(String) COMMENT 'the tenant',
    identity UInt64 COMMENT 'cityHash64(tenant, source, id)',
    day      Int32 COMMENT 'a date in UTC, in days since 1970'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, identity, day)
COMMENT 'the events that stand on several dates in UTC, with each of the dates';

-- A day of a tenant is worked out as a whole, by one run of one pass, into usage_daily, and comes into force with
-- its row in usage_days: a crash before that leaves the old figures, and no reader ever sees a part of a day.
-- v_usage_daily and v_usage_balance show what is in force.
CREATE TABLE IF NOT EXISTS usage_days
(
    tenant LowCardinality(String) COMMENT 'the tenant',
    date   Date32 COMMENT 'a date in the zone of the tenant; in UTC for a tenant that the registry does not know',
    pass   UInt64 COMMENT 'number of the pass that worked it out; the highest is in force',
    run    UUID COMMENT 'the attempt at the pass; of two attempts at one pass the greater is in force'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, date, pass, run)
COMMENT 'which run of which pass is in force for a day';

CREATE TABLE IF NOT EXISTS usage_daily
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    date         Date32 COMMENT 'a date in the zone of the tenant; in UTC for a tenant that the registry does not know',
    meter        LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9); empty: deliveries that count for nothing',
    subscription LowCardinality(String) COMMENT 'the subscription that the usage is attributed to (R10, R11); empty: the tenant as a whole',
    entitled     Int64 COMMENT 'what the subscription commits to on the date, or all active ones together (R14)',
    peak         UInt64 COMMENT 'greatest concurrency at any instant of the date (R13)',
    peak_ms      Int64 COMMENT 'the earliest instant that attains it, UTC epoch milliseconds; 0 where the peak is 0',
    changes      Array(Int64) COMMENT 'when concurrency changes, in order: twice the instant, and one more where it rises by one; else it falls by one' CODEC(Delta(8), LZ4),
    events       UInt64 COMMENT 'events of the date: sessions that start on it, or Connect usage',
    milliseconds Int64 COMMENT 'milliseconds of live sessions that fall on the date (R12)',
    units        Decimal(38, 6) COMMENT 'Connect units of the date',
    agents       AggregateFunction(uniqExact, UInt128) COMMENT 'the distinct agents with a session that starts on the date (R15), by a hash of 128 bits: uniqExactMerge counts a month',
    accepted     UInt64 COMMENT 'deliveries accepted (R22); this and what follows on rows of the tenant as a whole alone',
    duplicate    UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    superseded   UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    voided       UInt64 COMMENT 'winners that void their event (R8)',
    unallocated  UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    held         UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    unmapped     UInt64 COMMENT 'agent sessions that went to the primary for want of a mapping (R10)',
    open_sessions        UInt64 COMMENT 'sessions without an end (R12)',
    unknown_subscription UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    conflicts    UInt64 COMMENT 'events whose highest revision has several contents (R8)',
    pass         UInt64 COMMENT 'see usage_days',
    run          UUID COMMENT 'see usage_days'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(date)
ORDER BY (tenant, date, meter, subscription, pass, run)
COMMENT 'usage by tenant, date, meter and subscription, and what became of the deliveries (R9-R13, R22)';

CREATE OR REPLACE VIEW v_usage_figures AS
SELECT * EXCEPT (pass, run) FROM usage_daily
WHERE (tenant, date, pass, run) IN
    (SELECT tenant, date, (max((pass, run)) AS force).1, force.2 FROM usage_days GROUP BY tenant, date);

CREATE OR REPLACE VIEW v_usage_daily AS
SELECT tenant, date, meter, subscription, entitled, peak, peak_ms, events, milliseconds, units, agents
FROM v_usage_figures
WHERE meter != '';

CREATE OR REPLACE VIEW v_usage_balance AS
SELECT tenant, date, sum(accepted) AS accepted, sum(events) AS counted, sum(duplicate) AS duplicate, sum(superseded) AS superseded,
    sum(voided) AS voided, sum(unallocated) AS unallocated, sum(held) AS held, sum(unmapped) AS unmapped,
    sum(open_sessions) AS open_sessions, sum(unknown_subscription) AS unknown_subscription, sum(conflicts) AS conflicts
FROM v_usage_figures
WHERE subscription = ''
GROUP BY tenant, date;

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

-- A day of a tenant is worked out as a whole, by one run of one pass, into usage_daily and usage_balance, and
-- comes into force with its row here: a crash before that leaves the old figures, and no reader ever sees a
-- part of a day. v_usage_daily and v_usage_balance show what is in force.
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
    date         Date32 COMMENT 'a date in the zone of the tenant',
    meter        LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9)',
    subscription LowCardinality(String) COMMENT 'the subscription that the usage is attributed to (R10, R11); empty: the tenant as a whole',
    peak         UInt64 COMMENT 'greatest concurrency at any instant of the date (R13)',
    peak_ms      Int64 COMMENT 'the earliest instant that attains it, UTC epoch milliseconds; 0 where the peak is 0',
    events       UInt64 COMMENT 'events of the date: sessions that start on it, or Connect usage',
    milliseconds Int64 COMMENT 'milliseconds of live sessions that fall on the date (R12)',
    units        Decimal(38, 6) COMMENT 'Connect units of the date',
    agents       AggregateFunction(uniqExact, String) COMMENT 'the distinct agents with a session that starts on the date (R15): uniqExactMerge counts a month',
    pass         UInt64 COMMENT 'see usage_days',
    run          UUID COMMENT 'see usage_days'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(date)
ORDER BY (tenant, date, meter, subscription, pass, run)
COMMENT 'usage by tenant, date, meter and subscription (R9-R13)';

CREATE TABLE IF NOT EXISTS usage_balance
(
    tenant               LowCardinality(String) COMMENT 'the tenant',
    date                 Date32 COMMENT 'the date of the delivery''s own start (R22)',
    accepted             UInt64 COMMENT 'deliveries accepted',
    counted              UInt64 COMMENT 'deliveries that count: winners that are neither voided nor unallocated',
    duplicate            UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    superseded           UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    voided               UInt64 COMMENT 'winners that void their event (R8)',
    unallocated          UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    held                 UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    unmapped             UInt64 COMMENT 'agent sessions that went to the primary for want of a mapping (R10)',
    open_sessions        UInt64 COMMENT 'sessions without an end (R12)',
    unknown_subscription UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    conflicts            UInt64 COMMENT 'events whose highest revision has several contents (R8)',
    pass                 UInt64 COMMENT 'see usage_days',
    run                  UUID COMMENT 'see usage_days'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(date)
ORDER BY (tenant, date, pass, run)
COMMENT 'what became of the deliveries of a tenant and date (R22)';

CREATE OR REPLACE VIEW v_usage_daily AS
SELECT * EXCEPT (pass, run) FROM usage_daily
WHERE (tenant, date, pass, run) IN
    (SELECT tenant, date, (max((pass, run)) AS force).1, force.2 FROM usage_days GROUP BY tenant, date);

CREATE OR REPLACE VIEW v_usage_balance AS
SELECT * EXCEPT (pass, run) FROM usage_balance
WHERE (tenant, date, pass, run) IN
    (SELECT tenant, date, (max((pass, run)) AS force).1, force.2 FROM usage_days GROUP BY tenant, date);

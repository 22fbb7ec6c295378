CREATE TABLE goose_db_version
(
    `version_id` Int64,
    `is_applied` UInt8,
    `date` Date DEFAULT now(),
    `tstamp` DateTime DEFAULT now()
)
ENGINE = MergeTree
ORDER BY (version_id)
SETTINGS index_granularity = 8192;

CREATE TABLE usage_events
(
    `tenant` LowCardinality(String) COMMENT 'tenantid: the customer organisation (R1), known to the registry or not',
    `type` Enum8('agent.session' = 1, 'ivr.session' = 2, 'connect.usage' = 3) COMMENT 'type of the event',
    `source` LowCardinality(String) COMMENT 'source; with tenant and id the identity of the event (R8)',
    `id` String COMMENT 'id of the event',
    `identity` UInt64 MATERIALIZED cityHash64(tenant, source, id) COMMENT 'number of the identity, as good as unique; SELECT * leaves it out' CODEC(NONE),
    `revision` Int32 COMMENT 'of the deliveries of an identity the highest revision wins (R8)',
    `voided` Bool COMMENT 'when this delivery wins, the event counts for nothing (R8)',
    `time_ms` Int64 COMMENT 'time of the event; for Connect, when the usage happened' CODEC(Delta(8), LZ4),
    `occurred_ms` Int64 COMMENT 'when the usage happened, which decides its period: its start; its time for Connect, and for a void without a start (R22)' CODEC(Delta(8), LZ4),
    `start_ms` Int64 COMMENT 'start of the session; -1 absent' CODEC(Delta(8), LZ4),
    `end_ms` Int64 COMMENT 'end of the session; -1 while it is open (R12), or absent' CODEC(Delta(8), LZ4),
    `agent` String COMMENT 'agentId of an agent session',
    `entry_point` LowCardinality(String) COMMENT 'entryPointId of an IVR session',
    `channel` LowCardinality(String) COMMENT 'channel of Connect usage',
    `quantity` Decimal(18, 6) COMMENT 'units of Connect usage; 0 absent',
    `subscription` LowCardinality(String) COMMENT 'subscriptionId that the event names; empty when it names none (R10)',
    `class` Enum8('' = 0, 'standard' = 1, 'premium' = 2) COMMENT 'licenceClass that the session names (R9)',
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the delivery, prefix included',
    `partition` Int32 COMMENT 'Kafka partition of the delivery',
    `offset` Int64 COMMENT 'Kafka offset of the delivery' CODEC(Delta(8), LZ4),
    `arrived_ms` Int64 COMMENT 'Kafka timestamp of the delivery' CODEC(Delta(8), LZ4),
    `content` String ALIAS concat('{', if(agent = '', '', concat('"agentId":"', replaceAll(replaceAll(agent, '\\', '\\\\'), '"', '\\"'), '",')), if(channel = '', '', concat('"channel":"', channel, '",')), if(end_ms < 0, '', concat('"endTime":', leftPad(toString(end_ms), 15, '0'), ',')), if(entry_point = '', '', concat('"entryPointId":"', replaceAll(replaceAll(entry_point, '\\', '\\\\'), '"', '\\"'), '",')), if(class = '', '', concat('"licenceClass":"', toString(class), '",')), if(quantity = 0, '', concat('"quantity":"', toString(quantity), '",')), if(revision = 0, '', concat('"revision":', toString(revision), ',')), if(start_ms < 0, '', concat('"startTime":', leftPad(toString(start_ms), 15, '0'), ',')), if(subscription = '', '', concat('"subscriptionId":"', replaceAll(replaceAll(subscription, '\\', '\\\\'), '"', '\\"'), '",')), '"time":', leftPad(toString(time_ms), 15, '0'), ',"type":"', toString(type), '"', if(voided, ',"voided":true}', '}')) COMMENT 'what R8 compares: sorts, and is equal, as the canonical form does',
    INDEX offsets (topic, partition, offset) TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY if((occurred_ms > (arrived_ms - 34214400000)) AND (occurred_ms < (arrived_ms + 2678400000)), toYYYYMM(fromUnixTimestamp64Milli(least(occurred_ms, 4102444800000), 'UTC')), toYear(fromUnixTimestamp64Milli(least(occurred_ms, 4102444800000), 'UTC')))
ORDER BY (tenant, type, intDiv(occurred_ms, 86400000), agent, topic, partition, offset)
SETTINGS auto_statistics_types = '', index_granularity = 8192
COMMENT 'every accepted delivery, one row each (R8, R22); one that came twice is two rows until they are merged, so read with FINAL';

CREATE TABLE ingest_batches
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    `partition` Int32 COMMENT 'Kafka partition',
    `first_offset` SimpleAggregateFunction(min, Int64) COMMENT 'first offset of the batches',
    `last_offset` SimpleAggregateFunction(max, Int64) COMMENT 'last offset of the batches, itself included',
    `read` SimpleAggregateFunction(sum, UInt64) COMMENT 'records that were there; fewer than the offsets where Kafka skips some',
    `accepted` SimpleAggregateFunction(sum, UInt64) COMMENT 'deliveries that went to usage_events',
    `rejected` SimpleAggregateFunction(sum, UInt64) COMMENT 'deliveries that went to rejected',
    `run_offset` Int64 DEFAULT first_offset COMMENT 'offset where the consumer began that entered this and, without a hole, all until here',
    `run` UUID COMMENT 'that consumer, from when it was given the partition or entered a batch once more after a failure: two may enter the same offsets at one instant, one does not enter them twice',
    `written_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3) COMMENT 'when the last of the batches was done',
    `minute` DateTime('UTC') MATERIALIZED toStartOfMinute(written_at) COMMENT 'the minute of it',
    `covered` SimpleAggregateFunction(sum, UInt64) MATERIALIZED (last_offset - first_offset) + 1 COMMENT 'offsets of all batches together',
    `chain` SimpleAggregateFunction(sum, Int64) MATERIALIZED reinterpretAsInt64(cityHash64(first_offset)) - reinterpretAsInt64(cityHash64(last_offset + 1)) COMMENT 'of batches that follow each other all but the two ends cancel out: a hole or a batch too many shows',
    INDEX ends last_offset TYPE minmax GRANULARITY 1,
    PROJECTION partitions
    (
        SELECT
            topic,
            partition,
            min(first_offset),
            max(last_offset),
            sum(read),
            sum(accepted),
            sum(rejected),
            sum(covered),
            sum(chain)
        GROUP BY
            topic,
            partition
    )
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition, run_offset, run, minute)
SETTINGS deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild', fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'the ledger of what ingest has taken in (R22); a consumer resumes from here';

CREATE VIEW v_ingest_partitions
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    `partition` Int32 COMMENT 'Kafka partition',
    `first_offset` Int64 COMMENT 'first offset that the ledger has',
    `last_offset` Int64 COMMENT 'last offset that the ledger has; a consumer resumes after it',
    `read` UInt64 COMMENT 'records that were there',
    `accepted` UInt64 COMMENT 'deliveries that went to usage_events',
    `rejected` UInt64 COMMENT 'deliveries that went to rejected',
    `covered` UInt64 COMMENT 'offsets of all batches together',
    `unbroken` Bool COMMENT 'the batches cover each offset from the first to the last once; if not, apportion reconcile says whether the partition balances'
)
COMMENT 'the ledger summed up, partition by partition; however large it is, this reads little'
AS SELECT
    topic,
    partition,
    min(b.first_offset) AS first_offset,
    max(b.last_offset) AS last_offset,
    sum(b.read) AS read,
    sum(b.accepted) AS accepted,
    sum(b.rejected) AS rejected,
    sum(b.covered) AS covered,
    sum(b.chain) = (reinterpretAsInt64(cityHash64(min(b.first_offset))) - reinterpretAsInt64(cityHash64(max(b.last_offset) + 1))) AS unbroken
FROM ingest_batches AS b
GROUP BY
    topic,
    partition;

CREATE TABLE rejected
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the refused delivery, prefix included',
    `partition` Int32 COMMENT 'Kafka partition of the refused delivery',
    `offset` Int64 COMMENT 'Kafka offset of the refused delivery',
    `arrived_ms` Int64 COMMENT 'Kafka timestamp of the refused delivery, UTC epoch milliseconds',
    `code` LowCardinality(String) COMMENT 'why it was refused: a code of the event contract',
    `field` LowCardinality(String) COMMENT 'the offending attribute or field, where there is one',
    `value` String COMMENT 'the offending value, shortened',
    `message` String COMMENT 'what is wrong with it, in words',
    `tenant` String COMMENT 'tenantid where it could be read (R22)',
    `source` String COMMENT 'source where it could be read (R22)',
    `id` String COMMENT 'id where it could be read (R22)',
    `key` String COMMENT 'original Kafka key',
    `payload` String COMMENT 'original value, byte for byte' CODEC(ZSTD(3)),
    `headers` Array(Tuple(
        name String,
        value String)) COMMENT 'original headers'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'every refused delivery with its reason (R22), as on the topic usage.rejected.v1; read with FINAL';

CREATE TABLE usage_passes
(
    `pass` UInt64 COMMENT 'number of the pass: by the registry that it is based on, then by how much of the ledger, so that one that knows more has the higher',
    `attempt` UUID COMMENT 'distinguishes attempts at a pass',
    `registry_offset` Int64 COMMENT 'the next offset of the registry\'s command log when the pass began',
    `positions` Array(Tuple(
        topic String,
        partition Int32,
        last_offset Int64)) COMMENT 'the end of the ledger by partition when the pass began',
    `rules` String COMMENT 'the configured rules that the figures are based on, as JSON: after a change of them every day is computed again',
    `tz_version` LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23); the same holds for a change of it',
    `behind` Array(Tuple(
        tenant String,
        reason String)) COMMENT 'tenants whose days could not be computed, and why: their figures are older, and each later pass tries again',
    `finished_at` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when its last day became current'
)
ENGINE = ReplacingMergeTree(pass)
ORDER BY toDate(finished_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'the last complete pass of aggregation of each day; one that was cut short has no row, and is repeated';

CREATE TABLE event_days
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `identity` UInt64 COMMENT 'that of usage_events' CODEC(NONE),
    `day` Int32 COMMENT 'a date in UTC, in days since 1970'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, identity, day)
SETTINGS index_granularity = 8192
COMMENT 'the dates in UTC of the deliveries of each event';

CREATE MATERIALIZED VIEW event_days_mv TO event_days
(
    `tenant` LowCardinality(String),
    `identity` UInt64,
    `day` Int32
)
COMMENT 'fills event_days: every insert into usage_events passes through it'
AS SELECT
    tenant,
    identity,
    toInt32(intDiv(occurred_ms, 86400000)) AS day
FROM usage_events;

CREATE TABLE events_on_several_days
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `identity` UInt64 COMMENT 'that of usage_events' CODEC(NONE),
    `day` Int32 COMMENT 'a date in UTC, in days since 1970'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, identity, day)
SETTINGS index_granularity = 8192
COMMENT 'the events whose deliveries are on several dates in UTC, with each of the dates';

CREATE TABLE usage_outranked
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `day` Int32 COMMENT 'that of the delivery in UTC, in days since 1970',
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the delivery, prefix included',
    `partition` Int32 COMMENT 'Kafka partition of the delivery',
    `offset` Int64 COMMENT 'Kafka offset of the delivery' CODEC(Delta(8), LZ4)
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, day, topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'the deliveries that another of their event wins over, or repeats (R8): v_events leaves them out';

CREATE TABLE usage_ranked
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    `partition` Int32 COMMENT 'Kafka partition',
    `last_offset` SimpleAggregateFunction(max, Int64) COMMENT 'the last offset up to which usage_outranked is complete'
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'up to which delivery it is known which win their events (R8)';

CREATE TABLE usage_days
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `date` Date32 COMMENT 'a date in the zone of the tenant; for a tenant that the registry does not know the first of a month of UTC, for all of it',
    `pass` UInt64 COMMENT 'number of the pass that computed it; the highest is current',
    `attempt` UUID COMMENT 'the attempt at the pass; of two attempts at one pass the greater is current',
    `row_count` UInt64 COMMENT 'how many rows of usage_daily the day has',
    `checksum` UInt64 COMMENT 'the sum of their checksums: a row that is lost, doubled or altered shows (R22)'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, date, pass, attempt)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'which attempt at which pass is current for a day: the day becomes current, whole, with its row here';

CREATE TABLE usage_days_copy
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `date` Date32 COMMENT 'that of usage_days',
    `pass` UInt64 COMMENT 'that of usage_days'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, date, pass)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'the days of usage_days once more: what is lost from one of the tables shows by the other (R22)';

CREATE MATERIALIZED VIEW usage_days_copy_mv TO usage_days_copy
(
    `tenant` LowCardinality(String),
    `date` Date32,
    `pass` UInt64
)
COMMENT 'fills usage_days_copy: every insert into usage_days passes through it'
AS SELECT
    tenant,
    date,
    pass
FROM usage_days;

CREATE TABLE usage_daily
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `date` Date32 COMMENT 'a date in the zone of the tenant; for a tenant that the registry does not know the first of a month of UTC, for all of it',
    `meter` LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9); empty: deliveries that count for nothing',
    `subscription` LowCardinality(String) COMMENT 'the subscription that the usage is attributed to (R10, R11); empty: the tenant as a whole',
    `entitled` Int64 COMMENT 'what the subscription commits to on the date, or all active ones together (R14)',
    `peak` UInt64 COMMENT 'greatest concurrency at any instant of the date (R13)',
    `peak_ms` Int64 COMMENT 'the earliest instant that attains it, UTC epoch milliseconds; 0 where the peak is 0',
    `begins_ms` Int64 COMMENT 'when the date begins, UTC epoch milliseconds',
    `changes` Array(UInt32) COMMENT 'when concurrency changes, in order: twice the milliseconds since the date began, and one more where it rises by one; else it falls by one (v_concurrency)' CODEC(T64, LZ4),
    `events` UInt64 COMMENT 'events of the date: sessions that start on it, or Connect usage',
    `milliseconds` Int64 COMMENT 'milliseconds of live sessions that fall on the date (R12)',
    `units` Decimal(38, 6) COMMENT 'Connect units of the date',
    `agents` AggregateFunction(uniqExact, UInt128) COMMENT 'the distinct agents with a session that starts on the date (R15), by a hash of 128 bits: uniqExactMerge counts a month',
    `accepted` UInt64 COMMENT 'deliveries accepted (R22); this and what follows on rows of the tenant as a whole alone',
    `duplicate` UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    `superseded` UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    `voided` UInt64 COMMENT 'winners that void their event (R8)',
    `unallocated` UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    `unknown_tenant` UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    `unmapped` UInt64 COMMENT 'agent sessions that went to the primary without a mapping (R10)',
    `open_sessions` UInt64 COMMENT 'sessions without an end (R12)',
    `unknown_subscription` UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    `conflicts` UInt64 COMMENT 'events whose highest revision has several contents (R8)',
    `pass` UInt64 COMMENT 'see usage_days',
    `attempt` UUID COMMENT 'see usage_days',
    `checksum` UInt64 ALIAS cityHash64(tenant, date, meter, subscription, entitled, peak, peak_ms, begins_ms, changes, events, milliseconds, units, finalizeAggregation(agents), accepted, duplicate, superseded, voided, unallocated, unknown_tenant, unmapped, open_sessions, unknown_subscription, conflicts) COMMENT 'of the figures of the row, to be summed: see usage_days'
)
ENGINE = MergeTree
PARTITION BY least(toYear(date), 2100)
ORDER BY (tenant, date, meter, subscription, pass, attempt)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'usage by tenant, date, meter and subscription, and what became of the deliveries (R9-R14, R22); it also has the figures of earlier passes, so read the views';

CREATE VIEW usage_current
(
    `tenant` LowCardinality(String),
    `date` Date32,
    `meter` LowCardinality(String),
    `subscription` LowCardinality(String),
    `entitled` Int64,
    `peak` UInt64,
    `peak_ms` Int64,
    `begins_ms` Int64,
    `changes` Array(UInt32),
    `events` UInt64,
    `milliseconds` Int64,
    `units` Decimal(38, 6),
    `agents` AggregateFunction(uniqExact, UInt128),
    `accepted` UInt64,
    `duplicate` UInt64,
    `superseded` UInt64,
    `voided` UInt64,
    `unallocated` UInt64,
    `unknown_tenant` UInt64,
    `unmapped` UInt64,
    `open_sessions` UInt64,
    `unknown_subscription` UInt64,
    `conflicts` UInt64
)
COMMENT 'usage_daily without superseded figures, and without pass and attempt: the other views are based on it'
AS SELECT * EXCEPT (pass, attempt, newest)
FROM
(
    SELECT
        tenant,
        date,
        max((pass, attempt)) AS newest
    FROM usage_days
    GROUP BY
        tenant,
        date
) AS `current days`
INNER JOIN usage_daily USING (tenant, date)
WHERE (pass, attempt) = newest;

CREATE VIEW v_usage_balance
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `date` Date32 COMMENT 'the date of the delivery\'s own start, in the zone of the tenant; in UTC for a tenant that the registry does not know',
    `period` String COMMENT 'the period that it is in, such as 2026-10 (R17)',
    `accepted` UInt64 COMMENT 'deliveries accepted',
    `counted` UInt64 COMMENT 'winners that are neither voided nor unallocated: the events of v_usage_daily',
    `duplicate` UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    `superseded` UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    `voided` UInt64 COMMENT 'winners that void their event (R8)',
    `unallocated` UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    `unknown_tenant` UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    `unmapped` UInt64 COMMENT 'agent sessions that went to the primary without a mapping (R10)',
    `open_sessions` UInt64 COMMENT 'sessions without an end (R12)',
    `unknown_subscription` UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    `conflicts` UInt64 COMMENT 'events whose highest revision has several contents (R8)'
)
COMMENT 'what became of the deliveries of each date (R22)'
AS SELECT
    tenant,
    date,
    formatDateTime(date, '%Y-%m') AS period,
    sum(accepted) AS accepted,
    sum(events) AS counted,
    sum(duplicate) AS duplicate,
    sum(superseded) AS superseded,
    sum(voided) AS voided,
    sum(unallocated) AS unallocated,
    sum(unknown_tenant) AS unknown_tenant,
    sum(unmapped) AS unmapped,
    sum(open_sessions) AS open_sessions,
    sum(unknown_subscription) AS unknown_subscription,
    sum(conflicts) AS conflicts
FROM usage_current
WHERE subscription = ''
GROUP BY
    tenant,
    date;

CREATE VIEW v_usage_balance_monthly
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `period` String COMMENT 'the period, such as 2026-10 (R17); a month in UTC for a tenant that the registry does not know',
    `accepted` UInt64 COMMENT 'deliveries accepted',
    `counted` UInt64 COMMENT 'winners that are neither voided nor unallocated',
    `duplicate` UInt64 COMMENT 'deliveries that repeat a revision and content (R8)',
    `superseded` UInt64 COMMENT 'deliveries that another revision or content of their event wins over (R8)',
    `voided` UInt64 COMMENT 'winners that void their event (R8)',
    `unallocated` UInt64 COMMENT 'winners that belong to no subscription (R10, R11)',
    `unknown_tenant` UInt64 COMMENT 'deliveries of a tenant that the registry does not know (R10)',
    `difference` Int64 COMMENT 'accepted less all of these: other than 0, the period does not balance and is not issued',
    `unmapped` UInt64 COMMENT 'agent sessions that went to the primary without a mapping (R10)',
    `open_sessions` UInt64 COMMENT 'sessions without an end (R12)',
    `unknown_subscription` UInt64 COMMENT 'events naming a subscription that their tenant lacks (R10)',
    `conflicts` UInt64 COMMENT 'events whose highest revision has several contents (R8)'
)
COMMENT 'what became of the deliveries of each period, and whether it balances (R22)'
AS SELECT
    tenant,
    formatDateTime(date, '%Y-%m') AS period,
    sum(b.accepted) AS accepted,
    sum(b.counted) AS counted,
    sum(b.duplicate) AS duplicate,
    sum(b.superseded) AS superseded,
    sum(b.voided) AS voided,
    sum(b.unallocated) AS unallocated,
    sum(b.unknown_tenant) AS unknown_tenant,
    toInt64(accepted) - toInt64(((((counted + duplicate) + superseded) + voided) + unallocated) + unknown_tenant) AS difference,
    sum(b.unmapped) AS unmapped,
    sum(b.open_sessions) AS open_sessions,
    sum(b.unknown_subscription) AS unknown_subscription,
    sum(b.conflicts) AS conflicts
FROM v_usage_balance AS b
GROUP BY
    tenant,
    period;

CREATE TABLE registry_log
(
    `offset` Int64 COMMENT 'Kafka offset of the command on its one partition',
    `arrived_ms` Int64 COMMENT 'Kafka timestamp of the command, UTC epoch milliseconds',
    `tenant` String COMMENT 'the tenant that it changes; empty where that could not be read',
    `source` String COMMENT 'source; with tenant and command_id the identity of the command (R8)',
    `command_id` String COMMENT 'id of the command',
    `command` LowCardinality(String) COMMENT 'what it does, such as put_tenant',
    `given_by` String COMMENT 'who gave it: the type and the id, such as user anna@host; empty where nobody said',
    `accepted` Bool COMMENT 'whether it changed the registry; one that was decided before keeps its first verdict',
    `refusals` Array(Tuple(
        code String,
        field String,
        value String,
        message String)) COMMENT 'why it was refused, with the code of the rule',
    `payload` String COMMENT 'the command as it came, byte for byte' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY offset
SETTINGS index_granularity = 8192
COMMENT 'every registry command with its verdict (R1-R7), for people: the topic decides what is current; read with FINAL';

CREATE VIEW v_seals
(
    `through` String COMMENT 'the last period that is sealed, for all tenants, such as 2026-03 (R25)',
    `from_period` String COMMENT 'the first period that anybody was to issue; empty where it is each tenant\'s own first',
    `reason` String COMMENT 'why, as whoever sealed it said',
    `sealed_by` String COMMENT 'who sealed it: the type and the id, such as user anna@host',
    `sealed_at` DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the command',
    `command_offset` Int64 COMMENT 'offset of the command on registry.commands.v1'
)
COMMENT 'which periods are sealed: what reaches them later is kept and reported, and adjusts nothing (R25)'
AS SELECT
    JSONExtractString(payload, 'data', 'through') AS through,
    JSONExtractString(payload, 'data', 'from') AS from_period,
    JSONExtractString(payload, 'data', 'reason') AS reason,
    given_by AS sealed_by,
    fromUnixTimestamp64Milli(arrived_ms, 'UTC') AS sealed_at,
    offset AS command_offset
FROM registry_log
FINAL
WHERE (command = 'seal_periods') AND accepted;

CREATE VIEW v_removals
(
    `table_name` String COMMENT 'what was removed from: usage_events, or rejected',
    `through` String COMMENT 'of usage_events the last period that had deliveries among them: it and those before cannot be computed again (R25)',
    `parts` Array(String) COMMENT 'of usage_events the partitions removed',
    `topic` String COMMENT 'Kafka topic of the deliveries, prefix included',
    `partition` Int32 COMMENT 'Kafka partition of the deliveries',
    `deliveries` Int64 COMMENT 'how many were removed, which every balance counts from then on (R22)',
    `evidence` String COMMENT 'of usage_events the directory of the files that were written before',
    `removed_at` DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the command',
    `command_offset` Int64 COMMENT 'offset of the command on registry.commands.v1'
)
COMMENT 'which deliveries are no longer stored, and where the evidence of their periods is (R22, R25)'
AS SELECT
    JSONExtractString(removal, 'table') AS table_name,
    JSONExtractString(removal, 'through') AS through,
    JSONExtract(removal, 'parts', 'Array(String)') AS parts,
    c.1 AS topic,
    c.2 AS partition,
    c.3 AS deliveries,
    JSONExtractString(removal, 'evidence', 'directory') AS evidence,
    fromUnixTimestamp64Milli(arrived_ms, 'UTC') AS removed_at,
    offset AS command_offset
FROM
(
    SELECT
        *,
        JSONExtractRaw(payload, 'data', 'removal') AS removal
    FROM registry_log
    FINAL
    WHERE (command = 'remove_deliveries') AND accepted
)
ARRAY JOIN JSONExtract(removal, 'counts', 'Array(Tuple(topic String, partition Int32, count Int64))') AS c;

CREATE TABLE registry_tenants
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `version` Int64 COMMENT 'offset of the last command that changed it; the highest is current',
    `tz_version` LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23)',
    `name` String COMMENT 'of the customer organisation',
    `time_zone` LowCardinality(String) COMMENT 'IANA time zone that its dates are in',
    `telephony` LowCardinality(String) COMMENT 'telephony option (R6)',
    `terms` Array(Tuple(
        subscription String,
        department String,
        licence_model String,
        plan String,
        deployment String,
        currency String,
        billing String,
        from_date Date32,
        to_date Date32)) COMMENT 'see v_subscriptions',
    `commitments` Array(Tuple(
        subscription String,
        department String,
        meter String,
        quantity Int64,
        from_date Date32,
        to_date Nullable(Date32))) COMMENT 'see v_commitments',
    `prices` Array(Tuple(
        subscription String,
        department String,
        kind String,
        meter String,
        price Decimal(38, 6),
        currency String,
        from_date Date32,
        to_date Nullable(Date32))) COMMENT 'see v_prices',
    `licences` Array(Tuple(
        user String,
        role String,
        class String,
        subscription String,
        department String,
        from_date Date32,
        to_date Nullable(Date32))) COMMENT 'see v_licences',
    `entry_points` Array(Tuple(
        entry_point String,
        subscription String,
        department String,
        from_date Date32,
        to_date Nullable(Date32))) COMMENT 'see v_entry_points',
    `calendar` Array(Tuple(
        from_ms Int64,
        shift_ms Int64,
        subscription String,
        department String)) COMMENT 'from each instant on: what to add to an instant so that its date in UTC is that of the tenant, until the year 2100, and the primary (R4)',
    `activity` Array(Tuple(
        subscription String,
        from_ms Int64,
        active Bool,
        department String)) COMMENT 'when each subscription is active, by subscription and instant (R3)',
    `mappings` Array(Tuple(
        is_ivr Bool,
        name String,
        from_ms Int64,
        subscription String,
        department String,
        premium Bool)) COMMENT 'from each instant on, by name and instant: the oldest active subscription that an agent, or an entry point of the IVR, is mapped to (R10), and whether its sessions are premium (R9)'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY tenant
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'each tenant as the registry has it (R1-R7), and what follows for its usage; the views show it by subscription, licence and price; read with FINAL';

CREATE TABLE issued_periods
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `seq` UInt32 COMMENT 'number of the issue in the tenant\'s chain, from 1',
    `period` LowCardinality(String) COMMENT 'the period issued, such as 2026-10 (R17)',
    `issue` UUID COMMENT 'id of the issue, and of the command that claimed it',
    `lines` UInt64 COMMENT 'how many lines it has in invoice_lines',
    `lines_hash` String COMMENT 'SHA-256 of the lines, in hex',
    `hash` String COMMENT 'SHA-256 of the command as it is on the topic, in hex; registry_log has it as payload',
    `previous` String COMMENT 'hash of the tenant\'s issue before; empty for the first',
    `command_offset` Int64 COMMENT 'offset of the command on registry.commands.v1',
    `tenant_version` Int64 COMMENT 'offset of the last command that had changed the tenant when it was billed',
    `issued_by` String COMMENT 'who issued it: the type and the id, such as user anna@host or system host',
    `issued_at` DateTime64(3, 'UTC') COMMENT 'when it was issued',
    `issue_date` Date32 COMMENT 'date on which the grace was over, in the zone of the tenant',
    `registry_offset` Int64 COMMENT 'the offset after the last command that had changed any tenant when it was billed',
    `pass` UInt64 COMMENT 'the pass of aggregation that it is based on',
    `positions` Array(Tuple(
        topic String,
        partition Int32,
        last_offset Int64)) COMMENT 'what that pass had read of the ledger, by partition',
    `rules` LowCardinality(String) COMMENT 'the rules as they were configured, in JSON',
    `tz_version` LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23)',
    `accepted` UInt64 COMMENT 'deliveries of the period accepted; this and the next as in usage_daily (R22)',
    `counted` UInt64 COMMENT 'see usage_daily',
    `duplicate` UInt64 COMMENT 'see usage_daily',
    `superseded` UInt64 COMMENT 'see usage_daily',
    `voided` UInt64 COMMENT 'see usage_daily',
    `unallocated` UInt64 COMMENT 'see usage_daily',
    `unknown_tenant` UInt64 COMMENT 'see usage_daily',
    `unmapped` UInt64 COMMENT 'see usage_daily',
    `open_sessions` UInt64 COMMENT 'see usage_daily',
    `unknown_subscription` UInt64 COMMENT 'see usage_daily',
    `conflicts` UInt64 COMMENT 'see usage_daily',
    `departments` Array(Tuple(
        subscription String,
        department String)) COMMENT 'what each subscription was called when it was billed'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, seq, issue)
SETTINGS index_granularity = 8192
COMMENT 'which periods of which tenants have been issued, and what they are based on (R20); read with FINAL';

CREATE TABLE invoice_lines
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `subscription` LowCardinality(String) COMMENT 'the subscription invoiced',
    `period` LowCardinality(String) COMMENT 'the period invoiced, such as 2026-10',
    `issue` UUID COMMENT 'see issued_periods',
    `invoice` String COMMENT 'id of the invoice',
    `line_no` UInt32 COMMENT 'number of the line on the invoice, from 1',
    `kind` LowCardinality(String) COMMENT 'commitment, usage, connect, overage or adjustment (R18)',
    `meter` LowCardinality(String) COMMENT 'what is charged (R9)',
    `quantity` Decimal(38, 6) COMMENT 'how much of it, in unit; of an adjustment the difference',
    `unit` LowCardinality(String) COMMENT 'seat, port or unit',
    `unit_price` Nullable(Decimal(38, 6)) COMMENT 'price of a unit; null on usage and adjustment',
    `amount` Decimal(38, 4) COMMENT 'in the currency, rounded to its minor units (R19)',
    `currency` LowCardinality(String) COMMENT 'ISO 4217',
    `from_date` Date32 COMMENT 'first date that the line covers; of an adjustment, of the period it corrects',
    `to_date` Date32 COMMENT 'the date after the last that the line covers',
    `days` UInt32 COMMENT 'days that a commitment is charged for (R18); else 0',
    `peak_ms` Int64 COMMENT 'the peak instant, UTC epoch milliseconds (R15, R18); -1 where there is none',
    `entitled` Int64 COMMENT 'the pool behind an overage (R14); else 0',
    `pool` Array(Tuple(
        at_ms Int64,
        live Int64,
        entitled Int64)) COMMENT 'the date of an overage\'s peak: from each instant on the greatest concurrency and the pool (R13, R14)',
    `corrects` String COMMENT 'the line or invoice that an adjustment corrects first (R21)',
    `corrects_kind` LowCardinality(String) COMMENT 'the kind that an adjustment corrects',
    `note` String COMMENT 'the rule and the figures behind the line'
)
ENGINE = MergeTree
ORDER BY (period, tenant, subscription, issue, line_no)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
COMMENT 'invoice lines; those of an issue in issued_periods are issued (R18, R20)';

CREATE VIEW v_issued_periods
(
    `tenant` LowCardinality(String),
    `seq` UInt32,
    `period` LowCardinality(String),
    `issue` UUID,
    `lines` UInt64,
    `lines_hash` String,
    `hash` String,
    `previous` String,
    `command_offset` Int64,
    `tenant_version` Int64,
    `issued_by` String,
    `issued_at` DateTime64(3, 'UTC'),
    `issue_date` Date32,
    `registry_offset` Int64,
    `pass` UInt64,
    `positions` Array(Tuple(
        topic String,
        partition Int32,
        last_offset Int64)),
    `rules` LowCardinality(String),
    `tz_version` LowCardinality(String),
    `accepted` UInt64,
    `counted` UInt64,
    `duplicate` UInt64,
    `superseded` UInt64,
    `voided` UInt64,
    `unallocated` UInt64,
    `unknown_tenant` UInt64,
    `unmapped` UInt64,
    `open_sessions` UInt64,
    `unknown_subscription` UInt64,
    `conflicts` UInt64
)
COMMENT 'issued_periods, each issue once'
AS SELECT * EXCEPT departments
FROM issued_periods
FINAL;

CREATE VIEW v_invoice_lines
(
    `tenant` LowCardinality(String),
    `subscription` LowCardinality(String),
    `period` LowCardinality(String),
    `issue` UUID,
    `invoice` String,
    `line_no` UInt32,
    `kind` LowCardinality(String),
    `meter` LowCardinality(String),
    `quantity` Decimal(38, 6),
    `unit` LowCardinality(String),
    `unit_price` Nullable(Decimal(38, 6)),
    `amount` Decimal(38, 4),
    `currency` LowCardinality(String),
    `from_date` Date32,
    `to_date` Date32,
    `days` UInt32,
    `peak_ms` Int64,
    `entitled` Int64,
    `pool` Array(Tuple(
        at_ms Int64,
        live Int64,
        entitled Int64)),
    `corrects` String,
    `corrects_kind` LowCardinality(String),
    `note` String,
    `department` String
)
COMMENT 'invoice_lines of what is issued: what customers have been sent; department is what the subscription was called then'
AS SELECT
    lines.*,
    (arrayFirst(d -> ((d.1) = lines.subscription), issued.departments)).2 AS department
FROM invoice_lines AS lines
INNER JOIN
(
    SELECT
        tenant,
        issue,
        departments
    FROM issued_periods
    FINAL
) AS issued ON (lines.tenant = issued.tenant) AND (lines.issue = issued.issue);

CREATE TABLE findings
(
    `tenant` LowCardinality(String) COMMENT 'the tenant; empty for what is of all',
    `period` LowCardinality(String) COMMENT 'the period that was looked at, such as 2026-10',
    `pass` UInt64 COMMENT 'the pass of aggregation that was looked at',
    `registry_offset` Int64 COMMENT 'the next offset of the registry\'s command log then',
    `looked_at` DateTime64(3, 'UTC') COMMENT 'when it was looked at',
    `found` Array(Tuple(
        code String,
        rule String,
        count Int64,
        names Array(String),
        advice String)) COMMENT 'what was found; see v_findings',
    `rank` UInt64 COMMENT 'the highest is current, and of equal ones the last: the pass, or the highest there is for what was found at an issue'
)
ENGINE = ReplacingMergeTree(rank)
ORDER BY (tenant, period)
SETTINGS index_granularity = 8192
COMMENT 'what a person should look at (R24), by tenant and period, as somebody last looked; read with FINAL';

CREATE VIEW v_findings
(
    `tenant` LowCardinality(String) COMMENT 'the tenant; empty for what is of all',
    `period` LowCardinality(String) COMMENT 'the period that was looked at, such as 2026-10',
    `code` String COMMENT 'what was found',
    `rule` String COMMENT 'the rule behind it',
    `count` Int64 COMMENT 'of how many events, or names, it is',
    `names` Array(String) COMMENT 'up to ten of them in byte order, events by source and id',
    `advice` String COMMENT 'what to do',
    `looked_at` DateTime64(3, 'UTC') COMMENT 'when it was looked at: what has come since is not in it',
    `pass` UInt64 COMMENT 'the pass of aggregation that was looked at',
    `registry_offset` Int64 COMMENT 'the next offset of the registry\'s command log then'
)
COMMENT 'what a person should look at before a month is signed (R24): of an issued period what was found at the issue, of an open one what was found last'
AS SELECT
    tenant,
    period,
    f.1 AS code,
    f.2 AS rule,
    f.3 AS count,
    f.4 AS names,
    f.5 AS advice,
    looked_at,
    pass,
    registry_offset
FROM findings
FINAL
ARRAY JOIN found AS f;

CREATE VIEW v_tenants
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `name` String COMMENT 'of the customer organisation',
    `time_zone` LowCardinality(String) COMMENT 'IANA time zone that its dates are in',
    `telephony` LowCardinality(String) COMMENT 'telephony option (R6)',
    `version` Int64 COMMENT 'offset of the last command that changed it',
    `tz_version` LowCardinality(String) COMMENT 'edition of the IANA time zone data that its dates are computed with'
)
COMMENT 'the tenants of the registry (R1)'
AS SELECT
    tenant,
    name,
    time_zone,
    telephony,
    version,
    tz_version
FROM registry_tenants
FINAL;

CREATE VIEW v_subscriptions
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `subscription` String COMMENT 'the subscription',
    `department` String COMMENT 'its name',
    `licence_model` String COMMENT 'concurrent or named',
    `plan` String COMMENT 'flex or flex3',
    `deployment` String COMMENT 'cloud or hybrid',
    `currency` String COMMENT 'ISO 4217',
    `billing` String COMMENT 'monthly or prepaid',
    `from_date` Date32 COMMENT 'first date of the term',
    `to_date` Date32 COMMENT 'the date after the last of the term, or the one on which the subscription is cancelled'
)
COMMENT 'subscriptions, a row for each term that they are active in (R2, R3)'
AS SELECT
    tenant,
    t.1 AS subscription,
    t.2 AS department,
    t.3 AS licence_model,
    t.4 AS plan,
    t.5 AS deployment,
    t.6 AS currency,
    t.7 AS billing,
    t.8 AS from_date,
    t.9 AS to_date
FROM registry_tenants
FINAL
ARRAY JOIN terms AS t;

CREATE VIEW v_departments
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `subscription` LowCardinality(String) COMMENT 'the subscription',
    `department` LowCardinality(String) COMMENT 'its name'
)
COMMENT 'what subscriptions are called, a row for each'
AS SELECT
    tenant,
    toLowCardinality(t.1) AS subscription,
    toLowCardinality(t.2) AS department
FROM registry_tenants
FINAL
ARRAY JOIN arrayDistinct(arrayMap(s -> (s.1, s.4), activity)) AS t;

CREATE VIEW v_primaries
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `subscription` String COMMENT 'the subscription that is the primary: what pays overage and Connect (R4)',
    `department` String COMMENT 'its name',
    `from_date` Date32 COMMENT 'first date on which it is',
    `to_date` Nullable(Date32) COMMENT 'the date after the last; null where it goes on'
)
COMMENT 'which subscription is the primary, a row for each stretch of dates (R4); on others there is none'
AS SELECT
    tenant,
    c.subscription AS subscription,
    c.department AS department,
    toDate32(toInt32(least(intDiv(c.from_ms + c.shift_ms, 86400000), 120529))) AS from_date,
    if(next.from_ms = 0, NULL, toDate32(toInt32(least(intDiv(next.from_ms + next.shift_ms, 86400000), 120529)))) AS to_date
FROM
(
    SELECT
        tenant,
        arrayFilter((c, before) -> (c.subscription != before), calendar, arrayPushFront(arrayPopBack(calendar.subscription), '')) AS changes
    FROM registry_tenants
    FINAL
)
ARRAY JOIN
    changes AS c,
    arrayShiftLeft(changes, 1) AS next
WHERE c.subscription != '';

CREATE VIEW v_commitments
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `subscription` String COMMENT 'the subscription',
    `department` String COMMENT 'its name',
    `meter` String COMMENT 'the meter, or an add-on',
    `quantity` Int64 COMMENT 'what is committed',
    `from_date` Date32 COMMENT 'first date of the version',
    `to_date` Nullable(Date32) COMMENT 'first date of the version after it; null for the last'
)
COMMENT 'what subscriptions commit to, a row for each version and meter (R2); whether one is active is in v_subscriptions'
AS SELECT
    tenant,
    c.1 AS subscription,
    c.2 AS department,
    c.3 AS meter,
    c.4 AS quantity,
    c.5 AS from_date,
    c.6 AS to_date
FROM registry_tenants
FINAL
ARRAY JOIN commitments AS c;

CREATE VIEW v_prices
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `subscription` String COMMENT 'the subscription',
    `department` String COMMENT 'its name',
    `kind` String COMMENT 'commitment, overage or connect (R18)',
    `meter` String COMMENT 'the meter, an add-on, or connect.<channel>',
    `price` Decimal(38, 6) COMMENT 'net, of one unit',
    `currency` String COMMENT 'ISO 4217',
    `from_date` Date32 COMMENT 'first date of the version',
    `to_date` Nullable(Date32) COMMENT 'first date of the version after it; null for the last'
)
COMMENT 'unit prices, a row for each version, kind and meter (R2)'
AS SELECT
    tenant,
    p.1 AS subscription,
    p.2 AS department,
    p.3 AS kind,
    p.4 AS meter,
    p.5 AS price,
    p.6 AS currency,
    p.7 AS from_date,
    p.8 AS to_date
FROM registry_tenants
FINAL
ARRAY JOIN prices AS p;

CREATE VIEW v_licences
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `user` String COMMENT 'the user; of an agent the agentId of its sessions',
    `role` String COMMENT 'admin or agent',
    `class` String COMMENT 'standard or premium',
    `subscription` String COMMENT 'the subscription that the user is mapped to',
    `department` String COMMENT 'its name',
    `from_date` Date32 COMMENT 'first date of the mapping',
    `to_date` Nullable(Date32) COMMENT 'the date after the last; null where it goes on'
)
COMMENT 'which users are mapped to which subscriptions (R7)'
AS SELECT
    tenant,
    l.1 AS user,
    l.2 AS role,
    l.3 AS class,
    l.4 AS subscription,
    l.5 AS department,
    l.6 AS from_date,
    l.7 AS to_date
FROM registry_tenants
FINAL
ARRAY JOIN licences AS l;

CREATE VIEW v_entry_points
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `entry_point` String COMMENT 'the entryPointId of IVR sessions',
    `subscription` String COMMENT 'the subscription that it is mapped to',
    `department` String COMMENT 'its name',
    `from_date` Date32 COMMENT 'first date of the mapping',
    `to_date` Nullable(Date32) COMMENT 'the date after the last; null where it goes on'
)
COMMENT 'which entry points are mapped to which subscriptions (R10)'
AS SELECT
    tenant,
    e.1 AS entry_point,
    e.2 AS subscription,
    e.3 AS department,
    e.4 AS from_date,
    e.5 AS to_date
FROM registry_tenants
FINAL
ARRAY JOIN entry_points AS e;

CREATE VIEW v_events
(
    `tenant` LowCardinality(String) COMMENT 'the tenant; whoever names it reads no other\'s events',
    `date` Date32 COMMENT 'date in the zone of the tenant on which the event is: on which a session starts (R22)',
    `period` String COMMENT 'the period, such as 2026-10 (R17)',
    `utc_date` Date32 COMMENT 'the date in UTC; name those of the period and one on either side besides, and no other is read',
    `type` Enum8('agent.session' = 1, 'ivr.session' = 2, 'connect.usage' = 3) COMMENT 'type of the event; to name it is cheap, too',
    `meter` LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9)',
    `subscription` LowCardinality(String) COMMENT 'the subscription that the event is attributed to (R10, R11); empty: none, or the tenant is unknown',
    `department` LowCardinality(String) COMMENT 'what it is called',
    `attributed_by` Enum8('unallocated' = 0, 'own' = 1, 'mapped' = 2, 'primary' = 3, 'unknown_tenant' = 4) COMMENT 'how: it names the subscription, its agent or entry point is mapped to it, or it is the primary (R10)',
    `unmapped` Bool COMMENT 'an agent session that went to the primary without a mapping (R10)',
    `unknown_subscription` Bool COMMENT 'it names a subscription that its tenant lacks (R10)',
    `source` LowCardinality(String) COMMENT 'source; with tenant and id the identity of the event (R8)',
    `id` String COMMENT 'id of the event',
    `agent` String COMMENT 'agentId of an agent session',
    `entry_point` LowCardinality(String) COMMENT 'entryPointId of an IVR session',
    `occurred_ms` Int64 COMMENT 'when the usage happened: the start of a session, the time of Connect usage',
    `start_ms` Int64 COMMENT 'start of the session; -1 absent',
    `end_ms` Int64 COMMENT 'end of the session; -1 while it is open (R12), or absent',
    `milliseconds` Int64 COMMENT 'how long the session lasted, on whatever dates; 0 while it is open',
    `units` Decimal(18, 6) COMMENT 'units of Connect usage',
    `revision` Int32 COMMENT 'of the delivery that wins (R8)',
    `arrived_ms` Int64 COMMENT 'Kafka timestamp of it',
    `topic` LowCardinality(String) COMMENT 'Kafka topic of it',
    `partition` Int32 COMMENT 'Kafka partition of it',
    `offset` Int64 COMMENT 'Kafka offset of it'
)
COMMENT 'the delivery that wins each event that is not voided (R8), with what it is attributed to (R9-R11), as the last pass knew the deliveries and the registry stands; a row that ingest wrote twice is two until it is merged: LIMIT 1 BY topic, partition, offset makes it one'
AS WITH
    (
        SELECT (arrayPushFront(groupArray(cityHash64(topic, partition)), toUInt64(0)), arrayPushFront(groupArray(last_offset), toInt64(-1)))
        FROM
        (
            SELECT
                topic,
                partition,
                max(r.last_offset) AS last_offset
            FROM usage_ranked AS r
            GROUP BY
                topic,
                partition
        )
    ) AS ranked
SELECT
    e.tenant AS tenant,
    toDate32(toInt32(least(intDiv((e.occurred_ms + c.shift_ms) + 86400000, 86400000) - 1, 120529))) AS date,
    formatDateTime(date, '%Y-%m') AS period,
    e.utc_date AS utc_date,
    e.type AS type,
    toLowCardinality(multiIf(e.is_connect, concat('connect.', e.channel), e.is_ivr, 'ivr_port', (e.class = 'premium') OR ((e.class = '') AND m.premium), 'agent_premium', 'agent_standard')) AS meter,
    multiIf(e.is_connect, c.subscription, s.active, e.named, m.subscription != '', m.subscription, c.subscription) AS subscription,
    multiIf(e.is_connect, c.department, s.active, s.department, m.subscription != '', m.department, c.department) AS department,
    CAST(multiIf(c.from_ms = 0, 4, e.is_connect, if(c.subscription = '', 0, 3), s.active, 1, m.subscription != '', 2, c.subscription = '', 0, 3), 'Enum8(\'unallocated\' = 0, \'own\' = 1, \'mapped\' = 2, \'primary\' = 3, \'unknown_tenant\' = 4)') AS attributed_by,
    CAST((attributed_by = 'primary') AND (e.type = 'agent.session'), 'Bool') AS unmapped,
    CAST((attributed_by != 'unknown_tenant') AND (e.named != '') AND (s.from_ms = 0), 'Bool') AS unknown_subscription,
    e.source AS source,
    e.id AS id,
    e.agent AS agent,
    e.entry_point AS entry_point,
    e.occurred_ms AS occurred_ms,
    e.start_ms AS start_ms,
    e.end_ms AS end_ms,
    if(e.end_ms < 0, 0, e.end_ms - e.start_ms) AS milliseconds,
    e.quantity AS units,
    e.revision AS revision,
    e.arrived_ms AS arrived_ms,
    e.topic AS topic,
    e.partition AS partition,
    e.offset AS offset
FROM
(
    SELECT
        *,
        subscription AS named,
        type = 'connect.usage' AS is_connect,
        type = 'ivr.session' AS is_ivr,
        toDate32(toInt32(intDiv(occurred_ms, 86400000))) AS utc_date,
        cityHash64(tenant, is_ivr, if(is_ivr, toString(entry_point), agent)) AS mapped,
        cityHash64(tenant, named) AS naming,
        cityHash64(topic, partition, offset) AS delivery
    FROM usage_events
    WHERE (NOT voided) AND (offset <= transform(cityHash64(topic, partition), ranked.1, ranked.2, toInt64(-1)))
) AS e
ANTI LEFT JOIN
(
    SELECT
        tenant,
        toDate32(day) AS utc_date,
        cityHash64(topic, partition, offset) AS delivery
    FROM usage_outranked
) AS o ON (e.tenant = o.tenant) AND (e.utc_date = o.utc_date) AND (e.delivery = o.delivery)
ASOF LEFT JOIN
(
    SELECT
        tenant,
        x.1 AS from_ms,
        x.2 AS shift_ms,
        toLowCardinality(x.3) AS subscription,
        toLowCardinality(x.4) AS department
    FROM registry_tenants
    FINAL
    ARRAY JOIN calendar AS x
) AS c ON (e.tenant = c.tenant) AND (e.occurred_ms >= c.from_ms)
LEFT JOIN
(
    SELECT
        tenant,
        cityHash64(tenant, x.1, x.2) AS mapped,
        x.3 AS from_ms,
        if(((x.1) = (next.1)) AND ((x.2) = (next.2)), next.3, 9223372036854775807) AS to_ms,
        toLowCardinality(x.4) AS subscription,
        toLowCardinality(x.5) AS department,
        x.6 AS premium
    FROM registry_tenants
    FINAL
    ARRAY JOIN
        mappings AS x,
        arrayShiftLeft(mappings, 1) AS next
) AS m ON (e.tenant = m.tenant) AND (e.mapped = m.mapped) AND (e.occurred_ms >= m.from_ms) AND (e.occurred_ms < m.to_ms)
LEFT JOIN
(
    SELECT
        tenant,
        cityHash64(tenant, x.1) AS naming,
        x.2 AS from_ms,
        if((x.1) = (next.1), next.2, 9223372036854775807) AS to_ms,
        x.3 AS active,
        toLowCardinality(x.4) AS department
    FROM registry_tenants
    FINAL
    ARRAY JOIN
        activity AS x,
        arrayShiftLeft(activity, 1) AS next
) AS s ON (e.tenant = s.tenant) AND (e.naming = s.naming) AND (e.occurred_ms >= s.from_ms) AND (e.occurred_ms < s.to_ms);

CREATE VIEW v_usage_daily
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `date` Date32 COMMENT 'a date in the zone of the tenant',
    `period` String COMMENT 'the period that it is in, such as 2026-10 (R17)',
    `meter` LowCardinality(String) COMMENT 'agent_standard, agent_premium, ivr_port or connect.<channel> (R9)',
    `subscription` LowCardinality(String) COMMENT 'the subscription that the usage is attributed to (R10, R11); empty: the tenant as a whole',
    `department` LowCardinality(String) COMMENT 'what it is called',
    `entitled` Int64 COMMENT 'what the subscription commits to on the date, or all active ones together: the pool (R14)',
    `peak` UInt64 COMMENT 'greatest concurrency at any instant of the date (R13)',
    `peak_ms` Int64 COMMENT 'the earliest instant that attains it, UTC epoch milliseconds; 0 where the peak is 0',
    `events` UInt64 COMMENT 'sessions that start on the date, or Connect events',
    `milliseconds` Int64 COMMENT 'milliseconds of live sessions that fall on the date (R12)',
    `units` Decimal(38, 6) COMMENT 'Connect units of the date',
    `agents` UInt64 COMMENT 'the distinct agents with a session that starts on the date (R15); those of several dates are in v_distinct_agents'
)
COMMENT 'usage by tenant, date, meter and subscription, current figures (R9-R14)'
AS SELECT
    u.tenant AS tenant,
    u.date AS date,
    formatDateTime(u.date, '%Y-%m') AS period,
    u.meter AS meter,
    u.subscription AS subscription,
    n.department AS department,
    u.entitled AS entitled,
    u.peak AS peak,
    u.peak_ms AS peak_ms,
    u.events AS events,
    u.milliseconds AS milliseconds,
    u.units AS units,
    u.agents AS agents
FROM
(
    SELECT
        *,
        finalizeAggregation(agents) AS agents
    FROM usage_current
) AS u
LEFT JOIN
(
    SELECT
        tenant,
        subscription,
        department
    FROM v_departments
) AS n ON (u.tenant = n.tenant) AND (u.subscription = n.subscription)
WHERE u.meter != '';

CREATE VIEW v_distinct_agents
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `period` String COMMENT 'the period, such as 2026-10 (R17)',
    `meter` LowCardinality(String) COMMENT 'agent_standard or agent_premium (R9)',
    `subscription` LowCardinality(String) COMMENT 'the subscription that the sessions are attributed to (R10); empty: the tenant as a whole',
    `department` LowCardinality(String) COMMENT 'what it is called',
    `agents` UInt64 COMMENT 'the distinct agents with a session that starts in the period (R15)',
    `sessions` UInt64 COMMENT 'their sessions'
)
COMMENT 'how many distinct agents had a session, by period and subscription (R15)'
AS SELECT
    u.tenant AS tenant,
    u.period AS period,
    u.meter AS meter,
    u.subscription AS subscription,
    n.department AS department,
    u.distinct_agents AS agents,
    u.sessions AS sessions
FROM
(
    SELECT
        tenant,
        formatDateTime(date, '%Y-%m') AS period,
        meter,
        subscription,
        uniqExactMerge(agents) AS distinct_agents,
        sum(events) AS sessions
    FROM usage_current
    WHERE startsWith(meter, 'agent_')
    GROUP BY
        tenant,
        period,
        meter,
        subscription
) AS u
LEFT JOIN
(
    SELECT
        tenant,
        subscription,
        department
    FROM v_departments
) AS n ON (u.tenant = n.tenant) AND (u.subscription = n.subscription);

CREATE VIEW v_concurrency
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `date` Date32 COMMENT 'a date in the zone of the tenant; name it, even where the minutes are named too: it is what makes the query cheap',
    `period` String COMMENT 'the period that it is in, such as 2026-10 (R17)',
    `meter` LowCardinality(String) COMMENT 'agent_standard, agent_premium or ivr_port (R9)',
    `subscription` LowCardinality(String) COMMENT 'the subscription that the sessions are attributed to (R10); empty: the tenant as a whole',
    `department` LowCardinality(String) COMMENT 'what it is called',
    `minute` DateTime64(0, 'UTC') COMMENT 'start of the minute; every one from the first of the date with somebody live to the last, those between with nobody live too',
    `peak` UInt64 COMMENT 'greatest concurrency at any instant of the minute (R13)',
    `entitled` Int64 COMMENT 'what the subscription commits to on the date, or all active ones together: the pool (R14)'
)
COMMENT 'concurrency by minute, for charts (R13); outside the minutes that it has for a date nobody is live'
AS SELECT
    u.tenant AS tenant,
    u.date AS date,
    formatDateTime(u.date, '%Y-%m') AS period,
    u.meter AS meter,
    u.subscription AS subscription,
    n.department AS department,
    u.minute AS minute,
    u.peak AS peak,
    u.entitled AS entitled
FROM
(
    SELECT
        tenant,
        date,
        meter,
        subscription,
        fromUnixTimestamp64Second(60 * number, 'UTC') AS minute,
        toUInt64(max(level)) AS peak,
        entitled
    FROM
    (
        SELECT
            tenant,
            date,
            meter,
            subscription,
            entitled,
            level,
            begins_ms + intDiv(change, 2) AS from_ms,
            begins_ms + intDiv(next, 2) AS to_ms
        FROM usage_current
        ARRAY JOIN
            changes AS change,
            arrayShiftLeft(changes, 1, changes[-1]) AS next,
            arrayCumSum(arrayMap(c -> if((c % 2) = 1, 1, -1), changes)) AS level
        WHERE from_ms < to_ms
    )
    ARRAY JOIN range(intDiv(from_ms, 60000), intDiv(to_ms - 1, 60000) + 1) AS number
    GROUP BY
        tenant,
        date,
        meter,
        subscription,
        entitled,
        number
) AS u
LEFT JOIN
(
    SELECT
        tenant,
        subscription,
        department
    FROM v_departments
) AS n ON (u.tenant = n.tenant) AND (u.subscription = n.subscription);

CREATE VIEW v_overage_by_department
(
    `tenant` LowCardinality(String) COMMENT 'the tenant',
    `period` String COMMENT 'the period, such as 2026-10 (R17)',
    `meter` LowCardinality(String) COMMENT 'agent_standard, agent_premium or ivr_port (R9)',
    `date` Date32 COMMENT 'date of the peak instant, in the zone of the tenant',
    `peak_ms` Int64 COMMENT 'the peak instant: the earliest that attains the greatest excess of the period, UTC epoch milliseconds (R15)',
    `live` UInt64 COMMENT 'concurrency of the tenant as a whole at that instant (R13)',
    `pool` Int64 COMMENT 'what all active subscriptions commit to together on the date (R14)',
    `excess` Int64 COMMENT 'live less pool: the overage of a concurrent tenant, and of ivr_port (R15)',
    `subscription` LowCardinality(String) COMMENT 'a subscription with usage of the meter on the date',
    `department` LowCardinality(String) COMMENT 'what it is called',
    `contributed` Int64 COMMENT 'its own concurrency at that instant; an agent who is live for two subscriptions is in both, and in live once',
    `committed` Int64 COMMENT 'what it commits to on the date; what is left of the pool is committed by subscriptions without usage, which have no row'
)
COMMENT 'what each subscription had live at the peak instant of the period\'s greatest excess over the pool (R15); the agent overage of a named tenant counts distinct agents instead: the view does not know licence models'
AS SELECT
    whole.tenant AS tenant,
    whole.period AS period,
    whole.meter AS meter,
    top.3 AS date,
    -(top.2) AS peak_ms,
    top.4 AS live,
    top.5 AS pool,
    top.1 AS excess,
    own.subscription AS subscription,
    n.department AS department,
    arraySum(c -> if(c > ((2 * (peak_ms - own.begins_ms)) + 1), 0, if((c % 2) = 1, 1, -1)), own.changes) AS contributed,
    own.entitled AS committed
FROM
(
    SELECT
        tenant,
        formatDateTime(date, '%Y-%m') AS period,
        meter,
        max((toInt64(peak) - entitled, -peak_ms, date, peak, entitled)) AS top
    FROM usage_current
    WHERE (subscription = '') AND (peak > entitled) AND ((entitled > 0) OR (events > 0))
    GROUP BY
        tenant,
        period,
        meter
) AS whole
INNER JOIN
(
    SELECT
        tenant,
        date,
        meter,
        subscription,
        entitled,
        begins_ms,
        changes
    FROM usage_current
    WHERE subscription != ''
) AS own ON (whole.tenant = own.tenant) AND (whole.meter = own.meter) AND ((whole.top.3) = own.date)
LEFT JOIN
(
    SELECT
        tenant,
        subscription,
        department
    FROM v_departments
) AS n ON (whole.tenant = n.tenant) AND (own.subscription = n.subscription);

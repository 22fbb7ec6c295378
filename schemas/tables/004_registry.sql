-- +goose Up

-- What became of every command on registry.commands.v1, in the order in which they were decided. The log is computed
-- from the topic, which alone decides (R23): whoever folds it writes the same rows, in whatever batches, so a
-- row that comes twice is one row.
CREATE TABLE IF NOT EXISTS registry_log
(
    offset     Int64 COMMENT 'Kafka offset of the command on its one partition',
    arrived_ms Int64 COMMENT 'Kafka timestamp of the command, UTC epoch milliseconds',
    tenant     String COMMENT 'the tenant that it changes; empty where that could not be read',
    source     String COMMENT 'source; with tenant and command_id the identity of the command (R8)',
    command_id String COMMENT 'id of the command',
    command    LowCardinality(String) COMMENT 'what it does, such as put_tenant',
    given_by   String COMMENT 'who gave it: the type and the id, such as user anna@host; empty where nobody said',
    accepted   Bool COMMENT 'whether it changed the registry; one that was decided before keeps its first verdict',
    refusals   Array(Tuple(code String, field String, value String, message String)) COMMENT 'why it was refused, with the code of the rule',
    payload    String COMMENT 'the command as it came, byte for byte' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY offset
COMMENT 'every registry command with its verdict (R1-R7), for people: the topic decides what is current; read with FINAL';

-- Both are read from the commands as they came: the log alone decides.
CREATE OR REPLACE VIEW v_seals
(
    through        String COMMENT 'the last period that is sealed, for all tenants, such as 2026-03 (R25)',
    from_period    String COMMENT 'the first period that anybody was to issue; empty where it is each tenant''s own first',
    reason         String COMMENT 'why, as whoever sealed it said',
    sealed_by      String COMMENT 'who sealed it: the type and the id, such as user anna@host',
    sealed_at      DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the command',
    command_offset Int64 COMMENT 'offset of the command on registry.commands.v1'
)
AS SELECT JSONExtractString(payload, 'data', 'through') AS through, JSONExtractString(payload, 'data', 'from') AS from_period,
    JSONExtractString(payload, 'data', 'reason') AS reason, given_by AS sealed_by, fromUnixTimestamp64Milli(arrived_ms, 'UTC') AS sealed_at,
    offset AS command_offset
FROM registry_log FINAL
WHERE command = 'seal_periods' AND accepted
COMMENT 'which periods are sealed: what reaches them later is kept and reported, and adjusts nothing (R25)';

CREATE OR REPLACE VIEW v_removals
(
    table_name     String COMMENT 'what was removed from: usage_events, or rejected',
    through        String COMMENT 'of usage_events the last period that had deliveries among them: it and those before cannot be computed again (R25)',
    parts          Array(String) COMMENT 'of usage_events the partitions removed',
    topic          String COMMENT 'Kafka topic of the deliveries, prefix included',
    partition      Int32 COMMENT 'Kafka partition of the deliveries',
    deliveries     Int64 COMMENT 'how many were removed, which every balance counts from then on (R22)',
    evidence       String COMMENT 'of usage_events the directory of the files that were written before',
    removed_at     DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the command',
    command_offset Int64 COMMENT 'offset of the command on registry.commands.v1'
)
AS SELECT JSONExtractString(removal, 'table') AS table_name, JSONExtractString(removal, 'through') AS through,
    JSONExtract(removal, 'parts', 'Array(String)') AS parts, c.1 AS topic, c.2 AS partition, c.3 AS deliveries,
    JSONExtractString(removal, 'evidence', 'directory') AS evidence, fromUnixTimestamp64Milli(arrived_ms, 'UTC') AS removed_at, offset AS command_offset
FROM (SELECT *, JSONExtractRaw(payload, 'data', 'removal') AS removal FROM registry_log FINAL WHERE command = 'remove_deliveries' AND accepted)
ARRAY JOIN JSONExtract(removal, 'counts', 'Array(Tuple(topic String, partition Int32, count Int64))') AS c
COMMENT 'which deliveries are no longer stored, and where the evidence of their periods is (R22, R25)';

-- What the registry says of each tenant, one row each, so that a tenant changes as a whole. It is written after the
-- verdicts, once for all commands that have come meanwhile; whoever was killed in between leaves an earlier version, and
-- the next to write completes it. The dates are those of the registry, in the zone of the tenant. The
-- last three columns are what the rules make of them (R3, R4, R10), computed in Go: queries look them up by instant, and
-- have no rules of their own.
CREATE TABLE IF NOT EXISTS registry_tenants
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    version      Int64 COMMENT 'offset of the last command that changed it; the highest is current',
    tz_version   LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23)',
    name         String COMMENT 'of the customer organisation',
    time_zone    LowCardinality(String) COMMENT 'IANA time zone that its dates are in',
    telephony    LowCardinality(String) COMMENT 'telephony option (R6)',
    terms        Array(Tuple(subscription String, department String, licence_model String, plan String, deployment String, currency String,
        billing String, from_date Date32, to_date Date32)) COMMENT 'see v_subscriptions',
    commitments  Array(Tuple(subscription String, department String, meter String, quantity Int64, from_date Date32, to_date Nullable(Date32))) COMMENT 'see v_commitments',
    prices       Array(Tuple(subscription String, department String, kind String, meter String, price Decimal(38, 6), currency String,
        from_date Date32, to_date Nullable(Date32))) COMMENT 'see v_prices',
    licences     Array(Tuple(user String, role String, class String, subscription String, department String, from_date Date32,
        to_date Nullable(Date32))) COMMENT 'see v_licences',
    entry_points Array(Tuple(entry_point String, subscription String, department String, from_date Date32, to_date Nullable(Date32))) COMMENT 'see v_entry_points',
    calendar     Array(Tuple(from_ms Int64, shift_ms Int64, subscription String, department String))
        COMMENT 'from each instant on: what to add to an instant so that its date in UTC is that of the tenant, until the year 2100, and the primary (R4)',
    activity     Array(Tuple(subscription String, from_ms Int64, active Bool, department String)) COMMENT 'when each subscription is active, by subscription and instant (R3)',
    mappings     Array(Tuple(is_ivr Bool, name String, from_ms Int64, subscription String, department String, premium Bool))
        COMMENT 'from each instant on, by name and instant: the oldest active subscription that an agent, or an entry point of the IVR, is mapped to (R10), and whether its sessions are premium (R9)'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY tenant
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'each tenant as the registry has it (R1-R7), and what follows for its usage; the views show it by subscription, licence and price; read with FINAL';

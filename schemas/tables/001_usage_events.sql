-- +goose Up

-- Every accepted delivery, one row each (R8, R22). The key ends in topic, partition and offset: inserting the
-- same records again, in whatever batches, changes nothing once rows are merged, and readers do not wait for
-- that (they take one row for each offset). No revision, duplicate or conflict is ever merged away: which delivery
-- wins is computed when the events are read. The key begins so that the sessions of an agent and date are together,
-- as they are counted.
--
-- Instants are UTC epoch milliseconds in Int64, because the event contract reaches to the year 9999 and
-- DateTime64 does not; -1 is absent.
--
-- Usage near its arrival is partitioned by month. All other is by year, and beyond 2099 together: whoever sends events
-- of any dates makes some hundred partitions at most. Rows that replace each other have one arrival, and so one
-- partition.
--
-- Ingest pays for each insert and merge: so there are no statistics, which nobody asks, and LZ4, which takes a
-- tenth more room than ZSTD. The index of offsets costs next to nothing: aggregation finds by it what is new.
--
-- `content` repeats schemas/canonical.go in SQL: whoever changes one changes the other, and the tests of
-- aggregate/clickhouse compare them. It is computed when it is read, and it sorts and distinguishes contents exactly as the
-- canonical form of R8 does; its times are 15 digits of epoch milliseconds, which sort as the form's RFC 3339 does.
CREATE TABLE IF NOT EXISTS usage_events
(
    tenant       LowCardinality(String) COMMENT 'tenantid: the customer organisation (R1), known to the registry or not',
    type         Enum8('agent.session' = 1, 'ivr.session' = 2, 'connect.usage' = 3) COMMENT 'type of the event',
    source       LowCardinality(String) COMMENT 'source; with tenant and id the identity of the event (R8)',
    id           String COMMENT 'id of the event',
    identity     UInt64 MATERIALIZED cityHash64(tenant, source, id) COMMENT 'number of the identity, as good as unique; SELECT * leaves it out' CODEC(NONE),
    revision     Int32 COMMENT 'of the deliveries of an identity the highest revision wins (R8)',
    voided       Bool COMMENT 'when this delivery wins, the event counts for nothing (R8)',
    time_ms      Int64 COMMENT 'time of the event; for Connect, when the usage happened' CODEC(Delta, LZ4),
    occurred_ms        Int64 COMMENT 'when the usage happened, which decides its period: its start; its time for Connect, and for a void without a start (R22)' CODEC(Delta, LZ4),
    start_ms     Int64 COMMENT 'start of the session; -1 absent' CODEC(Delta, LZ4),
    end_ms       Int64 COMMENT 'end of the session; -1 while it is open (R12), or absent' CODEC(Delta, LZ4),
    agent        String COMMENT 'agentId of an agent session',
    entry_point  LowCardinality(String) COMMENT 'entryPointId of an IVR session',
    channel      LowCardinality(String) COMMENT 'channel of Connect usage',
    quantity     Decimal(18, 6) COMMENT 'units of Connect usage; 0 absent',
    subscription LowCardinality(String) COMMENT 'subscriptionId that the event names; empty when it names none (R10)',
    class        Enum8('' = 0, 'standard' = 1, 'premium' = 2) COMMENT 'licenceClass that the session names (R9)',
    topic        LowCardinality(String) COMMENT 'Kafka topic of the delivery, prefix included',
    partition    Int32 COMMENT 'Kafka partition of the delivery',
    offset       Int64 COMMENT 'Kafka offset of the delivery' CODEC(Delta, LZ4),
    arrived_ms   Int64 COMMENT 'Kafka timestamp of the delivery' CODEC(Delta, LZ4),
    content      String ALIAS concat('{',
        if(agent = '', '', concat('"agentId":"', replaceAll(replaceAll(agent, '\\', '\\\\'), '"', '\\"'), '",')),
        if(channel = '', '', concat('"channel":"', channel, '",')),
        if(end_ms < 0, '', concat('"endTime":', leftPad(toString(end_ms), 15, '0'), ',')),
        if(entry_point = '', '', concat('"entryPointId":"', replaceAll(replaceAll(entry_point, '\\', '\\\\'), '"', '\\"'), '",')),
        if(class = '', '', concat('"licenceClass":"', toString(class), '",')),
        if(quantity = 0, '', concat('"quantity":"', toString(quantity), '",')),
        if(revision = 0, '', concat('"revision":', toString(revision), ',')),
        if(start_ms < 0, '', concat('"startTime":', leftPad(toString(start_ms), 15, '0'), ',')),
        if(subscription = '', '', concat('"subscriptionId":"', replaceAll(replaceAll(subscription, '\\', '\\\\'), '"', '\\"'), '",')),
        '"time":', leftPad(toString(time_ms), 15, '0'), ',"type":"', toString(type), '"',
        if(voided, ',"voided":true}', '}'))
        COMMENT 'what R8 compares: sorts, and is equal, as the canonical form does',
    INDEX offsets (topic, partition, offset) TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY if(occurred_ms > arrived_ms - 34214400000 AND occurred_ms < arrived_ms + 2678400000,
    toYYYYMM(fromUnixTimestamp64Milli(least(occurred_ms, 4102444800000), 'UTC')),
    toYear(fromUnixTimestamp64Milli(least(occurred_ms, 4102444800000), 'UTC')))
ORDER BY (tenant, type, intDiv(occurred_ms, 86400000), agent, topic, partition, offset)
SETTINGS auto_statistics_types = ''
COMMENT 'every accepted delivery, one row each (R8, R22); one that came twice is two rows until they are merged, so read with FINAL';

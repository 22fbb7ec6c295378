-- +goose Up

-- The ledger: which offsets of a partition have been taken in, and what became of them. A consumer resumes
-- from here, and R22 balances against it. It stays small by itself: batches that one consumer entered in the same
-- minute, without a hole between them, become one row when ClickHouse merges parts, and every column adds up. Batches
-- after a hole are rows of their own, so that the hole stays visible; so are those of two consumers that entered the
-- same offsets at one instant, which is no fault (R22). What all positions and sums need
-- is a projection: a row a partition in each part, written with it and lost with it, so it never says
-- anything else than the rows.
CREATE TABLE IF NOT EXISTS ingest_batches
(
    topic        LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    partition    Int32 COMMENT 'Kafka partition',
    first_offset SimpleAggregateFunction(min, Int64) COMMENT 'first offset of the batches',
    last_offset  SimpleAggregateFunction(max, Int64) COMMENT 'last offset of the batches, itself included',
    read         SimpleAggregateFunction(sum, UInt64) COMMENT 'records that were there; fewer than the offsets where Kafka skips some',
    accepted     SimpleAggregateFunction(sum, UInt64) COMMENT 'deliveries that went to usage_events',
    rejected     SimpleAggregateFunction(sum, UInt64) COMMENT 'deliveries that went to rejected',
    run_offset   Int64 DEFAULT first_offset COMMENT 'offset where the consumer began that entered this and, without a hole, all until here',
    run          UUID COMMENT 'that consumer, from when it was given the partition or entered a batch once more after a failure: two may enter the same offsets at one instant, one does not enter them twice',
    written_at   SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3) COMMENT 'when the last of the batches was done',
    minute       DateTime('UTC') MATERIALIZED toStartOfMinute(written_at) COMMENT 'the minute of it',
    covered      SimpleAggregateFunction(sum, UInt64) MATERIALIZED last_offset - first_offset + 1 COMMENT 'offsets of all batches together',
    chain        SimpleAggregateFunction(sum, Int64) MATERIALIZED reinterpretAsInt64(cityHash64(first_offset)) - reinterpretAsInt64(cityHash64(last_offset + 1))
        COMMENT 'of batches that follow each other all but the two ends cancel out: a hole or a batch too many shows',
    INDEX ends last_offset TYPE minmax,
    PROJECTION partitions (
        SELECT topic, partition, min(first_offset), max(last_offset), sum(read), sum(accepted), sum(rejected), sum(covered), sum(chain)
        GROUP BY topic, partition)
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition, run_offset, run, minute)
SETTINGS deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild',
    fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'the ledger of what ingest has taken in (R22); a consumer resumes from here';

CREATE OR REPLACE VIEW v_ingest_partitions
(
    topic        LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    partition    Int32 COMMENT 'Kafka partition',
    first_offset Int64 COMMENT 'first offset that the ledger has',
    last_offset  Int64 COMMENT 'last offset that the ledger has; a consumer resumes after it',
    read         UInt64 COMMENT 'records that were there',
    accepted     UInt64 COMMENT 'deliveries that went to usage_events',
    rejected     UInt64 COMMENT 'deliveries that went to rejected',
    covered      UInt64 COMMENT 'offsets of all batches together',
    unbroken     Bool COMMENT 'the batches cover each offset from the first to the last once; if not, apportion reconcile says whether the partition balances'
)
AS SELECT
    topic,
    partition,
    min(b.first_offset) AS first_offset,
    max(b.last_offset) AS last_offset,
    sum(b.read) AS read,
    sum(b.accepted) AS accepted,
    sum(b.rejected) AS rejected,
    sum(b.covered) AS covered,
    sum(b.chain) = reinterpretAsInt64(cityHash64(min(b.first_offset))) - reinterpretAsInt64(cityHash64(max(b.last_offset) + 1)) AS unbroken
FROM ingest_batches AS b
GROUP BY topic, partition
COMMENT 'the ledger summed up, partition by partition; however large it is, this reads little';

-- Dead letters, whole. The topic usage.rejected.v1 carries the same.
CREATE TABLE IF NOT EXISTS rejected
(
    topic      LowCardinality(String) COMMENT 'Kafka topic of the refused delivery, prefix included',
    partition  Int32 COMMENT 'Kafka partition of the refused delivery',
    offset     Int64 COMMENT 'Kafka offset of the refused delivery',
    arrived_ms Int64 COMMENT 'Kafka timestamp of the refused delivery, UTC epoch milliseconds',
    code       LowCardinality(String) COMMENT 'why it was refused: a code of the event contract',
    field      LowCardinality(String) COMMENT 'the offending attribute or field, where there is one',
    value      String COMMENT 'the offending value, shortened',
    message    String COMMENT 'what is wrong with it, in words',
    tenant     String COMMENT 'tenantid where it could be read (R22)',
    source     String COMMENT 'source where it could be read (R22)',
    id         String COMMENT 'id where it could be read (R22)',
    key        String COMMENT 'original Kafka key',
    payload    String COMMENT 'original value, byte for byte' CODEC(ZSTD(3)),
    headers    Array(Tuple(name String, value String)) COMMENT 'original headers'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'every refused delivery with its reason (R22), as on the topic usage.rejected.v1; read with FINAL';

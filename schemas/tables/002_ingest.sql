-- +goose Up

-- The ledger: which offsets of a partition have been taken in, and what became of them. A consumer resumes
-- from here, and R22 balances against it.
CREATE TABLE IF NOT EXISTS ingest_batches
(
    topic        LowCardinality(String) COMMENT 'Kafka topic, prefix included',
    partition    Int32 COMMENT 'Kafka partition',
    first_offset Int64 COMMENT 'first offset of the batch',
    last_offset  Int64 COMMENT 'last offset of the batch, itself included',
    read         UInt64 COMMENT 'records that were there; fewer than the offsets where Kafka skips some',
    accepted     UInt64 COMMENT 'deliveries that went to usage_events',
    rejected     UInt64 COMMENT 'deliveries that went to rejected',
    written_at   DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the batch was done'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, first_offset)
COMMENT 'the ledger of what ingest has taken in, batch by batch (R22); a consumer resumes from here';

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
    detail     String COMMENT 'what is wrong with it, in words',
    tenant     String COMMENT 'tenantid where it could be read (R22)',
    source     String COMMENT 'source where it could be read (R22)',
    id         String COMMENT 'id where it could be read (R22)',
    key        String COMMENT 'original Kafka key',
    payload    String COMMENT 'original value, byte for byte' CODEC(ZSTD(3)),
    headers    Array(Tuple(name String, value String)) COMMENT 'original headers'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
COMMENT 'every refused delivery with its reason (R22), as on the topic usage.rejected.v1; read with FINAL';

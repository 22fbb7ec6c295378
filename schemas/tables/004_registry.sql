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

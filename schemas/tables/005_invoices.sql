-- +goose Up

-- What has been issued, for good (R20). The issues of a tenant are a chain. Whoever issues a period has read the
-- issues in force, numbers its own one higher, writes its lines and then, with a row here, claims the number. Of
-- several rows with one number the one inserted first is in force: the one with the lowest _block_number. So of two
-- runs at once only one gets a number; the other finds that out by reading, and bills again after what is now in
-- force. A period is not issued twice, nor anything adjusted twice (R21), because whoever claims a number knew all
-- before it. Lines of an issue that has no row in force were left behind by a run that was killed or came too late,
-- and count for nothing. v_issued_periods and v_invoice_lines show what is in force.
--
-- It is safe because MergeTree gives an insert its block number under the lock under which its rows become visible: a
-- row that anybody has seen cannot be preceded by one inserted later. enable_block_number_column keeps the number
-- through merges.
--
-- On a replicated cluster a row must be seen by whoever reads after it was written, on any replica. So all writes and
-- reads of both tables have insert_quorum = 'auto', insert_quorum_parallel = 0 and select_sequential_consistency =
-- 1, which mean nothing to a table that is not replicated. A replicated table takes its block numbers a moment before
-- rows become visible, however, and two inserts could swap in that moment: there, let one machine issue at a time.
--
-- fsync_after_insert: what customers have been sent must outlast a loss of power.
CREATE TABLE IF NOT EXISTS issued_periods
(
    tenant               LowCardinality(String) COMMENT 'the tenant',
    seq                  UInt32 COMMENT 'number of the issue in the tenant''s chain, from 1; of several rows with one number the first inserted is in force',
    period               LowCardinality(String) COMMENT 'the period issued, such as 2026-10 (R17)',
    issue                UUID COMMENT 'id of the issue',
    lines                UInt64 COMMENT 'how many lines invoice_lines has for it',
    issue_date           Date32 COMMENT 'date on which the grace was over, in the zone of the tenant',
    registry_offset      Int64 COMMENT 'the next offset of the registry''s command log when it was billed',
    pass                 UInt64 COMMENT 'the pass of aggregation that it rests on',
    positions            Array(Tuple(topic String, partition Int32, last_offset Int64)) COMMENT 'what that pass had read of the ledger, by partition',
    rules                LowCardinality(String) COMMENT 'the rules as they were configured',
    tz_version           LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23)',
    accepted             UInt64 COMMENT 'deliveries of the period accepted; this and the next as in usage_daily (R22)',
    counted              UInt64 COMMENT 'see usage_daily',
    duplicate            UInt64 COMMENT 'see usage_daily',
    superseded           UInt64 COMMENT 'see usage_daily',
    voided               UInt64 COMMENT 'see usage_daily',
    unallocated          UInt64 COMMENT 'see usage_daily',
    held                 UInt64 COMMENT 'see usage_daily',
    unmapped             UInt64 COMMENT 'see usage_daily',
    open_sessions        UInt64 COMMENT 'see usage_daily',
    unknown_subscription UInt64 COMMENT 'see usage_daily',
    conflicts            UInt64 COMMENT 'see usage_daily',
    written_at           DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when it was issued'
)
ENGINE = MergeTree
ORDER BY (tenant, seq)
SETTINGS enable_block_number_column = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'which periods of which tenants have been issued, and on what they rest (R20)';

CREATE TABLE IF NOT EXISTS invoice_lines
(
    tenant        LowCardinality(String) COMMENT 'the tenant',
    subscription  LowCardinality(String) COMMENT 'the subscription invoiced',
    period        LowCardinality(String) COMMENT 'the period invoiced, such as 2026-10',
    issue         UUID COMMENT 'see issued_periods',
    invoice       String COMMENT 'id of the invoice',
    line_no       UInt32 COMMENT 'number of the line on the invoice, from 1',
    kind          LowCardinality(String) COMMENT 'commitment, usage, connect, overage or adjustment (R18)',
    meter         LowCardinality(String) COMMENT 'what is charged (R9)',
    quantity      Decimal(38, 6) COMMENT 'how much of it, in unit; of an adjustment the difference',
    unit          LowCardinality(String) COMMENT 'seat, port or unit',
    unit_price    Nullable(Decimal(38, 6)) COMMENT 'price of a unit; null on usage and adjustment',
    amount        Decimal(38, 4) COMMENT 'in the currency, rounded to its minor units (R19)',
    currency      LowCardinality(String) COMMENT 'ISO 4217',
    from_date     Date32 COMMENT 'first date that the line covers; of an adjustment, of the period it corrects',
    to_date       Date32 COMMENT 'the date after the last that the line covers',
    days          UInt32 COMMENT 'days that a commitment is charged for (R18); else 0',
    peak_ms       Int64 COMMENT 'the peak instant, UTC epoch milliseconds (R15, R18); -1 where there is none',
    entitled      Int64 COMMENT 'the pool behind an overage (R14); else 0',
    pool          Array(Tuple(at_ms Int64, live Int64, entitled Int64)) COMMENT 'the date of an overage''s peak: from each instant on the greatest concurrency and the pool (R13, R14)',
    corrects      String COMMENT 'the line or invoice that an adjustment corrects first (R21)',
    corrects_kind LowCardinality(String) COMMENT 'the kind that an adjustment corrects',
    note          String COMMENT 'the rule and the figures behind the line'
)
ENGINE = MergeTree
ORDER BY (period, tenant, subscription, issue, line_no)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'invoice lines; those of an issue in force in issued_periods are issued (R18, R20)';

CREATE OR REPLACE VIEW v_issued_periods AS
SELECT * FROM issued_periods ORDER BY tenant, seq, _block_number LIMIT 1 BY tenant, seq;

CREATE OR REPLACE VIEW v_invoice_lines AS
SELECT * FROM invoice_lines WHERE issue IN (SELECT issue FROM v_issued_periods);

-- +goose Up

-- What has been issued, for good (R20). Whoever issues a period writes its lines to invoice_lines, under an id of its own,
-- and then claims the period with a command on registry.commands.v1: the next number of the tenant's issues, the SHA-256 of
-- the lines, and the hash of the issue before. The first claim of a number is accepted, in the one order of
-- that topic, and every other is refused. So a period is not issued twice, nor anything adjusted twice (R21), however many
-- machines issue at once, and whatever happens to a table does not change what is issued.
--
-- issued_periods is computed from the topic, as registry_log is: whoever folds it writes the same rows, and `apportion
-- registry rebuild` writes them all again. Nothing is billed from it. invoice_lines cannot be computed again; each time
-- that lines are read they are compared with the hash on the log, and lines that have changed stop their tenant alone.
--
-- On a replicated cluster a line must be seen by whoever reads after it was written, on any replica. So writes and reads of
-- invoice_lines have insert_quorum = 'auto', insert_quorum_parallel = 0 and select_sequential_consistency = 1, which mean
-- nothing to a table that is not replicated.
--
-- fsync_after_insert: what customers have been sent must outlast a loss of power.
CREATE TABLE IF NOT EXISTS issued_periods
(
    tenant               LowCardinality(String) COMMENT 'the tenant',
    seq                  UInt32 COMMENT 'number of the issue in the tenant''s chain, from 1',
    period               LowCardinality(String) COMMENT 'the period issued, such as 2026-10 (R17)',
    issue                UUID COMMENT 'id of the issue, and of the command that claimed it',
    lines                UInt64 COMMENT 'how many lines it has in invoice_lines',
    lines_hash           String COMMENT 'SHA-256 of the lines, in hex',
    hash                 String COMMENT 'SHA-256 of the command as it is on the topic, in hex; registry_log has it as payload',
    previous             String COMMENT 'hash of the tenant''s issue before; empty for the first',
    command_offset       Int64 COMMENT 'offset of the command on registry.commands.v1',
    tenant_version       Int64 COMMENT 'offset of the last command that had changed the tenant when it was billed',
    issued_by            String COMMENT 'who issued it: the type and the id, such as user anna@host or system host',
    issued_at            DateTime64(3, 'UTC') COMMENT 'when it was issued',
    issue_date           Date32 COMMENT 'date on which the grace was over, in the zone of the tenant',
    registry_offset      Int64 COMMENT 'the offset after the last command that had changed any tenant when it was billed',
    pass                 UInt64 COMMENT 'the pass of aggregation that it is based on',
    positions            Array(Tuple(topic String, partition Int32, last_offset Int64)) COMMENT 'what that pass had read of the ledger, by partition',
    rules                LowCardinality(String) COMMENT 'the rules as they were configured, in JSON',
    tz_version           LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23)',
    accepted             UInt64 COMMENT 'deliveries of the period accepted; this and the next as in usage_daily (R22)',
    counted              UInt64 COMMENT 'see usage_daily',
    duplicate            UInt64 COMMENT 'see usage_daily',
    superseded           UInt64 COMMENT 'see usage_daily',
    voided               UInt64 COMMENT 'see usage_daily',
    unallocated          UInt64 COMMENT 'see usage_daily',
    unknown_tenant       UInt64 COMMENT 'see usage_daily',
    unmapped             UInt64 COMMENT 'see usage_daily',
    open_sessions        UInt64 COMMENT 'see usage_daily',
    unknown_subscription UInt64 COMMENT 'see usage_daily',
    conflicts            UInt64 COMMENT 'see usage_daily',
    departments          Array(Tuple(subscription String, department String)) COMMENT 'what each subscription was called when it was billed'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, seq, issue)
COMMENT 'which periods of which tenants have been issued, and what they are based on (R20); read with FINAL';

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
COMMENT 'invoice lines; those of an issue in issued_periods are issued (R18, R20)';

CREATE OR REPLACE VIEW v_issued_periods AS
SELECT * EXCEPT departments FROM issued_periods FINAL
COMMENT 'issued_periods, each issue once';

CREATE OR REPLACE VIEW v_invoice_lines AS
SELECT lines.*, arrayFirst(d -> d.1 = lines.subscription, issued.departments).2 AS department
FROM invoice_lines AS lines
INNER JOIN (SELECT tenant, issue, departments FROM issued_periods FINAL) AS issued ON lines.tenant = issued.tenant AND lines.issue = issued.issue
COMMENT 'invoice_lines of what is issued: what customers have been sent; department is what the subscription was called then';

-- What was found when somebody last looked at a period of a tenant (R24). A look has one row, with all that it found, so
-- that what it no longer finds is gone with the look before. What was found at an issue is for good, also where somebody
-- looks meanwhile who does not know of the issue yet.
CREATE TABLE IF NOT EXISTS findings
(
    tenant          LowCardinality(String) COMMENT 'the tenant; empty for what is of all',
    period          LowCardinality(String) COMMENT 'the period that was looked at, such as 2026-10',
    pass            UInt64 COMMENT 'the pass of aggregation that was looked at',
    registry_offset Int64 COMMENT 'the next offset of the registry''s command log then',
    looked_at       DateTime64(3, 'UTC') COMMENT 'when it was looked at',
    found           Array(Tuple(code String, rule String, count Int64, names Array(String), advice String)) COMMENT 'what was found; see v_findings',
    rank            UInt64 COMMENT 'the highest is current, and of equal ones the last: the pass, or the highest there is for what was found at an issue'
)
ENGINE = ReplacingMergeTree(rank)
ORDER BY (tenant, period)
COMMENT 'what a person should look at (R24), by tenant and period, as somebody last looked; read with FINAL';

CREATE OR REPLACE VIEW v_findings
(
    tenant          LowCardinality(String) COMMENT 'the tenant; empty for what is of all',
    period          LowCardinality(String) COMMENT 'the period that was looked at, such as 2026-10',
    code            String COMMENT 'what was found',
    rule            String COMMENT 'the rule behind it',
    count           Int64 COMMENT 'of how many events, or names, it is',
    names           Array(String) COMMENT 'up to ten of them in byte order, events by source and id',
    advice          String COMMENT 'what to do',
    looked_at       DateTime64(3, 'UTC') COMMENT 'when it was looked at: what has come since is not in it',
    pass            UInt64 COMMENT 'the pass of aggregation that was looked at',
    registry_offset Int64 COMMENT 'the next offset of the registry''s command log then'
)
AS SELECT tenant, period, f.1 AS code, f.2 AS rule, f.3 AS count, f.4 AS names, f.5 AS advice, looked_at, pass, registry_offset
FROM findings FINAL
ARRAY JOIN found AS f
COMMENT 'what a person should look at before a month is signed (R24): of an issued period what was found at the issue, of an open one what was found last';

-- +goose Up

-- What has been issued, for good (R20). A tenant's period is in force once its row is in issued_periods; lines of
-- an issue that has no row there were left behind by a run that was killed, and count for nothing.
CREATE TABLE IF NOT EXISTS issued_periods
(
    tenant          LowCardinality(String) COMMENT 'the tenant',
    period          LowCardinality(String) COMMENT 'the period, such as 2026-10 (R17)',
    issue           UUID COMMENT 'the issue that is in force; of two the one written first',
    lines           UInt64 COMMENT 'how many lines invoice_lines has for it',
    registry_offset Int64 COMMENT 'the next offset of the registry''s command log when it was billed',
    pass            UInt64 COMMENT 'the pass of aggregation that it rests on',
    tz_version      LowCardinality(String) COMMENT 'edition of the IANA time zone data in use (R23)',
    written_at      DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when it was issued'
)
ENGINE = MergeTree
ORDER BY (period, tenant, written_at, issue)
COMMENT 'which periods of which tenants have been issued, and on what they rest (R20)';

CREATE TABLE IF NOT EXISTS invoice_lines
(
    tenant       LowCardinality(String) COMMENT 'the tenant',
    subscription LowCardinality(String) COMMENT 'the subscription invoiced',
    period       LowCardinality(String) COMMENT 'the period invoiced, such as 2026-10',
    issue        UUID COMMENT 'see issued_periods',
    invoice      String COMMENT 'id of the invoice',
    line_no      UInt32 COMMENT 'number of the line on the invoice, from 1',
    kind         LowCardinality(String) COMMENT 'commitment, usage, connect, overage or adjustment (R18)',
    meter        LowCardinality(String) COMMENT 'what is charged (R9)',
    quantity     Decimal(38, 6) COMMENT 'how much of it, in unit',
    unit         LowCardinality(String) COMMENT 'seat, port or unit',
    unit_price   Nullable(Decimal(38, 6)) COMMENT 'price of a unit; null on usage and adjustment',
    amount       Decimal(38, 4) COMMENT 'in the currency, rounded to its minor units (R19)',
    currency     LowCardinality(String) COMMENT 'ISO 4217',
    from_date    Date32 COMMENT 'first date that the line covers',
    to_date      Date32 COMMENT 'the date after the last that the line covers',
    peak_ms      Int64 COMMENT 'the peak instant, UTC epoch milliseconds (R15, R18); -1 where there is none',
    corrects     String COMMENT 'what an adjustment corrects (R21)',
    note         String COMMENT 'the rule and the figures behind the line'
)
ENGINE = MergeTree
ORDER BY (period, tenant, subscription, issue, line_no)
COMMENT 'invoice lines; those of an issue in issued_periods are issued (R18, R20)';

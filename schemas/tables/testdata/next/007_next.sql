-- +goose Up

-- A migration for the tests, as that of a release to come may be: it only adds, so whatever runs over the schema before
-- it goes on.
ALTER TABLE usage_events ADD COLUMN IF NOT EXISTS campaign LowCardinality(String) COMMENT 'what a later release takes in';

ALTER TABLE usage_daily ADD COLUMN IF NOT EXISTS campaigns UInt64 COMMENT 'what a later release counts';

ALTER TABLE invoice_lines ADD COLUMN IF NOT EXISTS approved_by String COMMENT 'what a later release records';

CREATE TABLE IF NOT EXISTS approvals
(
    tenant LowCardinality(String) COMMENT 'the tenant'
)
ENGINE = ReplacingMergeTree
ORDER BY tenant
COMMENT 'a table of a later release';

CREATE OR REPLACE VIEW v_tenants
(
    tenant     LowCardinality(String) COMMENT 'the tenant',
    name       String COMMENT 'of the customer organisation',
    time_zone  LowCardinality(String) COMMENT 'IANA time zone that its dates are in',
    telephony  LowCardinality(String) COMMENT 'telephony option (R6)',
    version    Int64 COMMENT 'offset of the last command that changed it',
    tz_version LowCardinality(String) COMMENT 'edition of the IANA time zone data that its dates are computed with',
    approved   Bool COMMENT 'what a later release shows'
)
AS SELECT tenant, name, time_zone, telephony, version, tz_version, false FROM registry_tenants FINAL
COMMENT 'the tenants of the registry (R1)';

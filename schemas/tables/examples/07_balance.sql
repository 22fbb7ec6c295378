-- Is every delivery of a period in exactly one class (R22)? A difference other than 0 stops the period.
SELECT tenant, period, accepted, counted, duplicate, superseded, voided, unallocated, unknown_tenant, difference
FROM v_usage_balance_monthly
ORDER BY tenant, period

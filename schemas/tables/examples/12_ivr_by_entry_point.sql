-- How much did each entry point of the IVR take in October, and which department does it belong to?
SELECT entry_point, subscription, department, attributed_by, count() AS calls, round(sum(milliseconds) / 60000) AS minutes,
    round(avg(milliseconds) / 1000) AS seconds_each
FROM v_events
WHERE tenant = 'acme' AND date >= '2026-10-01' AND date < '2026-11-01' AND utc_date >= '2026-09-30' AND utc_date <= '2026-11-01'
    AND type = 'ivr.session'
GROUP BY entry_point, subscription, department, attributed_by
ORDER BY calls DESC, entry_point

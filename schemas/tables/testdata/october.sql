-- October 2026 at acme, in Europe/Stockholm: the worked example of R15 on the 14th, with 12 and 14 agents at once where
-- 10 and 15 are committed; a night over the end of summer time; and one of everything that needs looking at.

-- On the 14th and the 15th agents start a minute after each other, and leave in the order in which they came.
INSERT INTO usage_events (tenant, type, source, id, time_ms, occurred_ms, start_ms, end_ms, agent, subscription, topic, offset, arrived_ms)
WITH arrayJoin([('2026-10-14', 12, 14), ('2026-10-15', 9, 11)]) AS day, arrayJoin(range(day.2 + day.3)) AS n,
    toUnixTimestamp64Milli(toDateTime64(concat(day.1, ' 06:00:00'), 3, 'UTC')) + n * 60000 AS start, start + 28800000 AS end
SELECT 'acme', 'agent.session', '/acd', concat(day.1, '-', toString(n)), end, start, start, end,
    if(n < day.2, concat('anna-', toString(n)), concat('bert-', toString(n - day.2))), if(n < day.2, 'Sub1', 'Sub2'),
    'usage', 1000 * (day.1 = '2026-10-15') + n, end + 2000;

-- A night of three, from the 24th to the 25th, which has 25 hours.
INSERT INTO usage_events (tenant, type, source, id, time_ms, occurred_ms, start_ms, end_ms, agent, subscription, topic, offset, arrived_ms)
WITH toUnixTimestamp64Milli(toDateTime64('2026-10-24 20:00:00', 3, 'UTC')) AS start, start + 32400000 AS end
SELECT 'acme', 'agent.session', '/acd', concat('night-', toString(number)), end, start, start, end, concat('bert-', toString(number)), 'Sub2',
    'usage', 2000 + number, end + 2000
FROM numbers(3);

-- Calls in the voice menu on the 14th, one every 20 seconds, two minutes each.
INSERT INTO usage_events (tenant, type, source, id, time_ms, occurred_ms, start_ms, end_ms, entry_point, topic, offset, arrived_ms)
WITH toUnixTimestamp64Milli(toDateTime64('2026-10-14 07:00:00', 3, 'UTC')) + number * 20000 AS start, start + 120000 AS end
SELECT 'acme', 'ivr.session', '/acd', concat('call-', toString(number)), end, start, start, end, 'Support', 'usage', 3000 + number, end + 500
FROM numbers(180);

-- And of orders, on the 15th.
INSERT INTO usage_events (tenant, type, source, id, time_ms, occurred_ms, start_ms, end_ms, entry_point, topic, offset, arrived_ms)
WITH toUnixTimestamp64Milli(toDateTime64('2026-10-15 07:00:00', 3, 'UTC')) + number * 60000 AS start, start + 180000 AS end
SELECT 'acme', 'ivr.session', '/acd', concat('order-', toString(number)), end, start, start, end, 'Orders', 'usage', 3200 + number, end + 500
FROM numbers(60);

-- Agents whose sessions name no subscription: dora is mapped to Sub2, and so is carl, until the 20th. The last session is
-- of a year in which acme has no subscription.
INSERT INTO usage_events (tenant, type, source, id, time_ms, occurred_ms, start_ms, end_ms, agent, topic, offset, arrived_ms)
WITH toUnixTimestamp64Milli(toDateTime64(concat(r.1, ' 08:00:00'), 3, 'UTC')) AS start, start + r.3 * 3600000 AS end
SELECT 'acme', 'agent.session', '/acd', concat(r.2, '-', r.1), end, start, start, end, r.2, 'usage', 3300 + r.4, end + 2000
FROM (SELECT arrayJoin([('2026-10-19', 'dora', 6, 0), ('2026-10-19', 'carl', 5, 1), ('2026-10-20', 'carl', 4, 2),
    ('2026-10-21', 'carl', 4, 3), ('2025-12-30', 'dora', 1, 4)]) AS r);

-- Connect: fifty messages on the last evening of September, a hundred in October; three of these arrive days later.
INSERT INTO usage_events (tenant, type, source, id, time_ms, occurred_ms, start_ms, end_ms, channel, quantity, topic, offset, arrived_ms)
WITH toUnixTimestamp64Milli(toDateTime64('2026-09-30 21:10:00', 3, 'UTC')) + number * 60000 AS at
SELECT 'acme', 'connect.usage', '/crm', concat('message-', toString(number)), at, at, -1, -1, if(number % 5 = 0, 'email', 'sms'),
    if(number % 5 = 0, 2.5, 1), 'usage', 4000 + number, at + if(number >= 147, 200000000 + number * 40000, 1000)
FROM numbers(150);

-- The last session of the 15th comes again as it was, and then longer; another is withdrawn, one is open, and one is of
-- a tenant that nobody knows. They arrive a day and two hours after each other.
INSERT INTO usage_events (tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms, agent, subscription, topic, offset, arrived_ms)
WITH toUnixTimestamp64Milli(toDateTime64('2026-10-15 06:19:00', 3, 'UTC')) AS last, toUnixTimestamp64Milli(toDateTime64('2026-10-16 06:00:00', 3, 'UTC')) AS next
SELECT r.1, 'agent.session', '/acd', r.2, r.3, r.4, greatest(r.5, r.6), r.5, r.5, r.6, r.7, 'Sub2', 'usage', 5000 + r.8, next + r.8 * 93600000
FROM (SELECT arrayJoin([
    ('acme', '2026-10-15-19', 0, false, last, last + 28800000, 'bert-10', 0),
    ('acme', '2026-10-15-19', 1, false, last, last + 30600000, 'bert-10', 1),
    ('acme', '2026-10-16-0', 0, false, next, next + 3600000, 'bert-1', 2),
    ('acme', '2026-10-16-0', 1, true, next, next + 3600000, 'bert-1', 3),
    ('acme', '2026-10-16-1', 0, false, next, -1, 'bert-2', 4),
    ('acne', '2026-10-16-2', 0, false, next, next + 3600000, 'bert-3', 5)]) AS r);

INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) VALUES ('usage', 0, 0, 9999, 0, 0, 0);

INSERT INTO rejected (topic, partition, offset, arrived_ms, code, field, value, message, tenant, source, id) VALUES
    ('usage', 0, 6000, 1791970000000, 'end_before_start', 'endTime', '2026-10-14T05:00:00Z', 'the session ends before it starts', 'acme', '/acd', 'x-1'),
    ('usage', 0, 6001, 1791970060000, 'end_before_start', 'endTime', '2026-10-14T05:30:00Z', 'the session ends before it starts', 'acme', '/acd', 'x-2'),
    ('usage', 0, 6002, 1791970120000, 'unknown_type', 'type', 'agent.sesion', 'there is no such type', 'acme', '/crm', 'x-3');

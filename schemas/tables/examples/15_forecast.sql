-- If the rest of the month is like the days until now, what will overage and Connect cost? Until now is the 20th here. A peak is
-- not added up: the greatest excess stands, and only a higher one adds to it. Named tenants' agent overage counts
-- distinct agents instead (R15), and is not forecast here.
WITH toDate32('2026-10-20') AS today, toDate32('2026-10-01') AS first, toDate32('2026-11-01') AS after,
    (SELECT subscription FROM v_primaries
     WHERE tenant = 'acme' AND from_date <= today AND (to_date IS NULL OR to_date > today)) AS payer
SELECT u.meter AS meter, p.kind AS kind, u.until_now AS until_now,
    if(kind = 'connect', u.until_now * dateDiff('day', first, after) / dateDiff('day', first, today), u.until_now) AS by_month_end,
    p.price AS price, round(by_month_end * p.price, 2) AS net, p.currency AS currency
FROM (
    SELECT meter, if(startsWith(meter, 'connect.'), sum(units), toDecimal128(max(greatest(toInt64(peak) - entitled, 0)), 6)) AS until_now
    FROM v_usage_daily
    WHERE tenant = 'acme' AND subscription = '' AND date >= first AND date < today
    GROUP BY meter
) AS u
INNER JOIN (
    SELECT meter, kind, price, currency FROM v_prices
    WHERE tenant = 'acme' AND subscription = payer AND from_date <= today AND (to_date IS NULL OR to_date > today) AND kind != 'commitment'
) AS p ON u.meter = p.meter
ORDER BY meter

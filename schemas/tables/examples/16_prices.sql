-- What does each department commit to, and at which price?
SELECT c.department AS department, c.meter AS meter, c.quantity AS quantity, p.price AS price, p.currency AS currency, c.from_date AS from_date, c.to_date AS to_date
FROM v_commitments AS c
LEFT JOIN v_prices AS p ON c.tenant = p.tenant AND c.subscription = p.subscription AND c.meter = p.meter AND c.from_date = p.from_date AND p.kind = 'commitment'
WHERE c.tenant = 'acme'
ORDER BY department, meter, from_date

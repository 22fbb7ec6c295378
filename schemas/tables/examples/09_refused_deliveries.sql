-- Which deliveries were refused, by code and source, and what is an example of each?
SELECT code, source, count() AS deliveries, any(field) AS field, min(value) AS example
FROM rejected FINAL
GROUP BY code, source
ORDER BY deliveries DESC, code, source

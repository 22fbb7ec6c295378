-- The events of new deliveries, for which $new stands, that are on more than one date in UTC. Grouping by one number is
-- much the quickest, and leaves little to look at. Where events of two tenants share a number, both are read for
-- nothing.
INSERT INTO events_on_several_days (tenant, identity, day)
SELECT tenant, identity, day FROM event_days
WHERE $new AND identity IN (
    SELECT identity FROM event_days WHERE $new GROUP BY identity HAVING min(day) < max(day))

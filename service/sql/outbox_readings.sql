-- What waits: how much, since when, and what was given up.
SELECT (SELECT count(*) FROM event_outbox WHERE state = 'pending') AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT created_at FROM event_outbox WHERE state = 'pending' ORDER BY id LIMIT 1)), 0)::float8 AS age_s,
       (SELECT count(*) FROM event_dead_letters WHERE replayed_at IS NULL) AS dead_letters

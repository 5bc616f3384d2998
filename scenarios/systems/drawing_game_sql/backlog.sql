-- How many events wait to be published, and for how long the oldest of them has.
SELECT count(*) AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age_s
FROM event_outbox
WHERE state = 'pending'

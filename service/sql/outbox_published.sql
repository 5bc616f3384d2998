-- Notes what PubNub accepted.
UPDATE event_outbox o
SET state = 'published',
    published_at = p.published_at,
    first_attempt_at = coalesce(o.first_attempt_at, p.first_attempt_at),
    attempts = p.attempts,
    timetoken = p.timetoken,
    last_error = NULL
FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::int[], $5::bigint[])
     AS p (id, published_at, first_attempt_at, attempts, timetoken)
WHERE o.id = p.id AND o.state <> 'published'

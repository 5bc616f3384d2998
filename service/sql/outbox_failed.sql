-- Notes attempts that failed, of events that will be tried again.
UPDATE event_outbox o
SET first_attempt_at = coalesce(o.first_attempt_at, f.first_attempt_at),
    attempts = f.attempts,
    last_error = f.error
FROM unnest($1::bigint[], $2::timestamptz[], $3::int[], $4::text[]) AS f (id, first_attempt_at, attempts, error)
WHERE o.id = f.id AND o.state = 'pending'

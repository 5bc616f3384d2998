-- Sets aside events that can't be sent, with the reason.
WITH dead AS (
    UPDATE event_outbox o
    SET state = 'dead',
        first_attempt_at = coalesce(o.first_attempt_at, f.first_attempt_at),
        attempts = f.attempts,
        last_error = f.error
    FROM unnest($1::bigint[], $2::timestamptz[], $3::int[], $4::text[]) AS f (id, first_attempt_at, attempts, error)
    WHERE o.id = f.id AND o.state = 'pending'
    RETURNING o.event_id, o.game_id, o.seq, o.attempts, o.last_error
)
INSERT INTO event_dead_letters (event_id, game_id, seq, reason, attempts)
SELECT event_id, game_id, seq, last_error, attempts
FROM dead

-- The next $1 events to publish that are not among those at hand, $2.
SELECT id, event_id::text AS event_id, game_id, seq, payload::text AS payload, attempts, first_attempt_at
FROM event_outbox
WHERE state = 'pending' AND id <> ALL ($2::bigint[])
ORDER BY id
LIMIT $1

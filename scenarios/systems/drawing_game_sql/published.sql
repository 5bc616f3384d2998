-- Events since the row $1, of the games whose id begins with $2; with $3 only those published by now.
SELECT o.id,
       o.event_id::text AS event_id,
       o.game_id AS item,
       o.seq,
       o.created_at,
       o.first_attempt_at,
       o.published_at,
       o.attempts,
       d.reason AS dead
FROM event_outbox o
LEFT JOIN event_dead_letters d ON d.event_id = o.event_id AND d.replayed_at IS NULL
WHERE o.id > $1
  AND starts_with(o.game_id, $2)
  AND (NOT $3 OR o.published_at IS NOT NULL)
ORDER BY o.id

-- The oldest dead letters that were not replayed, as `/functions/v1/dead-letters` shows them.
SELECT event_id::text AS "eventId",
       game_id AS "gameId",
       seq,
       reason,
       attempts,
       iso8601(failed_at) AS "failedAt"
FROM event_dead_letters
WHERE replayed_at IS NULL
ORDER BY id
LIMIT 1000

-- The answers of get-game-timer for the games $1, on the database's clock.
SELECT id,
       json_build_object(
           'timeRemaining', greatest(0, round(extract(epoch FROM due_at - statement_timestamp()), 3)),
           'phaseDuration', CASE status
               WHEN 'briefing' THEN briefing_duration_s
               WHEN 'drawing' THEN drawing_duration_s
               WHEN 'voting' THEN voting_duration_s
           END,
           'phaseExpiresAt', iso8601(due_at),
           'serverTime', iso8601(statement_timestamp()),
           'phase', status,
           'gracePeriod', grace_until IS NOT NULL
       )::text AS answer
FROM games
WHERE id = ANY ($1::text[])

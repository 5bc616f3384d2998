-- Removes the games whose ids begin with $1 and all that belongs to them; returns what there was.
WITH had AS (
    SELECT (SELECT count(*) FROM games WHERE starts_with(id, $1)) AS games,
           (SELECT count(*) FROM game_participants WHERE starts_with(game_id, $1)) AS participants,
           (SELECT count(*) FROM submissions WHERE starts_with(game_id, $1)) AS submissions,
           (SELECT count(*) FROM event_outbox WHERE starts_with(game_id, $1)) AS events,
           (SELECT count(*) FROM game_transitions WHERE starts_with(game_id, $1)) AS transitions
),
-- Players, drawings and dead letters go with what they belong to.
no_games AS (DELETE FROM games WHERE starts_with(id, $1)),
no_events AS (DELETE FROM event_outbox WHERE starts_with(game_id, $1)),
no_transitions AS (DELETE FROM game_transitions WHERE starts_with(game_id, $1))
SELECT games, participants, submissions, events, transitions FROM had

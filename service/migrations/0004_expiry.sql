-- The log keeps when the phase ends that a game was moved to: what players are told can be compared with it.

ALTER TABLE game_transitions ADD COLUMN expires_at timestamptz;

CREATE OR REPLACE FUNCTION log_game_transition() RETURNS trigger
LANGUAGE plpgsql
SET enable_nestloop = off
AS $$
DECLARE
    -- Left by broadcast_game_event() in this statement, and taken away here.
    took_ms float8 := nullif(current_setting('stormwatch.trigger_ms', true), '')::float8;
    source text := coalesce(nullif(current_setting('stormwatch.source', true), ''), 'manual');
    request_id text := nullif(current_setting('stormwatch.request_id', true), '');
BEGIN
    INSERT INTO game_transitions
        (game_id, seq, event_id, from_status, to_status, due_at, transitioned_at, trigger_ms, request_id, source,
         expires_at)
    SELECT n.id, n.event_seq, CASE WHEN took_ms IS NOT NULL THEN n.last_event_id END, o.status, n.status,
           CASE WHEN source = 'timer' THEN o.due_at END, n.transitioned_at, took_ms, request_id, source,
           n.phase_expires_at
    FROM old_games o
    JOIN new_games n USING (id)
    WHERE n.status <> o.status;
    IF took_ms IS NOT NULL THEN
        PERFORM set_config('stormwatch.trigger_ms', '', true);
    END IF;
    RETURN NULL;
END
$$;

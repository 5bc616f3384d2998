-- Every change of a game's status becomes an event in the outbox, in the same transaction, and a row
-- of the transition log. The log has a trigger of its own: dropping `game_status_change_trigger` stops
-- the events (a rollback of the requirements), not the games and not the log.

CREATE TABLE event_outbox (
    id bigserial PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    game_id text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    type text NOT NULL,
    -- The message as subscribers get it: fixed when the game moved, whenever it is sent.
    payload json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'published', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    first_attempt_at timestamptz,
    published_at timestamptz,
    timetoken bigint,
    last_error text,
    CONSTRAINT event_outbox_published_has_a_time CHECK ((published_at IS NOT NULL) = (state = 'published')),
    UNIQUE (game_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.2);

-- Sorted by id, a game's events are in the order of their seq, and whoever can see one can see those
-- before it: changes of one game wait for each other at its row.
CREATE INDEX event_outbox_pending ON event_outbox (id) WHERE state = 'pending';

CREATE TABLE event_dead_letters (
    id bigserial PRIMARY KEY,
    event_id uuid NOT NULL REFERENCES event_outbox (event_id) ON DELETE CASCADE,
    game_id text NOT NULL,
    seq bigint NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamptz
);

-- An event is dead once at a time.
CREATE UNIQUE INDEX event_dead_letters_waiting ON event_dead_letters (event_id) WHERE replayed_at IS NULL;
CREATE INDEX event_dead_letters_event ON event_dead_letters (event_id);

CREATE TABLE game_transitions (
    id bigserial PRIMARY KEY,
    game_id text NOT NULL,
    seq bigint NOT NULL,
    -- Null: no event was made, as the trigger was dropped.
    event_id uuid,
    from_status text NOT NULL,
    to_status text NOT NULL,
    -- The expiry that was due, grace included; null: not moved by its timer.
    due_at timestamptz,
    transitioned_at timestamptz NOT NULL,
    -- How long the execution of `game_status_change_trigger` took that made the event.
    trigger_ms double precision,
    request_id text,
    source text NOT NULL CHECK (source IN ('timer', 'manual')),
    CONSTRAINT game_transitions_never_early CHECK (due_at IS NULL OR due_at <= transitioned_at),
    UNIQUE (game_id, seq)
);

CREATE FUNCTION iso8601(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

CREATE FUNCTION broadcast_game_event() RETURNS trigger
LANGUAGE plpgsql
-- Its plan is kept between calls: one made for a single game must not be a nested loop over 10,000.
SET enable_nestloop = off
AS $$
DECLARE
    started_at timestamptz := clock_timestamp();
    request_id text := nullif(current_setting('stormwatch.request_id', true), '');
    made bigint;
BEGIN
    INSERT INTO event_outbox (event_id, game_id, seq, type, payload)
    SELECT n.last_event_id, n.id, n.event_seq, 'phase_changed',
           json_build_object(
               'type', 'phase_changed',
               'gameId', n.id,
               'userId', 'system',
               'timestamp', floor(extract(epoch FROM n.transitioned_at) * 1000)::bigint,
               'version', '2.0.0',
               'eventId', n.last_event_id,
               'seq', n.event_seq,
               'requestId', request_id,
               'data', json_build_object(
                   'previousPhase', n.previous_status,
                   'newPhase', n.status,
                   'transitionedAt', iso8601(n.transitioned_at),
                   'phaseExpiresAt', iso8601(n.phase_expires_at)))
    FROM old_games o
    JOIN new_games n USING (id)
    WHERE n.status <> o.status;
    GET DIAGNOSTICS made = ROW_COUNT;
    IF made > 0 THEN
        PERFORM pg_notify('event_outbox', '');
        PERFORM set_config(
            'stormwatch.trigger_ms',
            (extract(epoch FROM clock_timestamp() - started_at) * 1000)::text,
            true);
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION broadcast_game_event() IS
    'Writes an event into event_outbox for each game whose status a statement changed';

CREATE FUNCTION log_game_transition() RETURNS trigger
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
        (game_id, seq, event_id, from_status, to_status, due_at, transitioned_at, trigger_ms, request_id, source)
    SELECT n.id, n.event_seq, CASE WHEN took_ms IS NOT NULL THEN n.last_event_id END, o.status, n.status,
           CASE WHEN source = 'timer' THEN o.due_at END, n.transitioned_at, took_ms, request_id, source
    FROM old_games o
    JOIN new_games n USING (id)
    WHERE n.status <> o.status;
    IF took_ms IS NOT NULL THEN
        PERFORM set_config('stormwatch.trigger_ms', '', true);
    END IF;
    RETURN NULL;
END
$$;

-- Triggers of one statement run in the order of their names: first the event, then the log.
CREATE TRIGGER game_status_change_trigger AFTER UPDATE ON games
REFERENCING OLD TABLE AS old_games NEW TABLE AS new_games
FOR EACH STATEMENT EXECUTE FUNCTION broadcast_game_event();

CREATE TRIGGER game_transition_log_trigger AFTER UPDATE ON games
REFERENCING OLD TABLE AS old_games NEW TABLE AS new_games
FOR EACH STATEMENT EXECUTE FUNCTION log_game_transition();

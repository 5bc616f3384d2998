-- Games, who plays them, what they hand in; and the rules that every change of a game obeys,
-- whoever makes it (the monitor, the API, an operator in psql).

CREATE FUNCTION is_valid_name(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$';

COMMENT ON FUNCTION is_valid_name(text) IS
    'Ids become parts of PubNub channel names (at most 92 characters, no commas, slashes, colons, dots or stars)';

CREATE TABLE games (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text CHECK (is_valid_name(id)),
    status text NOT NULL DEFAULT 'waiting'
        CHECK (status IN ('waiting', 'briefing', 'drawing', 'voting', 'completed', 'cancelled')),
    prompt text NOT NULL CHECK (length(prompt) BETWEEN 1 AND 1000),
    max_players integer NOT NULL DEFAULT 4 CHECK (max_players BETWEEN 1 AND 100),
    briefing_duration_s numeric(10, 3) NOT NULL DEFAULT 30 CHECK (briefing_duration_s BETWEEN 0.1 AND 86400),
    drawing_duration_s numeric(10, 3) NOT NULL DEFAULT 60 CHECK (drawing_duration_s BETWEEN 0.1 AND 86400),
    voting_duration_s numeric(10, 3) NOT NULL DEFAULT 30 CHECK (voting_duration_s BETWEEN 0.1 AND 86400),
    phase_started_at timestamptz,
    -- Bounded, so that adding a grace period to it can't fail a whole tick.
    phase_expires_at timestamptz CHECK (phase_expires_at BETWEEN '2000-01-01Z' AND '2200-01-01Z'),
    grace_used boolean NOT NULL DEFAULT false,
    grace_until timestamptz,
    -- When the phase really ends: what the monitor looks for.
    due_at timestamptz GENERATED ALWAYS AS (greatest(phase_expires_at, grace_until)) STORED,
    previous_status text,
    -- Numbers the game's changes of status, from 1.
    event_seq bigint NOT NULL DEFAULT 0,
    last_event_id uuid,
    transitioned_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT games_timer_runs_in_timed_phases_only
        CHECK ((phase_expires_at IS NOT NULL) = (status IN ('briefing', 'drawing', 'voting'))),
    CONSTRAINT games_grace_belongs_to_drawing
        CHECK (grace_until IS NULL OR (grace_used AND status = 'drawing'))
) WITH (fillfactor = 80);

-- Only games whose timer runs are in it: its size is that of what goes on, not of what has been.
CREATE INDEX games_due ON games (due_at) WHERE status IN ('briefing', 'drawing', 'voting');

CREATE TABLE game_participants (
    game_id text NOT NULL REFERENCES games ON DELETE CASCADE,
    user_id text NOT NULL CHECK (is_valid_name(user_id)),
    joined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (game_id, user_id)
);

CREATE TABLE submissions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    game_id text NOT NULL,
    user_id text NOT NULL,
    content jsonb NOT NULL CHECK (pg_column_size(content) <= 262144),
    submitted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (game_id, user_id),
    -- Only who plays can hand in.
    FOREIGN KEY (game_id, user_id) REFERENCES game_participants ON DELETE CASCADE
);

CREATE FUNCTION next_status(status text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE status
    WHEN 'waiting' THEN 'briefing'
    WHEN 'briefing' THEN 'drawing'
    WHEN 'drawing' THEN 'voting'
    WHEN 'voting' THEN 'completed'
END;

-- Refuses what is no step of a game, and starts the timer of the phase it steps into.
CREATE FUNCTION guard_game_update() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    moved_at timestamptz := clock_timestamp();
BEGIN
    NEW.updated_at := moved_at;
    IF NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'the id of a game can not be changed' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF NEW.status IS DISTINCT FROM next_status(OLD.status)
       AND NOT (NEW.status = 'cancelled' AND OLD.status <> 'completed') THEN
        RAISE EXCEPTION 'game % can not move from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', HINT = 'waiting, briefing, drawing, voting, completed; or cancelled';
    END IF;
    NEW.previous_status := OLD.status;
    NEW.event_seq := OLD.event_seq + 1;
    NEW.last_event_id := gen_random_uuid();
    NEW.transitioned_at := moved_at;
    NEW.phase_started_at := moved_at;
    NEW.grace_used := false;
    NEW.grace_until := NULL;
    NEW.phase_expires_at := moved_at + make_interval(secs => (CASE NEW.status
        WHEN 'briefing' THEN NEW.briefing_duration_s
        WHEN 'drawing' THEN NEW.drawing_duration_s
        WHEN 'voting' THEN NEW.voting_duration_s
    END)::float8);
    RETURN NEW;
END
$$;

CREATE TRIGGER game_guard_trigger BEFORE UPDATE ON games
FOR EACH ROW EXECUTE FUNCTION guard_game_update();

-- Joins of one game take turns, so that two can't both be the last. The lock is not the game's row:
-- a tick passes over games whose row is locked.
CREATE FUNCTION guard_join() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    game record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('join ' || NEW.game_id, 0));
    SELECT max_players, status INTO game FROM games WHERE id = NEW.game_id;
    IF game.status IN ('completed', 'cancelled') THEN
        RAISE EXCEPTION 'game % is %', NEW.game_id, game.status USING ERRCODE = 'check_violation';
    END IF;
    IF (SELECT count(*) FROM game_participants WHERE game_id = NEW.game_id AND user_id <> NEW.user_id)
       >= game.max_players THEN
        RAISE EXCEPTION 'game % is full: % players', NEW.game_id, game.max_players
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER game_join_trigger BEFORE INSERT ON game_participants
FOR EACH ROW EXECUTE FUNCTION guard_join();

-- What the monitor, the API and tests call.

CREATE FUNCTION find_expired_games(p_limit integer DEFAULT 1000)
RETURNS TABLE (game_id text, status text, next_status text, due_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT g.id, g.status, next_status(g.status), g.due_at
    FROM games g
    WHERE g.status IN ('briefing', 'drawing', 'voting') AND g.due_at <= statement_timestamp()
    ORDER BY g.due_at
    LIMIT p_limit
$$;

COMMENT ON FUNCTION find_expired_games(integer) IS 'Games whose phase is over, the longest overdue first';

-- Moves one game by hand. PT404 and PT409 are PostgREST's way to choose an HTTP status.
CREATE FUNCTION transition_game_status(
    p_game_id text,
    p_new_status text,
    p_expected_status text DEFAULT NULL,
    p_request_id text DEFAULT NULL
) RETURNS games
LANGUAGE plpgsql AS $$
DECLARE
    game games;
BEGIN
    SELECT * INTO game FROM games WHERE id = p_game_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'game % does not exist', p_game_id USING ERRCODE = 'PT404';
    END IF;
    IF p_expected_status IS NOT NULL AND game.status <> p_expected_status THEN
        RAISE EXCEPTION 'game % is %, not %', p_game_id, game.status, p_expected_status
            USING ERRCODE = 'PT409';
    END IF;
    IF p_new_status IS NULL OR p_new_status = game.status THEN
        RAISE EXCEPTION 'game % can not move from % to %', p_game_id, game.status, coalesce(p_new_status, 'null')
            USING ERRCODE = 'check_violation';
    END IF;
    IF p_request_id IS NOT NULL THEN
        PERFORM set_config('stormwatch.request_id', p_request_id, true);
    END IF;
    UPDATE games SET status = p_new_status WHERE id = p_game_id RETURNING * INTO game;
    RETURN game;
END
$$;

COMMENT ON FUNCTION transition_game_status(text, text, text, text) IS
    'Moves a game to p_new_status, if it is in p_expected_status (null: in any from which it may)';

-- The requirements' test data; calling it again starts them afresh.
CREATE FUNCTION setup_test_data() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM event_outbox WHERE game_id IN ('test-expired-1', 'test-expired-2', 'test-active-1');
    DELETE FROM game_transitions WHERE game_id IN ('test-expired-1', 'test-expired-2', 'test-active-1');
    DELETE FROM games WHERE id IN ('test-expired-1', 'test-expired-2', 'test-active-1');
    INSERT INTO games (id, status, prompt, max_players, phase_expires_at)
    VALUES
        ('test-expired-1', 'drawing', 'Test prompt 1', 4, NOW() - INTERVAL '1 minute'),
        ('test-expired-2', 'voting', 'Test prompt 2', 6, NOW() - INTERVAL '30 seconds'),
        ('test-active-1', 'briefing', 'Test prompt 3', 4, NOW() + INTERVAL '5 minutes');
END
$$;

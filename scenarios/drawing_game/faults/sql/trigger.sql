-- name: find
-- The trigger's definition, when it fires (O: as a rule), its comment.
SELECT pg_get_triggerdef(t.oid) AS definition,
       t.tgenabled::text AS enabled,
       quote_literal(obj_description(t.oid, 'pg_trigger')) AS comment
FROM pg_trigger t
WHERE t.tgrelid = to_regclass('games') AND t.tgname = 'game_status_change_trigger' AND NOT t.tgisinternal

-- name: drop
DROP TRIGGER IF EXISTS game_status_change_trigger ON games

-- name: enable
ALTER TABLE games {how} TRIGGER game_status_change_trigger

-- name: comment
COMMENT ON TRIGGER game_status_change_trigger ON games IS {comment}

-- name: silent
SELECT count(*) FROM game_transitions WHERE event_id IS NULL

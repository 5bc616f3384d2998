-- name: put
-- A watch on {table}: its trigger notes the moves of one run's items. Where it can't, it counts that and lets the
-- system go on. All of it is in one schema of ours; lock_timeout, so that nobody waits long behind us.
SET lock_timeout = '2s';
CREATE SCHEMA {schema};
CREATE TABLE {schema}.moves (
    id bigserial PRIMARY KEY,
    item text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    due_at timestamptz,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE SEQUENCE {schema}.missed;
CREATE FUNCTION {schema}.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.moves (item, from_state, to_state, due_at)
    VALUES (NEW.{item}::text, OLD.{state}::text, NEW.{state}::text,
            CASE WHEN OLD.{state}::text IN ({timed}) AND NEW.{state}::text NOT IN ({by_hand}) THEN {old_due_at} END);
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    PERFORM nextval('{schema}.missed');
    RETURN NULL;
END $$;
CREATE TRIGGER {schema} AFTER UPDATE ON {table} FOR EACH ROW
WHEN (OLD.{state} IS DISTINCT FROM NEW.{state} AND starts_with(NEW.{mark}::text, {prefix}))
EXECUTE FUNCTION {schema}.note()

-- name: take_away
DROP TRIGGER IF EXISTS {schema} ON {table}; DROP SCHEMA IF EXISTS {schema} CASCADE

-- name: missed
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {schema}.missed

-- name: moves
-- Moves after the row $1 of items with the prefix $2, which are all that the watch notes.
SELECT id, item, from_state, to_state, due_at, moved_at,
       CASE WHEN current_setting('track_commit_timestamp')::boolean
            THEN pg_xact_commit_timestamp(xmin) END AS committed_at
FROM {schema}.moves
WHERE id > $1 AND $2::text IS NOT NULL
ORDER BY id

-- name: states
-- Items with the prefix $1, as they are now.
SELECT {item}::text AS item, {state}::text AS state, {due_at} AS due_at
FROM {table}
WHERE starts_with({mark}::text, $1)

-- name: overdue
-- Items with the prefix $1 whose timer is past due now.
SELECT {item}::text AS id, {state}::text AS state, {due_at} AS due_at, clock_timestamp() AS looked_at
FROM {table}
WHERE starts_with({mark}::text, $1) AND {state}::text IN ({timed}) AND {due_at} < clock_timestamp()
ORDER BY 1

-- name: due_soon
-- How many items with the prefix $1 fall due in $2 to $3 seconds from now.
SELECT count(*)
FROM {table}
WHERE starts_with({mark}::text, $1)
  AND {state}::text IN ({timed})
  AND {due_at} BETWEEN clock_timestamp() + make_interval(secs => $2)
                   AND clock_timestamp() + make_interval(secs => $3)

-- name: others_overdue
-- How many items without the prefix $1 have been past due for over a second.
SELECT count(*)
FROM {table}
WHERE NOT starts_with({mark}::text, $1)
  AND {state}::text IN ({timed})
  AND {due_at} < clock_timestamp() - interval '1 second'

-- name: hold_statements
-- Holds up each statement of a tick that updates items; of ticks whose session's name matches {process}.
-- The sequence has the latest transaction that was held: it moves also if that rolls back.
SET lock_timeout = '{limit}';
CREATE SCHEMA {schema};
CREATE SEQUENCE {schema}.held;
CREATE FUNCTION {schema}.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF current_setting('application_name') ~ '{process}' AND EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = {classid}::bigint::oid AND objid = {objid}::bigint::oid AND objsubid = {objsubid})
    THEN
        PERFORM setval('{schema}.held', pg_current_xact_id()::text::bigint);
        PERFORM pg_sleep({delay_s});
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER {schema} BEFORE UPDATE ON {items} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.hold()

-- name: hold_commits
-- Holds up the COMMIT of each tick that moves items, once for all of its rows. Nor must the server, as that moment
-- is drawn out, look meanwhile whether its client is gone: it would roll back.
SET lock_timeout = '{limit}';
CREATE SCHEMA {schema};
CREATE SEQUENCE {schema}.held;
CREATE FUNCTION {schema}.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF current_setting('{schema}.held', true) IS DISTINCT FROM 'yes' AND EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = {classid}::bigint::oid AND objid = {objid}::bigint::oid AND objsubid = {objsubid})
    THEN
        PERFORM set_config('{schema}.held', 'yes', true);
        PERFORM set_config('client_connection_check_interval', '0', true);
        PERFORM setval('{schema}.held', pg_current_xact_id()::text::bigint);
        PERFORM pg_sleep({delay_s});
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER {schema} AFTER UPDATE ON {items} DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (OLD.{state} <> NEW.{state}) EXECUTE FUNCTION {schema}.hold()

-- name: held
SELECT is_called FROM {schema}.held

-- name: at_tick
-- A session that holds the lock $1 $2 $3 (as pg_locks has its key) and whose name matches $4; with $5 one that is
-- held up there.
SELECT a.pid
FROM pg_stat_activity AS a
JOIN pg_locks AS l USING (pid)
WHERE l.locktype = 'advisory' AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid AND l.objsubid = $3
  AND a.application_name ~ $4
  AND (NOT $5 OR a.wait_event = 'PgSleep')
LIMIT 1

-- name: outcome
SELECT pg_xact_status(last_value::text::xid8) FROM {schema}.held

-- name: ended
SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)

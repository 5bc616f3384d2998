-- name: leave_word
CREATE SCHEMA {schema};
CREATE TABLE {schema}.undo (statement text)

-- name: word
INSERT INTO {schema}.undo VALUES ($1)

-- name: drop_schema
DROP SCHEMA IF EXISTS {schema} CASCADE

-- name: drop_trigger
DROP TRIGGER IF EXISTS {trigger} ON {table}

-- name: terminate_others
-- Cuts the sessions of the service: not ours, whose names are like $1. Where the service has a database user of
-- its own, only that user's.
SELECT count(pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND datname = current_database()
  AND application_name NOT LIKE $1
  AND usename NOT LIKE 'stormwatch\_outsider\_%'
  AND (usename <> current_user OR NOT EXISTS (
      SELECT FROM pg_stat_activity AS other
      WHERE other.backend_type = 'client backend'
        AND other.usename <> current_user
        AND other.usename NOT LIKE 'stormwatch\_outsider\_%'))

-- name: make_outsider
-- An ordinary user: superusers get the connections that are kept for them, too.
CREATE ROLE {outsider} LOGIN PASSWORD '{password}'

-- name: drop_outsider
DROP ROLE IF EXISTS {outsider}

-- name: slow
-- The sequence counts the statements that were slowed: it moves also if they roll back.
SET lock_timeout = '{limit}';
CREATE SCHEMA {schema};
CREATE SEQUENCE {schema}.slowed;
CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM nextval('{schema}.slowed');
    PERFORM pg_sleep({delay_s});
    RETURN NULL;
END $$

-- name: slow_table
CREATE TRIGGER {schema} BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.slow()

-- name: slowed
SELECT is_called FROM {schema}.slowed

-- name: hold
SET lock_timeout = '{limit}';
BEGIN

-- name: blocked
SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))

-- name: lock_table
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE

-- name: lock_key
SELECT pg_advisory_lock({key})

-- name: begin_reading
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM {table}

-- name: forbid_writing
ALTER SYSTEM SET default_transaction_read_only = on

-- name: allow_writing
ALTER SYSTEM RESET default_transaction_read_only

-- name: reload
SELECT pg_reload_conf()

-- name: is_read_only
SELECT current_setting('transaction_read_only')::boolean

-- name: rolled_back
SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()

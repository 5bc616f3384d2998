-- name: end_sessions
-- Ends what faults have left open: sessions of the name $1, and those of their outsiders.
SELECT count(pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE pid <> pg_backend_pid()
  AND (application_name = $1 OR usename LIKE 'stormwatch\_outsider\_%')

-- name: schemas
-- Ours alone: what stands in them is run as who we are.
SELECT nspname
FROM pg_namespace
WHERE starts_with(nspname, $1) AND pg_get_userbyid(nspowner) = current_user
ORDER BY 1

-- name: triggers
-- Tables whose trigger runs a function of a schema: dropping the schema alone would lock them all at once.
SELECT t.tgname, t.tgrelid::regclass::text
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = $1
ORDER BY 2

-- name: has_word
SELECT to_regclass($1 || '.undo') IS NOT NULL

-- name: word
SELECT statement FROM {schema}.undo

-- name: outsiders
SELECT rolname FROM pg_roles WHERE rolname LIKE 'stormwatch\_outsider\_%' ORDER BY 1

-- name: may_read_settings
SELECT has_table_privilege('pg_file_settings', 'SELECT')

-- name: is_read_only
SELECT count(*)
FROM pg_file_settings
WHERE name = 'default_transaction_read_only' AND sourcefile LIKE '%postgresql.auto.conf'

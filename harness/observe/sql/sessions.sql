-- How many sessions there are in this database, but for ours (their names are like $1) and the faults' outsiders.
SELECT count(*) AS sessions
FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND datname = current_database()
  AND application_name NOT LIKE $1
  AND usename NOT LIKE 'stormwatch\_outsider\_%'

-- How many sessions there are in this database, but for the faults' outsiders.
SELECT count(*) AS sessions
FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND datname = current_database()
  AND usename NOT LIKE 'stormwatch\_outsider\_%'

-- How many sessions others than the harness have in this database.
SELECT count(*) AS sessions
FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND datname = current_database()
  AND application_name NOT IN ('stormwatch-observer', 'stormwatch-fault')
  AND usename NOT LIKE 'stormwatch\_outsider\_%'

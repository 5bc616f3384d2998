-- One statement, so that all of them have the same expiry.
INSERT INTO games (id, status, prompt, phase_started_at, phase_expires_at)
SELECT $1 || n, 'voting', 'A row of lighthouses', statement_timestamp(),
       statement_timestamp() + make_interval(secs => $2)
FROM generate_series(1, $3::int) AS n

INSERT INTO lots (title, state, bidding_s, ends_at)
SELECT $1 || n, 'bidding', 1, statement_timestamp() + make_interval(secs => $2)
FROM generate_series(1, $3::int) AS n

-- How many games whose id begins with $1 fall due in $2 to $3 seconds from now.
SELECT count(*)
FROM games
WHERE starts_with(id, $1)
  AND status IN ('briefing', 'drawing', 'voting')
  AND greatest(phase_expires_at, grace_until) BETWEEN clock_timestamp() + make_interval(secs => $2)
                                                  AND clock_timestamp() + make_interval(secs => $3)

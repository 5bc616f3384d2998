-- Games whose id begins with $1 and whose phase is past due now.
SELECT id,
       status AS state,
       greatest(phase_expires_at, grace_until) AS due_at,
       clock_timestamp() AS looked_at
FROM games
WHERE starts_with(id, $1)
  AND status IN ('briefing', 'drawing', 'voting')
  AND greatest(phase_expires_at, grace_until) < clock_timestamp()
ORDER BY id

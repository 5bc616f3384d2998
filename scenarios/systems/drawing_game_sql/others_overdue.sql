-- How many games whose id does not begin with $1 have been past due for over a second: of others, or left over.
SELECT count(*) AS games
FROM games
WHERE NOT starts_with(id, $1)
  AND status IN ('briefing', 'drawing', 'voting')
  AND greatest(phase_expires_at, grace_until) < clock_timestamp() - interval '1 second'

-- Drawing phases that are over at $3 for the first time get $2 more seconds if players have not handed in yet.
UPDATE games g
SET grace_used = true,
    grace_until = g.phase_expires_at + make_interval(secs => $2)
WHERE g.id = ANY (ARRAY(
    SELECT e.id
    FROM games e
    WHERE e.status = 'drawing'
      AND NOT e.grace_used
      AND e.due_at <= $3
      AND EXISTS (
          SELECT FROM game_participants p
          WHERE p.game_id = e.id
            AND NOT EXISTS (SELECT FROM submissions s WHERE s.game_id = p.game_id AND s.user_id = p.user_id))
    ORDER BY e.due_at
    LIMIT $1
    FOR NO KEY UPDATE SKIP LOCKED))

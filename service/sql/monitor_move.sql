-- Moves up to $1 games whose phase is over at $2, the longest overdue first. Games that someone else is just
-- changing are left for the next tick. NO KEY: a player's row being added must not hold a game back.
UPDATE games g
SET status = next_status(g.status)
WHERE g.id = ANY (ARRAY(
    SELECT e.id
    FROM games e
    WHERE e.status IN ('briefing', 'drawing', 'voting')
      AND e.due_at <= $2
    ORDER BY e.due_at
    LIMIT $1
    FOR NO KEY UPDATE SKIP LOCKED))

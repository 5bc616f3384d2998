SELECT id FROM games WHERE status IN ('briefing', 'drawing', 'voting') ORDER BY id LIMIT $1 FOR UPDATE

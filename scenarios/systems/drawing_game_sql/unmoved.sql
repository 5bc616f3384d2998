SELECT count(*) FROM games WHERE starts_with(id, $1) AND status = 'voting'

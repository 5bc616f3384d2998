SELECT id FROM games ORDER BY created_at DESC LIMIT 1

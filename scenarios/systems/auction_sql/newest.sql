SELECT title FROM lots ORDER BY added_at DESC LIMIT 1

-- Removes up to $2 events that were published more than $1 seconds ago: the oldest, at the table's beginning.
DELETE FROM event_outbox
WHERE id = ANY (ARRAY(
    SELECT id
    FROM event_outbox
    WHERE state = 'published' AND published_at < now() - make_interval(secs => $1)
    ORDER BY id
    LIMIT $2))

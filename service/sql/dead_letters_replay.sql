-- Puts dead letters back into the outbox: those of the events $1 (null: any), of the game $2 (null: any), $3 at most.
WITH chosen AS (
    SELECT id, event_id
    FROM event_dead_letters
    WHERE replayed_at IS NULL
      AND ($1::uuid[] IS NULL OR event_id = ANY ($1))
      AND ($2::text IS NULL OR game_id = $2)
    ORDER BY id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), replayed AS (
    UPDATE event_dead_letters d
    SET replayed_at = clock_timestamp()
    FROM chosen c
    WHERE d.id = c.id
    RETURNING d.event_id
), pending AS (
    UPDATE event_outbox o
    SET state = 'pending'
    FROM replayed r
    WHERE o.event_id = r.event_id AND o.state = 'dead'
    RETURNING o.event_id
), woken AS (
    SELECT pg_notify('event_outbox', '') FROM (SELECT count(*) AS n FROM pending) AS p WHERE p.n > 0
)
SELECT p.event_id::text AS event_id FROM pending p LEFT JOIN woken ON true

-- The games that runs of this harness made and did not remove, by the prefix of their run.
SELECT substr(id, 1, $1::int) AS prefix, count(*) FILTER (WHERE kind = 'game') AS games,
       count(*) FILTER (WHERE kind <> 'game') AS others, max(at) AS newest
FROM (
    SELECT id, 'game' AS kind, created_at AS at FROM games
    UNION ALL
    SELECT game_id, 'event', created_at FROM event_outbox
    UNION ALL
    SELECT game_id, 'transition', transitioned_at FROM game_transitions
) AS found
WHERE id ~ $2
GROUP BY 1
ORDER BY max(at)

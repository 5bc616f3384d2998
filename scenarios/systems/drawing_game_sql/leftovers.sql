-- What runs have left whose marks match the pattern $1, by the prefix of the run.
SELECT substring(id from $1) AS prefix, max(at) AS newest,
       count(*) FILTER (WHERE kind = 'game') AS games,
       count(*) FILTER (WHERE kind = 'event') AS events,
       count(*) FILTER (WHERE kind = 'transition') AS transitions
FROM (
    SELECT id, 'game' AS kind, created_at AS at FROM games
    UNION ALL
    SELECT game_id, 'event', created_at FROM event_outbox
    UNION ALL
    SELECT game_id, 'transition', transitioned_at FROM game_transitions
) AS found
WHERE id ~ $1
GROUP BY 1
ORDER BY 2

-- What runs have left whose marks match the pattern $1, by the prefix of the run.
SELECT substring(mark from $1) AS prefix, max(at) AS newest,
       count(*) FILTER (WHERE kind = 'lot') AS lots,
       count(*) FILTER (WHERE kind = 'bidder') AS bidders
FROM (
    SELECT title AS mark, 'lot' AS kind, added_at AS at FROM lots
    UNION ALL
    SELECT name, 'bidder', added_at FROM bidders
) AS found
WHERE mark ~ $1
GROUP BY 1
ORDER BY 2

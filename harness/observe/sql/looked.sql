-- The states of items, with the time before which the look at them began, and the time by which it was over. Where
-- there is no item there is one row all the same.
SELECT looked.*, statement_timestamp() AS asked_at, clock_timestamp() AS looked_at
FROM (VALUES (true)) AS always LEFT JOIN (
{states}
) AS looked ON true

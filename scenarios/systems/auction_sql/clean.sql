-- Removes the lots and the bidders whose marks begin with $1, and their bids; returns what there was.
WITH had AS (
    SELECT (SELECT count(*) FROM lots WHERE starts_with(title, $1)) AS lots,
           (SELECT count(*) FROM bidders WHERE starts_with(name, $1)) AS bidders,
           (SELECT count(*) FROM bids JOIN lots ON lots.id = lot_id WHERE starts_with(title, $1)) AS bids
),
no_bids AS (DELETE FROM bids USING lots WHERE lots.id = lot_id AND starts_with(title, $1)),
no_lots AS (DELETE FROM lots WHERE starts_with(title, $1)),
no_bidders AS (DELETE FROM bidders WHERE starts_with(name, $1))
SELECT lots, bidders, bids FROM had

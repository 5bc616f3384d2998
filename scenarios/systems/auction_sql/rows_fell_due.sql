-- A tick skips locked rows: one of ours (their xmax is our transaction) fell due since, and can't have been moved.
SELECT EXISTS (
    SELECT FROM lots WHERE xmax = pg_current_xact_id()::xid AND ends_at BETWEEN now() AND clock_timestamp())

-- Who skips locked rows does not wait for them: one of ours (their xmax is our transaction) fell due since, and
-- can't have been moved.
SELECT EXISTS (
    SELECT FROM games
    WHERE xmax = pg_current_xact_id()::xid AND phase_expires_at BETWEEN now() AND clock_timestamp())

-- The monitor's lock: gone with its transaction, so that a dead holder blocks nobody.
SELECT pg_advisory_xact_lock($1)

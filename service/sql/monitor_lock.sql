-- The monitor's lock: gone with its transaction, so that a dead holder blocks nobody. The value is the moment
-- of which the tick moves what is over.
SELECT clock_timestamp() FROM pg_advisory_xact_lock($1)

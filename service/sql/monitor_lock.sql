-- The monitor's lock: gone with its transaction, so that a dead holder blocks nobody. The first value is the
-- moment of which the tick moves what is over. From then on locks are waited for longer ($2 ms): that nobody
-- else ticks does not mean that nobody else is at work.
SELECT clock_timestamp(), set_config('lock_timeout', $2, true) FROM pg_advisory_xact_lock($1)

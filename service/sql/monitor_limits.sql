-- For the tick's transaction: $1 ms to wait for locks, $2 ms for a statement, the request $3, timers as the source.
SELECT set_config('lock_timeout', $1, true),
       set_config('statement_timeout', $2, true),
       set_config('stormwatch.request_id', $3, true),
       set_config('stormwatch.source', 'timer', true)

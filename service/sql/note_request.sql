-- For the transaction: the request that what it moves is noted with.
SELECT set_config('stormwatch.request_id', $1, true)

-- What moved since the row $1, of the games whose id begins with $2.
-- The commit's time is there only where Postgres keeps it (track_commit_timestamp = on).
SELECT id,
       game_id AS item,
       seq,
       event_id::text AS event_id,
       from_status AS from_state,
       to_status AS to_state,
       due_at,
       transitioned_at AS moved_at,
       trigger_ms,
       expires_at AS ends_at,
       json_build_object(
           'type', 'phase_changed',
           'seq', seq,
           'timestamp', floor(extract(epoch FROM transitioned_at) * 1000)::bigint,
           'requestId', request_id,
           'previousPhase', from_status,
           'newPhase', to_status,
           'transitionedAt', iso8601(transitioned_at),
           'phaseExpiresAt', iso8601(expires_at))::text AS told,
       CASE WHEN current_setting('track_commit_timestamp')::boolean
            THEN pg_xact_commit_timestamp(xmin) END AS committed_at
FROM game_transitions
WHERE id > $1
  AND starts_with(game_id, $2)
ORDER BY id

-- How many sessions wait for a lock that this one holds.
SELECT count(*)
FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND pg_backend_pid() = ANY (pg_blocking_pids(pid))

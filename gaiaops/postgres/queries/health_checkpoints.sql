-- Checkpoints by time and on request, the WAL written in that time, and max_wal_size, in bytes. What stands in
-- parentheses are queries of the server's version.
SELECT timed, requested, wal::float8, pg_size_bytes(current_setting('max_wal_size'))::float8
FROM (COUNTERS) AS c (timed, requested) CROSS JOIN (WAL) AS w (wal)

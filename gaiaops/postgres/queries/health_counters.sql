-- What the database has counted since `days` days: deadlocks, blocks found in and read into shared buffers,
-- temporary files and their bytes. Where the database's counters have never been reset (NULL from 15 on) they are as
-- old as the cluster's at most.
SELECT deadlocks, blks_hit, blks_read, temp_files, temp_bytes,
    (extract(epoch FROM clock_timestamp() - coalesce(
        stats_reset, (SELECT stats_reset FROM pg_stat_bgwriter), pg_postmaster_start_time())) / 86400)::float8
FROM pg_stat_database
WHERE datname = current_database()

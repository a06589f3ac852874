-- WAL archiving: mode; archived and failed: files since counting began; failing: whether the last try failed;
-- file: which; seconds: since the last file that went through.
SELECT current_setting('archive_mode'), archived_count, failed_count,
    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false), last_failed_wal,
    extract(epoch FROM clock_timestamp() - last_archived_time)::float8
FROM pg_stat_archiver

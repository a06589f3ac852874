-- Replication slots, and the WAL each keeps from being removed. name; active; status: wal_status (manual 53.20:
-- 'unreserved' may be removed at any time, 'lost' was); bytes.
SELECT slot_name::text, active, coalesce(wal_status, ''),
    pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn
    )::float8
FROM pg_replication_slots
WHERE NOT temporary
ORDER BY 4 DESC NULLS LAST

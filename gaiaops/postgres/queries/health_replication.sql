-- Replicas of this server, and where it is one itself, how far behind.
-- role: 'replica' (a row of pg_stat_replication) or 'self'; name; state: NULL where it may not be seen;
-- bytes: WAL not replayed; seconds: how long ago what was replayed last had been written.
SELECT 'replica', coalesce(nullif(application_name, ''), host(client_addr), 'replica'), state,
    pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, replay_lsn
    )::float8,
    extract(epoch FROM replay_lag)::float8
FROM pg_stat_replication
WHERE application_name IS DISTINCT FROM 'pg_basebackup'
UNION ALL
SELECT 'self', 'this server',
    CASE WHEN EXISTS (SELECT 1 FROM pg_stat_wal_receiver) THEN 'streaming' ELSE 'not streaming' END,
    pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8,
    CASE
        -- Nothing new to replay is no lag, as long as the primary is heard; the last record may be there in part.
        WHEN EXISTS (SELECT 1 FROM pg_stat_wal_receiver) AND (
            pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            OR EXISTS (
                SELECT 1 FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryWalStream'
            )
        ) THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
    END
WHERE pg_is_in_recovery()

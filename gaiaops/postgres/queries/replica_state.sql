-- A server as a source to read from; all of a replica's numbers are NULL on a primary, and the other way round.
-- recovery; database; written: bytes of WAL that a primary has made durable, and can have sent; had: bytes that a
-- replica has received, or restored from an archive; replayed: bytes of them that it shows; streaming: it has a
-- connection to its primary, or to the replica before it (the status is NULL where the role may not see it);
-- waiting: it has replayed every record that it has, and waits for more (the last may be there in part: a primary with
-- little to do writes to the end of a page, in the middle of a record; NULL where the role may not see it);
-- age: seconds since the primary committed what was replayed last.
SELECT
    pg_is_in_recovery(),
    current_database()::text,
    CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0') END::int8,
    pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')::int8,
    pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8,
    EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE coalesce(status, 'streaming') = 'streaming'),
    (SELECT wait_event = 'RecoveryWalStream' FROM pg_stat_activity WHERE backend_type = 'startup'),
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8

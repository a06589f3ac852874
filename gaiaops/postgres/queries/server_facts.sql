-- One row about the server, for the checks before a change.
-- identifier, database   what is behind the name
-- standby                whether it is a replica
-- now                    the server's clock
-- oldest_s               age of the oldest transaction of somebody else, in seconds, 0 where there is none
-- oldest_who             whose it is
-- lag_s                  how far the slowest replica is behind in replaying, in seconds; NULL where none streams
-- may_temp               whether this role may create temporary tables
-- deadlock_ms            deadlock_timeout
-- counts                 whether the server counts rows per table (track_counts)
-- lacking                which of the functions that a change needs are not there
SELECT
    (SELECT system_identifier::text FROM pg_control_system()) AS identifier,
    current_database()::text AS database,
    pg_is_in_recovery() AS standby,
    to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS now,
    coalesce(extract(epoch FROM now() - old.xact_start), 0)::float8 AS oldest_s,
    coalesce(format('pid %%s, %%s', old.pid, coalesce(nullif(old.application_name, ''), old.usename)), '') AS oldest_who,
    (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication)::float8 AS lag_s,
    has_database_privilege(current_database(), 'TEMP') AS may_temp,
    (SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout') AS deadlock_ms,
    current_setting('track_counts')::boolean AS counts,
    ARRAY(
        SELECT needed FROM unnest(%(needed)s::text[]) AS needed
        WHERE NOT EXISTS (SELECT FROM pg_proc WHERE proname = needed AND pronamespace = 'pg_catalog'::regnamespace)
    ) AS lacking
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT pid, usename, application_name, xact_start FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND xact_start IS NOT NULL
        AND backend_type = 'client backend'
    ORDER BY xact_start LIMIT 1
) AS old ON true

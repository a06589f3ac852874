-- Open transactions of clients and prepared ones, the oldest first, and how many sessions cannot be seen.
-- who: pid, user and application, or a prepared transaction's name; state; seconds: the transaction's age;
-- idle: seconds since it last ran something, NULL where it runs or is prepared; hidden: sessions of others whose
-- state this role may not see (the same in each row).
WITH clock AS (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now),
hidden AS (
    SELECT count(*) AS sessions FROM pg_stat_activity
    WHERE usesysid IS NOT NULL AND backend_type IS NULL AND state IS NULL
),
open AS (
    SELECT concat_ws(' ', 'pid', pid, usename, nullif(application_name, '')) AS who, state, xact_start AS began,
        CASE WHEN state LIKE 'idle in transaction%%' THEN state_change END AS idle_since
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    UNION ALL
    SELECT 'prepared transaction ' || quote_literal(gid) || ' of ' || owner, 'prepared', prepared, NULL
    FROM pg_prepared_xacts
)
SELECT who, state, extract(epoch FROM now - began)::float8, extract(epoch FROM now - idle_since)::float8, sessions
FROM clock CROSS JOIN hidden LEFT JOIN open ON true
ORDER BY began NULLS LAST

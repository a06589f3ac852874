-- Client sessions, in all and by database, application and state.
-- level: 'server', 'database', 'application' or 'state'; name: which; sessions: how many;
-- room: how many there may be (NULL where there is no limit of its own). Slots kept for superusers and for
-- pg_use_reserved_connections (16) are no room for the platform.
WITH sessions AS (
    SELECT datname, coalesce(nullif(application_name, ''), '(no name)') AS application, coalesce(state, '?') AS state
    FROM pg_stat_activity
    -- A role without pg_read_all_stats sees no backend_type of others.
    WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usesysid IS NOT NULL
)
SELECT 'server', '', count(*),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0)
FROM sessions
UNION ALL
SELECT 'database', s.datname, count(*), nullif(max(d.datconnlimit), -1)
FROM sessions AS s JOIN pg_database AS d USING (datname) GROUP BY s.datname
UNION ALL
SELECT 'application', application, count(*), NULL FROM sessions GROUP BY application
UNION ALL
SELECT 'state', state, count(*), NULL FROM sessions GROUP BY state
ORDER BY 1, 3 DESC, 2

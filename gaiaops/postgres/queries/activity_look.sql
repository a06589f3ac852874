-- Everything about a server's sessions at one moment, as one JSON document in the client's encoding: a bytea, since
-- another database's statements may be in another encoding than this one's, and then are no valid text here. And who
-- the server is, as guard.SERVER.
-- now             the clock that ages are measured by: the parameter, else the server's
-- own, role       our own session and its role
-- database        ours
-- max_connections the server's limit
-- sessions        pg_stat_activity without our own; `leader` is the session that a parallel worker works for (manual
--                 28.2.3), else the process itself; client is an address, or "socket"; *_start are exact; *_s are ages
--                 in seconds. What the role may not see is NULL, `kind` (backend_type) too, which else never is.
-- waits           one for each session that waits for a lock: who blocks it (0: a prepared transaction; sessions ahead
--                 of it in the queue too, manual 9.27.1), what it waits for and for how long (14 and later), on which
--                 table's row where that is known, and the prepared transactions that hold the same lock in a `mode`
-- prepared        prepared transactions with the tables that they have locked
WITH clock AS (
    SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
), sessions AS MATERIALIZED (
    SELECT
        a.pid,
        CASE WHEN a.backend_type = 'parallel worker' THEN coalesce(a.leader_pid, a.pid) ELSE a.pid END AS leader,
        a.datname AS database, a.usename AS user, coalesce(a.application_name, '') AS application,
        CASE WHEN a.client_addr IS NOT NULL THEN host(a.client_addr) WHEN a.client_port = -1 THEN 'socket' END AS client,
        a.backend_type AS kind, a.state, a.wait_event_type AS wait_type, a.wait_event,
        CASE WHEN a.backend_type IS NOT NULL THEN a.query END AS query,
        a.backend_start, a.xact_start, a.query_start, a.state_change,
        extract(epoch FROM clock.now - a.backend_start)::float8 AS session_s,
        extract(epoch FROM clock.now - a.xact_start)::float8 AS transaction_s,
        extract(epoch FROM clock.now - a.query_start)::float8 AS statement_s,
        extract(epoch FROM clock.now - a.state_change)::float8 AS state_s
    FROM pg_stat_activity AS a, clock
    WHERE a.pid <> pg_backend_pid()
), locks AS MATERIALIZED (
    SELECT * FROM pg_locks
), prepared AS MATERIALIZED (
    -- A prepared transaction's locks have no pid. Which are its own is told by the lock on its own id.
    SELECT x.gid, x.owner, x.database, x.prepared, own.virtualtransaction
    FROM pg_prepared_xacts AS x
    LEFT JOIN locks AS own
        ON own.pid IS NULL AND own.granted AND own.locktype = 'transactionid' AND own.transactionid = x.transaction
), wanted AS (
    SELECT DISTINCT ON (coalesce(s.leader, l.pid))
        coalesce(s.leader, l.pid) AS waiter, l.*, (to_jsonb(l) ->> 'waitstart')::timestamptz AS since
    FROM locks AS l
    LEFT JOIN sessions AS s ON s.pid = l.pid
    WHERE NOT l.granted
    ORDER BY coalesce(s.leader, l.pid), since
), waits AS (
    SELECT
        w.waiter AS pid, pg_blocking_pids(w.waiter) AS blockers, w.mode, w.locktype,
        extract(epoch FROM clock.now - w.since)::float8 AS waiting_s,
        d.datname AS database, w.page, w.tuple AS item, w.virtualxid, w.transactionid::text AS transactionid,
        CASE WHEN w.database IN (0, here.oid) THEN w.relation::regclass::text ELSE w.relation::text END AS relation,
        CASE WHEN w.database IN (0, here.oid) THEN w.classid::regclass::text END AS catalog,
        w.classid::bigint AS classid, w.objid::bigint AS objid, w.objsubid,
        (
            SELECT min(r.relation::regclass::text) FROM locks AS r
            WHERE w.locktype = 'transactionid' AND r.locktype = 'tuple' AND r.granted
                AND r.virtualtransaction = w.virtualtransaction AND r.database = here.oid
        ) AS row_of,
        (
            SELECT coalesce(json_agg(json_build_object('gid', p.gid, 'mode', h.mode)), '[]')
            FROM locks AS h JOIN prepared AS p ON p.virtualtransaction = h.virtualtransaction
            WHERE h.pid IS NULL AND h.granted
                AND (h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid)
                    IS NOT DISTINCT FROM (w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid)
                AND (h.transactionid, h.classid, h.objid, h.objsubid)
                    IS NOT DISTINCT FROM (w.transactionid, w.classid, w.objid, w.objsubid)
        ) AS prepared
    FROM wanted AS w
    CROSS JOIN clock
    CROSS JOIN (SELECT oid FROM pg_database WHERE datname = current_database()) AS here
    LEFT JOIN pg_database AS d ON d.oid = w.database
    WHERE w.waiter <> pg_backend_pid()
    UNION ALL
    -- SERIALIZABLE READ ONLY DEFERRABLE waits for no lock, but for other transactions to end.
    SELECT
        s.pid, pg_safe_snapshot_blocking_pids(s.pid), '', 'safe snapshot', s.statement_s,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]'
    FROM sessions AS s
    WHERE s.wait_event = 'SafeSnapshot'
)
SELECT textsend(json_build_object(
    'now', (SELECT now FROM clock),
    'own', pg_backend_pid(),
    'role', session_user,
    'database', current_database(),
    'max_connections', current_setting('max_connections')::int,
    'sessions', (SELECT coalesce(json_agg(sessions), '[]') FROM sessions),
    'waits', (SELECT coalesce(json_agg(waits), '[]') FROM waits),
    'prepared', (
        SELECT coalesce(json_agg(json_build_object(
            'gid', p.gid, 'user', p.owner, 'database', p.database,
            'transaction_s', extract(epoch FROM clock.now - p.prepared)::float8,
            'tables', (
                SELECT coalesce(json_agg(DISTINCT l.relation::regclass::text), '[]')
                FROM locks AS l JOIN pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm', 'f')
                WHERE l.pid IS NULL AND l.locktype = 'relation' AND l.virtualtransaction = p.virtualtransaction
                    AND p.database = current_database()
            )
        )), '[]')
        FROM prepared AS p, clock
    )
)::text), version(), to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL

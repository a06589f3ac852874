-- What became of a session, no row where it is gone.
-- state   what it does now
-- same    whether that is still the statement (the transaction, for a session that was idle in one)
SELECT
    coalesce(state, '?') AS state,
    CASE %(doing)s
        WHEN 'statement' THEN
            state IN ('active', 'fastpath function call') AND query_start = %(query_start)s::timestamptz
        ELSE true
    END AS same
FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz

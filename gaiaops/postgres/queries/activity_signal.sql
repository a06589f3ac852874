-- Sends a signal to a session, if it is still the one that was shown and still does what was shown; else no row.
-- sent   false where the process ended in this very moment
-- A statement is the same where its beginning is: VACUUM, CREATE INDEX CONCURRENTLY and CALL go through several
-- transactions in one statement. Conditions are checked before the signal: a target list is computed after WHERE.
SELECT CASE %(action)s WHEN 'cancel' THEN pg_cancel_backend(pid) ELSE pg_terminate_backend(pid) END AS sent
FROM pg_stat_activity
WHERE pid = %(pid)s AND pid <> pg_backend_pid()
    AND backend_start = %(backend_start)s::timestamptz
    AND CASE %(doing)s
        WHEN 'statement' THEN
            state IN ('active', 'fastpath function call') AND query_start = %(query_start)s::timestamptz
        WHEN 'transaction' THEN
            state LIKE 'idle in transaction%%' AND xact_start = %(xact_start)s::timestamptz
        ELSE
            state = 'idle' AND query_start IS NOT DISTINCT FROM %(query_start)s::timestamptz
    END

-- Sessions that wait for a lock, the longest first. pid; who: the sessions in front of it; seconds: since when
-- (pg_locks.waitstart is there from 14 on; before that the statement's beginning, which is earlier).
SELECT pid, blockers, max(extract(epoch FROM clock_timestamp() - since))::float8
FROM (
    SELECT l.pid, pg_blocking_pids(l.pid) AS blockers,
        coalesce((to_jsonb(l) ->> 'waitstart')::timestamptz, a.query_start, clock_timestamp()) AS since
    FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)
    WHERE NOT l.granted
) AS waits
WHERE cardinality(blockers) > 0 AND clock_timestamp() - since >= interval '100 ms'
GROUP BY pid, blockers
ORDER BY 3 DESC

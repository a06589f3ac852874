-- Rows that this backend changed and has not yet reported, per table; of partitions, by their root. The difference
-- of two readings in one transaction is what happened between them: pending counts are reported only when a
-- transaction has ended (manual 27.2, pg_stat_xact_*).
SELECT
    coalesce(pg_partition_root(relid), relid)::oid::bigint AS relation,
    sum(n_tup_ins)::bigint AS inserted,
    sum(n_tup_upd)::bigint AS updated,
    sum(n_tup_del)::bigint AS deleted
FROM pg_stat_xact_user_tables
WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 AND schemaname !~ '^pg_temp'
GROUP BY 1

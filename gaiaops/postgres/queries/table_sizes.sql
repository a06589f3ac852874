-- One row for each table on the search path, largest first.
-- estimate  rows by the last ANALYZE; negative where there was none
-- bytes     table, indexes and TOAST
SELECT c.oid::regclass::text AS name, c.reltuples::bigint AS estimate, pg_total_relation_size(c.oid) AS bytes
FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_table_is_visible(c.oid)
    AND c.relnamespace <> 'pg_catalog'::regnamespace
ORDER BY 3 DESC, 1

-- One value that changes when a table is truncated or rewritten: TRUNCATE is not among the rows that are counted.
SELECT md5(coalesce(string_agg(format('%s %s', c.oid, c.relfilenode), ',' ORDER BY c.oid), ''))
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')

-- Indexes that are not valid and that nobody is building: name, table; concurrently: whether REINDEX CONCURRENTLY can
-- mend it (of a partitioned table it cannot).
SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text, c.relkind = 'i'
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT (i.indisvalid AND i.indisready)
    AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)
ORDER BY 2, 1

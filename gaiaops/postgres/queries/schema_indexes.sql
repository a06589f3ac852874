-- One row for each index that is not a constraint's and not a part of a partitioned table's; columns as in
-- schema_schemas.sql. The definition begins after the index's and the table's names.
-- OFFSET 0: it is written out once.
SELECT
    'index', quote_ident(n.nspname) || '.' || quote_ident(c.relname), x.relname,
    coalesce(d.text, ''), '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'definition', d.text,
        'state', CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'not valid' END,
        'clustered', CASE WHEN i.indisclustered THEN 'yes' END,
        'replica identity', CASE WHEN i.indisreplident THEN 'yes' END,
        'statistics targets', (
            SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum)
            FROM pg_attribute AS a
            WHERE a.attrelid = x.oid AND a.attstattarget >= 0
        )
    ) END
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT c.oid = ANY (%(locked)s::oid[]) AS unread) AS l
CROSS JOIN LATERAL (
    SELECT CASE WHEN NOT l.unread THEN CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END || right(
        pg_get_indexdef(i.indexrelid),
        -length('CREATE ' || CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END || 'INDEX ' || quote_ident(x.relname)
            || ' ON ' || CASE WHEN x.relkind = 'I' THEN 'ONLY ' ELSE '' END
            || quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' USING ')
    ) END AS text
    OFFSET 0
) AS d
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
    AND NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = x.oid)
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
ORDER BY 2, 3

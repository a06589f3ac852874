-- One row for each table, foreign table, view and materialized view; columns as in schema_schemas.sql.
-- Defaults of a view's columns (ALTER VIEW … SET DEFAULT) are among its facts.
SELECT
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized-view' WHEN 'f' THEN 'foreign-table' ELSE 'table' END,
    '', quote_ident(n.nspname) || '.' || quote_ident(c.relname), '', '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
        'column defaults', CASE WHEN c.relkind = 'v' THEN (
            SELECT string_agg(a.attname || ' ' || pg_get_expr(d.adbin, d.adrelid), ', ' ORDER BY a.attname)
            FROM pg_attrdef AS d
            JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
            WHERE d.adrelid = c.oid
        ) END,
        'partitioned by', pg_get_partkeydef(c.oid),
        CASE WHEN c.relispartition THEN 'partition of' ELSE 'inherits' END, i.parents,
        'bounds', pg_get_expr(c.relpartbound, c.oid),
        'persistence', CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
        'options', array_to_string(ARRAY(SELECT unnest(c.reloptions) ORDER BY 1), ', '),
        'TOAST options', array_to_string(ARRAY(SELECT unnest(s.reloptions) ORDER BY 1), ', '),
        'row security', CASE WHEN c.relrowsecurity THEN 'enabled' END,
        'row security of the owner', CASE WHEN c.relforcerowsecurity THEN 'forced' END,
        'replica identity', CASE WHEN c.relkind IN ('r', 'p') THEN
            CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'an index' END END,
        'of type', CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
        'access method', CASE WHEN m.amname <> 'heap' THEN m.amname END,
        'server', f.srvname,
        'foreign options', array_to_string(ARRAY(SELECT unnest(t.ftoptions) ORDER BY 1), ', ')
    ) END
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_class AS s ON s.oid = c.reltoastrelid
LEFT JOIN pg_am AS m ON m.oid = c.relam
LEFT JOIN pg_foreign_table AS t ON t.ftrelid = c.oid
LEFT JOIN pg_foreign_server AS f ON f.oid = t.ftserver
LEFT JOIN LATERAL (
    SELECT string_agg(quote_ident(pn.nspname) || '.' || quote_ident(p.relname), ', ' ORDER BY i.inhseqno) AS parents
    FROM pg_inherits AS i
    JOIN pg_class AS p ON p.oid = i.inhparent
    JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
    WHERE i.inhrelid = c.oid
) AS i ON true
CROSS JOIN LATERAL (
    SELECT c.oid = ANY (%(locked)s::oid[]) OR c.relkind IN ('v', 'm') AND cardinality(%(locked)s::oid[]) > 0 AND EXISTS (
        SELECT FROM pg_rewrite AS r
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (%(locked)s::oid[])
    ) AS unread
) AS l
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
ORDER BY 3

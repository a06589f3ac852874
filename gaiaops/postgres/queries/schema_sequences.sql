-- One row for each sequence that is not an identity column's; columns as in schema_schemas.sql. The current value is
-- data, not schema. `owner` is the table of the column that it belongs to, `anchor` that column.
SELECT
    'sequence', coalesce(o.tab, ''), quote_ident(n.nspname) || '.' || quote_ident(c.relname), coalesce(o.holder, ''), '',
    false,
    json_build_object(
        'type', format_type(s.seqtypid, NULL),
        'start', s.seqstart::text,
        'increment', s.seqincrement::text,
        'minimum', s.seqmin::text,
        'maximum', s.seqmax::text,
        'cache', s.seqcache::text,
        'cycle', CASE WHEN s.seqcycle THEN 'yes' END,
        'owned by', o.holder,
        'persistence', CASE c.relpersistence WHEN 'u' THEN 'unlogged' END
    )
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT
        quote_ident(tn.nspname) || '.' || quote_ident(t.relname) AS tab,
        quote_ident(tn.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(a.attname) AS holder
    FROM pg_depend AS d
    JOIN pg_class AS t ON t.oid = d.refobjid
    JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
) AS o ON true
WHERE c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype IN ('e', 'i')
    )
ORDER BY 3

-- One row for each column of a table or foreign table; columns as in schema_schemas.sql.
-- A default that is the next value of a sequence which belongs to a column names that column, not the sequence: its
-- name is of PostgreSQL's own making. A partition has the identity of its table (of its own before PostgreSQL 17: none).
-- attcompression came with PostgreSQL 14.
WITH owned AS (
    SELECT
        'nextval(' || quote_literal(quote_ident(sn.nspname) || '.' || quote_ident(s.relname)) || '::regclass)' AS call,
        quote_ident(tn.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(a.attname) AS holder
    FROM pg_class AS s
    JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
    JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'a'
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    JOIN pg_class AS t ON t.oid = d.refobjid
    JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE s.relkind = 'S'
), written AS MATERIALIZED (  -- each once, whatever the plan, and never one that would wait
    SELECT d.adrelid, d.adnum, pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM pg_attrdef AS d
    WHERE d.adrelid <> ALL (%(locked)s::oid[])
)
SELECT
    'column', quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname, '', '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'type', format_type(a.atttypid, a.atttypmod),
        'collation', CASE WHEN a.attcollation <> t.typcollation THEN
            quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END,
        'nullability', CASE WHEN a.attnotnull THEN 'NOT NULL' ELSE 'NULL' END
            || CASE WHEN NOT k.convalidated THEN ' NOT VALID' ELSE '' END
            || CASE WHEN k.connoinherit THEN ' NO INHERIT' ELSE '' END,
        'default', coalesce('nextval(sequence of ' || o.holder || ')', CASE WHEN a.attgenerated = '' THEN x.expression END),
        'generated', CASE WHEN a.attgenerated <> '' THEN
            x.expression || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END END,
        'identity', CASE WHEN NOT c.relispartition THEN
            CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END END,
        'identity sequence', CASE WHEN NOT c.relispartition THEN q.text END,
        'storage', CASE WHEN a.attstorage <> t.typstorage THEN
            CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
        'compression', nullif(a.attcompression::text, ''),
        'statistics target', nullif(a.attstattarget, -1)::text,
        'options', CASE WHEN a.attoptions IS NOT NULL THEN
            array_to_string(ARRAY(SELECT unnest(a.attoptions) ORDER BY 1), ', ') END,
        'foreign options', CASE WHEN a.attfdwoptions IS NOT NULL THEN
            array_to_string(ARRAY(SELECT unnest(a.attfdwoptions) ORDER BY 1), ', ') END
    ) END
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
CROSS JOIN LATERAL (SELECT c.oid = ANY (%(locked)s::oid[]) AS unread) AS l
LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
LEFT JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
LEFT JOIN pg_constraint AS k ON k.contype = 'n' AND k.conrelid = a.attrelid AND k.conkey = ARRAY[a.attnum]
LEFT JOIN written AS x ON x.adrelid = a.attrelid AND x.adnum = a.attnum
LEFT JOIN owned AS o ON o.call = x.expression AND a.attgenerated = ''
LEFT JOIN LATERAL (
    SELECT concat_ws(' ', format_type(s.seqtypid, NULL), 'START', s.seqstart, 'INCREMENT', s.seqincrement,
        'MIN', s.seqmin, 'MAX', s.seqmax, 'CACHE', s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' END) AS text
    FROM pg_depend AS d
    JOIN pg_sequence AS s ON s.seqrelid = d.objid
    WHERE a.attidentity <> '' AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
) AS q ON true
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
ORDER BY 2, a.attnum

-- One row for each primary key, unique, foreign key, check and exclusion constraint, of tables and of domains; columns
-- as in schema_schemas.sql. Those that follow from a parent table's are left out, and so are NOT NULL constraints
-- (since PostgreSQL 18 in pg_constraint): nullability is a fact of the column. OFFSET 0: a definition is written out once.
SELECT
    CASE k.contype WHEN 'p' THEN 'primary-key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign-key' WHEN 'c' THEN 'check'
        ELSE 'exclusion' END,
    quote_ident(n.nspname) || '.' || quote_ident(coalesce(c.relname, t.typname)), k.conname,
    coalesce(d.text, ''),
    CASE k.contype WHEN 'p' THEN 'the one' WHEN 'f' THEN substring(d.text FROM '^.* REFERENCES [^(]*') ELSE '' END,
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'definition', d.text,
        'index', CASE WHEN NOT i.indisvalid THEN 'not valid' END,
        'index options', array_to_string(ARRAY(SELECT unnest(x.reloptions) ORDER BY 1), ', '),
        'clustered', CASE WHEN i.indisclustered THEN 'yes' END,
        'replica identity', CASE WHEN i.indisreplident THEN 'yes' END
    ) END
FROM pg_constraint AS k
LEFT JOIN pg_class AS c ON c.oid = k.conrelid
LEFT JOIN pg_type AS t ON t.oid = k.contypid
JOIN pg_namespace AS n ON n.oid = coalesce(c.relnamespace, t.typnamespace)
LEFT JOIN pg_index AS i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_class AS x ON x.oid = i.indexrelid
CROSS JOIN LATERAL (SELECT coalesce(c.oid = ANY (%(locked)s::oid[]), false) AS unread) AS l
CROSS JOIN LATERAL (SELECT CASE WHEN NOT l.unread THEN pg_get_constraintdef(k.oid) END AS text OFFSET 0) AS d
WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND k.conparentid = 0 AND (k.conislocal OR k.coninhcount = 0)
    AND coalesce(c.relpersistence, 'p') <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid IN ('pg_class'::regclass, 'pg_type'::regclass) AND e.objid IN (c.oid, t.oid) AND e.deptype = 'e'
    )
ORDER BY 2, 3

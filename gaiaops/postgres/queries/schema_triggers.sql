-- One row for each trigger somebody made; columns as in schema_schemas.sql. The triggers of constraints (foreign keys,
-- deferred uniqueness) are left out; those of a partition come along with its table's (internal before PostgreSQL 15).
-- The definition is without the table's name.
SELECT
    'trigger', quote_ident(n.nspname) || '.' || quote_ident(c.relname), t.tgname, '', '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'definition', replace(
            pg_get_triggerdef(t.oid), ' ON ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' ', ' '
        ),
        'state', CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always'
            ELSE 'enabled' END
    ) END
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint AS k ON k.oid = t.tgconstraint
CROSS JOIN LATERAL (
    SELECT c.oid = ANY (%(locked)s::oid[]) OR t.tgconstrrelid = ANY (%(locked)s::oid[]) AS unread
) AS l
WHERE (t.tgconstraint = 0 OR k.contype = 't') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid IN ('pg_class'::regclass, 'pg_trigger'::regclass) AND e.objid IN (c.oid, t.oid) AND e.deptype = 'e'
    )
ORDER BY 2, 3

-- One row for each rule that is not a view's own; columns as in schema_schemas.sql.
SELECT
    'rule', quote_ident(n.nspname) || '.' || quote_ident(c.relname), r.rulename, '', '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'definition', pg_get_ruledef(r.oid),
        'state', CASE r.ev_enabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always'
            ELSE 'enabled' END
    ) END
FROM pg_rewrite AS r
JOIN pg_class AS c ON c.oid = r.ev_class
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT c.oid = ANY (%(locked)s::oid[]) OR cardinality(%(locked)s::oid[]) > 0 AND EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (%(locked)s::oid[])
    ) AS unread
) AS l
WHERE r.rulename <> '_RETURN'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
ORDER BY 2, 3

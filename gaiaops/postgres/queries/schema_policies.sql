-- One row for each row security policy; columns as in schema_schemas.sql.
SELECT
    'policy', quote_ident(n.nspname) || '.' || quote_ident(c.relname), p.polname, '', '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'permissive', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
        'for', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
            ELSE 'ALL' END,
        'to', (
            SELECT string_agg(CASE WHEN role = 0 THEN 'public' ELSE pg_get_userbyid(role)::text END, ', ' ORDER BY 1)
            FROM unnest(p.polroles) AS role
        ),
        'using', pg_get_expr(p.polqual, p.polrelid),
        'with check', pg_get_expr(p.polwithcheck, p.polrelid)
    ) END
FROM pg_policy AS p
JOIN pg_class AS c ON c.oid = p.polrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT c.oid = ANY (%(locked)s::oid[]) OR cardinality(%(locked)s::oid[]) > 0 AND EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (%(locked)s::oid[])
    ) AS unread
) AS l
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
ORDER BY 2, 3

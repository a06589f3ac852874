-- One row for each extended statistics object; columns as in schema_schemas.sql. The definition begins after its name.
SELECT
    'statistics', quote_ident(n.nspname) || '.' || quote_ident(c.relname), s.stxname, coalesce(d.text, ''), '',
    l.unread,
    CASE WHEN NOT l.unread THEN json_build_object(
        'definition', d.text,
        'statistics target', nullif(to_jsonb(s) ->> 'stxstattarget', '-1')
    ) END
FROM pg_statistic_ext AS s
JOIN pg_class AS c ON c.oid = s.stxrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_namespace AS sn ON sn.oid = s.stxnamespace
CROSS JOIN LATERAL (SELECT c.oid = ANY (%(locked)s::oid[]) AS unread) AS l
CROSS JOIN LATERAL (
    SELECT CASE WHEN NOT l.unread THEN right(
        pg_get_statisticsobjdef(s.oid),
        -length('CREATE STATISTICS ' || quote_ident(sn.nspname) || '.' || quote_ident(s.stxname) || ' ')
    ) END AS text
    OFFSET 0
) AS d
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
ORDER BY 2, 3

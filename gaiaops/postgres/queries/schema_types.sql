-- One row for each enum, domain, composite, range and base type; columns as in schema_schemas.sql. Types of tables,
-- arrays and multiranges follow from others. The order of an enum's labels and of a composite type's attributes counts.
SELECT
    CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'c' THEN 'composite-type' WHEN 'r' THEN 'range-type'
        ELSE 'base-type' END,
    '', quote_ident(n.nspname) || '.' || quote_ident(t.typname), '', '', false,
    json_build_object(
        'labels', (
            SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e
            WHERE e.enumtypid = t.oid
        ),
        'attributes', (
            SELECT string_agg(
                quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                    || CASE WHEN a.attcollation <> at.typcollation THEN
                        ' COLLATE ' || quote_ident(an.nspname) || '.' || quote_ident(ac.collname) ELSE '' END,
                ', ' ORDER BY a.attnum
            )
            FROM pg_attribute AS a
            JOIN pg_type AS at ON at.oid = a.atttypid
            LEFT JOIN pg_collation AS ac ON ac.oid = a.attcollation
            LEFT JOIN pg_namespace AS an ON an.oid = ac.collnamespace
            WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ),
        'type', CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
        'collation', CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation THEN
            quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END,
        'nullability', CASE WHEN t.typtype = 'd' THEN CASE WHEN t.typnotnull THEN 'NOT NULL' ELSE 'NULL' END END,
        'default', CASE WHEN t.typdefaultbin IS NOT NULL THEN pg_get_expr(t.typdefaultbin, 0) END,
        'subtype', (
            SELECT concat_ws(
                ' ', format_type(r.rngsubtype, NULL),
                'OPCLASS ' || quote_ident(oc.opcname),
                'CANONICAL ' || nullif(r.rngcanonical::oid, 0)::regproc::text,
                'SUBTYPE_DIFF ' || nullif(r.rngsubdiff::oid, 0)::regproc::text,
                'COLLATION ' || quote_ident(rc.collname)
            )
            FROM pg_range AS r
            JOIN pg_opclass AS oc ON oc.oid = r.rngsubopc
            LEFT JOIN pg_collation AS rc ON rc.oid = r.rngcollation
            WHERE r.rngtypid = t.oid
        ),
        'functions', CASE WHEN t.typtype = 'b' THEN
            concat_ws(' ', t.typinput, t.typoutput, nullif(t.typreceive::oid, 0)::regproc, nullif(t.typsend::oid, 0)::regproc) END
    )
FROM pg_type AS t
JOIN pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_class AS c ON c.oid = t.typrelid
LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
LEFT JOIN pg_collation AS co ON co.oid = t.typcollation
LEFT JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
WHERE (t.typtype IN ('e', 'd', 'r', 'b') OR t.typtype = 'c' AND c.relkind = 'c')
    AND NOT EXISTS (SELECT FROM pg_type AS item WHERE item.typarray = t.oid)
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e'
    )
ORDER BY 3

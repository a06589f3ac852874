-- One row for each function, procedure and aggregate; columns as in schema_schemas.sql. The name has the types of the
-- arguments; names and defaults of arguments are facts. What a range type brings along is left out.
SELECT
    CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
    '', quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')', '', '',
    b.unread,
    CASE WHEN NOT b.unread THEN json_build_object(
        'arguments', pg_get_function_arguments(p.oid),
        'returns', pg_get_function_result(p.oid),
        'language', l.lanname,
        'window', CASE WHEN p.prokind = 'w' THEN 'yes' END,
        'volatility', CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
        'parallel', CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
        'on NULL input', CASE WHEN p.proisstrict THEN 'returns NULL' END,
        'security', CASE WHEN p.prosecdef THEN 'definer' END,
        'leakproof', CASE WHEN p.proleakproof THEN 'yes' END,
        'cost', p.procost::text,
        'rows', CASE WHEN p.proretset THEN p.prorows::text END,
        'support', nullif(p.prosupport::oid, 0)::regproc::text,
        'settings', array_to_string(ARRAY(SELECT unnest(p.proconfig) ORDER BY 1), ', '),
        'transform', (
            SELECT string_agg(format_type(x, NULL), ', ') FROM unnest(p.protrftypes) AS x
        ),
        'library', p.probin,
        'body', CASE WHEN p.prokind <> 'a' THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) END,
        'aggregate', (
            SELECT concat_ws(
                ' ', CASE g.aggkind WHEN 'o' THEN 'ORDERED-SET' WHEN 'h' THEN 'HYPOTHETICAL' END,
                'SFUNC ' || g.aggtransfn::regprocedure,
                'STYPE ' || format_type(g.aggtranstype, NULL),
                'SSPACE ' || nullif(g.aggtransspace, 0),
                'INITCOND ' || quote_literal(g.agginitval),
                'FINALFUNC ' || nullif(g.aggfinalfn::oid, 0)::regprocedure,
                CASE WHEN g.aggfinalfn <> 0 THEN 'FINALFUNC_MODIFY ' || g.aggfinalmodify::text END,
                CASE WHEN g.aggfinalextra THEN 'FINALFUNC_EXTRA' END,
                'COMBINEFUNC ' || nullif(g.aggcombinefn::oid, 0)::regprocedure,
                'SERIALFUNC ' || nullif(g.aggserialfn::oid, 0)::regprocedure,
                'DESERIALFUNC ' || nullif(g.aggdeserialfn::oid, 0)::regprocedure,
                'MSFUNC ' || nullif(g.aggmtransfn::oid, 0)::regprocedure,
                'MINVFUNC ' || nullif(g.aggminvtransfn::oid, 0)::regprocedure,
                'MSTYPE ' || format_type(nullif(g.aggmtranstype, 0), NULL),
                'MINITCOND ' || quote_literal(g.aggminitval),
                'MFINALFUNC ' || nullif(g.aggmfinalfn::oid, 0)::regprocedure,
                'SORTOP ' || nullif(g.aggsortop, 0)::regoperator
            )
            FROM pg_aggregate AS g
            WHERE g.aggfnoid = p.oid
        )
    ) END
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_language AS l ON l.oid = p.prolang
CROSS JOIN LATERAL (
    SELECT cardinality(%(locked)s::oid[]) > 0 AND EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (%(locked)s::oid[])
    ) AS unread
) AS b
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype IN ('e', 'i')
    )
ORDER BY 3

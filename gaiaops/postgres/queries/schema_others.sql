-- One row for each cast, operator, collation, text search configuration and dictionary, foreign server and publication;
-- columns as in schema_schemas.sql. Options of foreign servers are left out: each environment has its own hosts.
-- Casts, foreign servers and publications belong to the database, not to a schema.
WITH mine AS (
    SELECT n.oid, n.nspname
    FROM pg_namespace AS n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
), found (catalog, id, kind, name, facts) AS (
    SELECT
        'pg_cast'::regclass, c.oid, 'cast', format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL),
        json_build_object(
            'by', CASE c.castmethod WHEN 'f' THEN c.castfunc::regprocedure::text WHEN 'i' THEN 'text' ELSE 'nothing' END,
            'context', CASE c.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'assignment' ELSE 'explicit' END
        )
    FROM pg_cast AS c
    WHERE c.oid >= 16384 AND cardinality(%(schemas)s::text[]) = 0  -- FirstNormalObjectId: below are the system's own
    UNION ALL
    SELECT
        'pg_operator'::regclass, o.oid, 'operator',
        quote_ident(n.nspname) || '.' || o.oprname || ' (' || concat_ws(
            ', ', CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END, format_type(o.oprright, NULL)
        ) || ')',
        json_build_object(
            'function', o.oprcode::regprocedure::text,
            'commutator', CASE WHEN o.oprcom <> 0 THEN o.oprcom::regoperator::text END,
            'negator', CASE WHEN o.oprnegate <> 0 THEN o.oprnegate::regoperator::text END,
            'joins', concat_ws(' ', CASE WHEN o.oprcanhash THEN 'HASHES' END, CASE WHEN o.oprcanmerge THEN 'MERGES' END)
        )
    FROM pg_operator AS o
    JOIN mine AS n ON n.oid = o.oprnamespace
    WHERE o.oprcode <> 0
    UNION ALL
    SELECT
        'pg_collation'::regclass, c.oid, 'collation', quote_ident(n.nspname) || '.' || quote_ident(c.collname),
        json_build_object(
            'provider', CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' WHEN 'b' THEN 'builtin' ELSE 'default' END,
            'locale', coalesce(
                to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale',
                concat_ws(' ', c.collcollate, nullif(c.collctype, c.collcollate))
            ),
            'rules', to_jsonb(c) ->> 'collicurules',
            'deterministic', CASE WHEN NOT c.collisdeterministic THEN 'no' END
        )
    FROM pg_collation AS c
    JOIN mine AS n ON n.oid = c.collnamespace
    UNION ALL
    SELECT
        'pg_ts_config'::regclass, c.oid, 'text-search', quote_ident(n.nspname) || '.' || quote_ident(c.cfgname),
        json_build_object(
            'parser', p.prsname,
            'mapping', (
                SELECT string_agg(t.alias || ': ' || m.dictionaries, ', ' ORDER BY t.alias)
                FROM (
                    SELECT maptokentype, string_agg(mapdict::regdictionary::text, ' ' ORDER BY mapseqno) AS dictionaries
                    FROM pg_ts_config_map
                    WHERE mapcfg = c.oid
                    GROUP BY maptokentype
                ) AS m
                JOIN ts_token_type(c.cfgparser) AS t ON t.tokid = m.maptokentype
            )
        )
    FROM pg_ts_config AS c
    JOIN mine AS n ON n.oid = c.cfgnamespace
    JOIN pg_ts_parser AS p ON p.oid = c.cfgparser
    UNION ALL
    SELECT
        'pg_ts_dict'::regclass, d.oid, 'text-search',
        'dictionary ' || quote_ident(n.nspname) || '.' || quote_ident(d.dictname),
        json_build_object('template', t.tmplname, 'options', d.dictinitoption)
    FROM pg_ts_dict AS d
    JOIN mine AS n ON n.oid = d.dictnamespace
    JOIN pg_ts_template AS t ON t.oid = d.dicttemplate
    UNION ALL
    SELECT
        'pg_foreign_server'::regclass, s.oid, 'foreign-server', quote_ident(s.srvname),
        json_build_object('wrapper', w.fdwname, 'type', s.srvtype, 'version', s.srvversion)
    FROM pg_foreign_server AS s
    JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
    WHERE cardinality(%(schemas)s::text[]) = 0
    UNION ALL
    SELECT
        'pg_publication'::regclass, p.oid, 'publication', quote_ident(p.pubname),
        json_build_object(
            'publishes', concat_ws(
                ', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END
            ),
            'tables', CASE WHEN p.puballtables THEN 'ALL' ELSE (
                SELECT string_agg(quote_ident(cn.nspname) || '.' || quote_ident(c.relname), ', '
                    ORDER BY cn.nspname, c.relname)
                FROM pg_publication_rel AS r
                JOIN pg_class AS c ON c.oid = r.prrelid
                JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
                WHERE r.prpubid = p.oid
            ) END,
            'partitions', CASE WHEN p.pubviaroot THEN 'as their table' END
        )
    FROM pg_publication AS p
    WHERE cardinality(%(schemas)s::text[]) = 0
)
SELECT f.kind, '', f.name, '', '', false, f.facts
FROM found AS f
WHERE NOT EXISTS (
    SELECT FROM pg_depend AS e WHERE e.classid = f.catalog AND e.objid = f.id AND e.deptype IN ('e', 'i')
)
ORDER BY 1, 3

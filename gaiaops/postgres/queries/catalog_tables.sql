-- One row for each relation of the application: every schema, partitioned tables by their root.
-- oid, name       the name is qualified only where the search path needs it
-- sql             the qualified and quoted name, for statements
-- kind            r table, p partitioned, v view, m materialized view, f foreign table
-- rows            the planner's estimate, summed over partitions; 0 where there was no ANALYZE
-- rls             whether row-level security filters what this role sees
-- rules           whether a rule rewrites changes of it
-- heirs           whether other tables inherit from it (partitions are not counted)
-- foreign_parts   whether a partition is a foreign table
-- may             which of SELECT, INSERT, UPDATE, DELETE this role may
-- triggers        enabled row and statement triggers of users, those of partitions too: name and events
SELECT
    c.oid::bigint,
    c.oid::regclass::text AS name,
    format('%%I.%%I', n.nspname, c.relname) AS sql,
    c.relkind::text AS kind,
    greatest(coalesce(parts.rows, c.reltuples), 0)::bigint AS rows,
    row_security_active(c.oid) AS rls,
    EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND ev_type <> '1') AS rules,
    EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS h ON h.oid = i.inhrelid
            WHERE i.inhparent = c.oid AND NOT h.relispartition) AS heirs,
    coalesce(parts.is_foreign, false) AS foreign_parts,
    ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
          WHERE has_table_privilege(c.oid, p)) AS may,
    ARRAY(
        SELECT DISTINCT t.tgname || CASE WHEN t.tgtype::int & 8 > 0 THEN ' on delete' ELSE '' END
            || CASE WHEN t.tgtype::int & 16 > 0 THEN ' on update' ELSE '' END
            || CASE WHEN t.tgtype::int & 4 > 0 THEN ' on insert' ELSE '' END
        FROM pg_trigger AS t
        WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
            AND (t.tgrelid = c.oid OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))
        ORDER BY 1
    ) AS triggers
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT sum(greatest(l.reltuples, 0)) AS rows, bool_or(l.relkind = 'f') AS is_foreign
    FROM pg_partition_tree(c.oid) AS p JOIN pg_class AS l ON l.oid = p.relid
    WHERE p.isleaf
) AS parts ON c.relkind = 'p'
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 1

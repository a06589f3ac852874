-- One row: what could be a declared table.
-- path    search_path of this role in this database, as set (pg_settings: what a session starts with)
-- role    for "$user" in it
-- tables  [schema, name, relkind, extension it belongs to or null, whether it is a partition] of each relation that is
--         or looks like a table: tables, partitioned and foreign ones, views, materialized views; temporary ones are
--         their session's own
SELECT
    (SELECT reset_val FROM pg_settings WHERE name = 'search_path') AS path,
    current_user::text AS role,
    coalesce(json_agg(json_build_array(n.nspname, c.relname, c.relkind, x.extname, c.relispartition)
        ORDER BY n.nspname, c.relname), '[]') AS tables
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_depend AS e ON e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
LEFT JOIN pg_extension AS x ON x.oid = e.refobjid
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'

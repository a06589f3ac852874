-- One row for each schema that is not the system's or an extension's. All schema_*.sql that name this file have the same
-- columns:
-- kind     what the object is, as gaiaops names it
-- owner    the table, view or domain it belongs to, qualified and quoted; '' where it stands alone
-- name     its name: qualified and quoted where it stands alone, else as it is
-- anchor   what it is recognised by where its name is of PostgreSQL's own making; '' where its name is all
-- near     what makes it the likely successor of another one: the columns of a foreign key; '' where nothing does
-- unread   somebody holds a lock on its table that writing its definition out would wait for
-- facts    what is compared, as an object of texts; NULL where unread
SELECT 'schema', '', quote_ident(n.nspname), '', '', false, json_build_object()
FROM pg_namespace AS n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s::text[]))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e'
    )
ORDER BY 3

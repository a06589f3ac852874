-- One row for each extension; columns as in schema_schemas.sql. They belong to the database, not to a schema.
SELECT 'extension', '', quote_ident(e.extname), '', '', false,
    json_build_object('version', e.extversion, 'schema', n.nspname)
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE cardinality(%(schemas)s::text[]) = 0
ORDER BY 3

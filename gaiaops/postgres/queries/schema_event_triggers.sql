-- One row for each event trigger; columns as in schema_schemas.sql. They belong to the database, not to a schema.
SELECT
    'event-trigger', '', quote_ident(t.evtname), '', '', false,
    json_build_object(
        'on', t.evtevent,
        'function', t.evtfoid::regprocedure::text,
        'tags', array_to_string(ARRAY(SELECT unnest(t.evttags) ORDER BY 1), ', '),
        'state', CASE t.evtenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always'
            ELSE 'enabled' END
    )
FROM pg_event_trigger AS t
WHERE cardinality(%(schemas)s::text[]) = 0
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = t.oid AND e.deptype = 'e'
    )
ORDER BY 3

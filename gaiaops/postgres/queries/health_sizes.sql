-- The database's bytes, and its largest tables with their indexes. A table that somebody holds or wants for
-- themselves is left out (its size could only be had by waiting): name NULL is the database, bytes NULL is locked.
WITH held AS (
    SELECT l.relation FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
    WHERE l.mode = 'AccessExclusiveLock' AND d.datname = current_database()
),
largest AS (
    SELECT c.oid, c.oid IN (SELECT relation FROM held) AS locked
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
    ORDER BY c.relpages DESC
    LIMIT 20
)
SELECT NULL, pg_database_size(current_database())::float8
UNION ALL
(SELECT oid::regclass::text, CASE WHEN NOT locked THEN pg_total_relation_size(oid) END::float8
FROM largest ORDER BY 2 DESC NULLS FIRST LIMIT 5)

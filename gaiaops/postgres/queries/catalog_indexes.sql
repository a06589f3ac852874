-- The columns that an index of their relation begins with, and that a look-up by equality can use.
SELECT DISTINCT i.indrelid::bigint AS relation, a.attname::text AS name
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_am AS m ON m.oid = x.relam AND m.amname IN ('btree', 'hash')
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
JOIN pg_class AS c ON c.oid = i.indrelid
WHERE i.indisvalid AND i.indpred IS NULL AND c.relnamespace <> 'pg_catalog'::regnamespace

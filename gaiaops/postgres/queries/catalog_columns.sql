-- One row for each column of those relations, in their order.
-- relation   the relation's oid
-- name       as it is; quoted is the name for statements
-- type       as format_type writes it
-- required   NOT NULL, by the column or by its domain
-- generated  computed by the server: it cannot be written
-- filled     has a default or is an identity: an INSERT may leave it out
-- key        position in the primary key, else in the first unique index whose columns are all NOT NULL, or 0
SELECT
    a.attrelid::bigint AS relation,
    a.attname::text AS name,
    quote_ident(a.attname) AS quoted,
    format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS required,
    a.attgenerated <> '' AS generated,
    a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS filled,
    coalesce(array_position(k.columns, a.attnum), 0) AS key
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN LATERAL (
    SELECT string_to_array(i.indkey::text, ' ')::smallint[] AS columns
    FROM pg_index AS i
    WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
        AND NOT EXISTS (
            SELECT FROM pg_attribute AS n
            WHERE n.attrelid = i.indrelid AND n.attnum = ANY (i.indkey::smallint[]) AND NOT n.attnotnull
        )
    ORDER BY i.indisprimary DESC, i.indexrelid
    LIMIT 1
) AS k ON true
WHERE a.attnum > 0 AND NOT a.attisdropped
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY a.attrelid, a.attnum

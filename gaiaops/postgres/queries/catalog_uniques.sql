-- One row for each unique index over plain columns, without a condition.
-- relation, columns   of which table, which columns
-- deferrable          whether it is checked at COMMIT only, so that ON CONFLICT cannot use it (manual, INSERT)
SELECT
    i.indrelid::bigint AS relation,
    ARRAY(SELECT a.attname::text FROM unnest(string_to_array(i.indkey::text, ' ')::smallint[]) WITH ORDINALITY AS k (num, place)
          JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.num
          WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns,
    NOT i.indimmediate AS deferrable
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND c.relnamespace <> 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'p')
